"""The policies of a contract's ``[trust.roles.ROLE.vtpm]`` section, and what they compare."""

from __future__ import annotations

import hashlib

from coterie.attestation.policy import MeasurementIn, Policy
from coterie.attestation.vtpm.quote import word
from coterie.contract.trust import RoleTrust
from coterie.contract.vtpm_trust import VtpmTrust

# systemd's stub measures a unified kernel image there; the simulation has the package there.
PROGRAM_PCR = 11


def vtpm_policies_of(table: RoleTrust, own_measurement: bytes | None) -> tuple[Policy, ...]:
    """Turns a role's section into policies; every value that it lists must hold.

    Args:
        table: The contract's table.
        own_measurement: This node's own measurement, for ``measurement = "own"``.
    """
    section = table.vtpm or VtpmTrust()
    policies: list[Policy] = []
    if table.measurement == "own":
        own = () if own_measurement is None else (extended(own_measurement).hex(),)
        policies.append(MeasurementIn(f"pcr{PROGRAM_PCR}", own, own=True))
    policies += [
        MeasurementIn(f"pcr{number}", section.pcrs[str(number)]) for number in section.numbers
    ]
    policies += [
        MeasurementIn(name, tuple(map(word, accepted)))
        for name, accepted in (("secure_boot", section.secure_boot), ("console", section.console))
        if accepted
    ]
    return tuple(policies)


def extended(measurement: bytes) -> bytes:
    """A PCR after a package's measurement was extended into it once (simulated only)."""
    return hashlib.sha256(bytes(32) + measurement).digest()
