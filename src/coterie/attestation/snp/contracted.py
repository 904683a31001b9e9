"""The policies of a contract's ``[trust.roles.ROLE.snp]`` section."""

from __future__ import annotations

from coterie.attestation.platform_policy import PlatformIn
from coterie.attestation.policy import MeasurementIn, Policy
from coterie.attestation.snp.policies import (
    CloudIn,
    FirmwareFrom,
    GuestSvnFrom,
    PlatformHas,
    TcbFrom,
)
from coterie.attestation.snp.products import Tcb
from coterie.attestation.snp.report import Firmware
from coterie.contract.snp_trust import SnpTrust, TcbFloor
from coterie.contract.trust import RoleTrust

MEASUREMENT_BYTES = 48
_REFERENCES = (
    *("launch_measurement", "guest_policy", "vmpl", "family_id", "image_id", "id_key_digest"),
    *("author_key_digest", "host_data", "signing_key"),
)


def snp_policies_of(table: RoleTrust, own_measurement: bytes | None) -> tuple[Policy, ...]:
    """Turns a role's section into policies; every value that it lists must hold.

    Args:
        table: The contract's table.
        own_measurement: This node's own measurement, for ``measurement = "own"``.
    """
    section = table.snp or SnpTrust()
    policies: list[Policy] = []
    if table.measurement == "own":
        own = () if own_measurement is None else (padded(own_measurement).hex(),)
        policies.append(MeasurementIn("launch_measurement", own, own=True))
    for name in _REFERENCES:
        accepted: tuple[str | int, ...] = getattr(section, name)
        if accepted:
            policies.append(MeasurementIn(name, tuple(str(value) for value in accepted)))
    policies.append(GuestSvnFrom(section.minimum_guest_svn))
    policies.append(CloudIn(section.csp_id))
    if section.chip_id:
        policies.append(PlatformIn("chip_id", section.chip_id))
    if floors := _floors(section):
        policies.append(TcbFrom(floors))
    if section.minimum_firmware is not None:
        version = (int(part) for part in section.minimum_firmware.split("."))
        policies.append(FirmwareFrom(Firmware(*version)))
    policies += [PlatformHas(name) for name in section.required_platform]
    return tuple(policies)


def padded(measurement: bytes) -> bytes:
    """A package's measurement (32 bytes) in the place of a launch digest (simulated only)."""
    return measurement.ljust(MEASUREMENT_BYTES, b"\0")


def _floors(section: SnpTrust) -> tuple[tuple[str, Tcb], ...]:
    found = []
    for name in type(section.minimum_tcb).model_fields:
        floor: TcbFloor | None = getattr(section.minimum_tcb, name)
        if floor is not None:
            fmc: int | None = getattr(floor, "fmc", None)
            tcb = Tcb(floor.bootloader, floor.tee, floor.snp, floor.microcode, fmc)
            found.append((name.capitalize(), tcb))
    return tuple(found)
