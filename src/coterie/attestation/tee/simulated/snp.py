"""The simulated SNP guest: well-formed reports under its own roots. It proves nothing, by design."""

from __future__ import annotations

from coterie.attestation.snp.contracted import padded
from coterie.attestation.tee.base import TeeDescription
from coterie.attestation.tee.checking import require_report_data
from coterie.attestation.tee.simulated.snp_vendor import GuestFields, SimulatedAmd
from coterie.kinds import TeeKind


class SimulatedSnpTee:
    """An SNP guest for machines that are none.

    Args:
        measurement: The package's measurement, 32 bytes, which stands for the launch digest.
        vendor: The simulated AMD and its platform.
    """

    def __init__(self, measurement: bytes, *, vendor: SimulatedAmd | None = None) -> None:
        if len(measurement) != 32:
            raise ValueError("a measurement has 32 bytes")
        self._measurement = measurement
        self._vendor = vendor or SimulatedAmd()

    @property
    def kind(self) -> TeeKind:
        """Always ``simulated-snp``."""
        return "simulated-snp"

    def quote(self, report_data: bytes) -> bytes:
        """Evidence over 64 bytes of report data; its signing key is public knowledge."""
        require_report_data(report_data)
        fields = GuestFields(padded(self._measurement), report_data)
        return self._vendor.evidence(fields)

    def describe(self) -> TeeDescription:
        """Describes the simulation for people."""
        return TeeDescription(
            kind="simulated-snp",
            measurement=self._measurement.hex(),
            details="SIMULATED: SNP reports are signed by keys that everybody knows; they prove nothing",
        )
