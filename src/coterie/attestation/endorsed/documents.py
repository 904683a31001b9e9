"""Where launch endorsements come from: files beside the collateral, or the simulated publisher.

A contract lists the measurements that it accepts, so a relying party knows from the start which
documents it needs. They are read once. A stranger causes no look-up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from coterie.attestation.endorsed.document import MAX_DOCUMENT_BYTES
from coterie.contract.endorsement_trust import EndorsementTrust
from coterie.contract.trust import RoleTrust, TrustSection
from coterie.errors import EnvironmentUnfit
from coterie.files import read_bounded
from coterie.kinds import ROLES, SIMULATED, TeeKind


def needed(trust: TrustSection) -> Iterator[tuple[TeeKind, bytes, EndorsementTrust]]:
    """The kinds and measurements (48 bytes) for which a contract demands a document, with what it demands."""
    for role in ROLES:
        for kind, table in trust.tables(role).items():
            if table.endorsement is not None:
                for measurement in _listed(table):
                    yield kind, bytes.fromhex(measurement), table.endorsement


def launch_endorsements(
    trust: TrustSection, *, own_measurement: bytes | None, folder: Path | None
) -> dict[bytes, bytes]:
    """The documents that a contract demands, by measurement, as far as there are any.

    An appraisal that lacks its document refuses the evidence.

    Args:
        trust: The contract's section.
        own_measurement: This node's own measurement, for ``measurement = "own"``.
        folder: Directory of collateral; unused for simulated TEEs, whose publisher signs anything.

    Raises:
        EnvironmentUnfit: A file cannot be read.
    """
    found: dict[bytes, bytes] = {}
    for kind, measurement, _ in needed(trust):
        if kind in SIMULATED:
            found[measurement] = _simulated(measurement)
        elif folder is not None and (document := _read(folder, measurement)) is not None:
            found[measurement] = document
    if trust.simulated and own_measurement is not None and _owns(trust):
        from coterie.attestation.snp.contracted import padded

        own = padded(own_measurement)
        found[own] = _simulated(own)
    return found


def path_of(folder: Path, measurement: bytes) -> Path:
    """The file of a measurement's document."""
    return folder / f"{measurement.hex()}.binarypb"


def _listed(table: RoleTrust) -> tuple[str, ...]:
    return table.mrtd if table.snp is None else table.snp.launch_measurement


def _owns(trust: TrustSection) -> bool:
    tables = (table for role in ROLES for table in trust.tables(role).values())
    return any(table.endorsement is not None and table.measurement == "own" for table in tables)


def _simulated(measurement: bytes) -> bytes:
    from coterie.attestation.tee.simulated.publisher import SimulatedPublisher

    return SimulatedPublisher(snp=((1, measurement),)).document()


def _read(folder: Path, measurement: bytes) -> bytes | None:
    path = path_of(folder, measurement)
    try:
        return read_bounded(path, MAX_DOCUMENT_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentUnfit(
            f"the launch endorsement {path} cannot be read",
            expected="a file that this user may read",
            seen=error.strerror or str(error),
            remedy="check the path and its permissions",
        ) from error
