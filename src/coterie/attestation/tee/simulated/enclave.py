"""The simulated TEE: well-formed v3 quotes under its own root. It proves nothing, by design."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from coterie.attestation.collateral import Collateral
from coterie.attestation.tee.base import TeeDescription
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, sgx_quote
from coterie.kinds import TeeKind


class SimulatedTee:
    """A TEE for machines without one.

    Args:
        measurement: MRENCLAVE of its quotes, 32 bytes; see ``own_package_measurement``.
        pki: The simulated vendor; by default the shared one.
        clock: The time in UTC, for callers that pass none.
    """

    def __init__(
        self,
        measurement: bytes,
        *,
        pki: SimulatedPki | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if len(measurement) != 32:
            raise ValueError("a measurement has 32 bytes")
        self._measurement = measurement
        self._pki = pki or SimulatedPki()
        self._clock = clock

    @property
    def kind(self) -> TeeKind:
        """Always ``simulated``."""
        return "simulated"

    def quote(self, report_data: bytes) -> bytes:
        """A quote v3 over 64 bytes of report data; its signing key is public knowledge."""
        if len(report_data) != 64:
            raise ValueError("report data has 64 bytes")
        fields = EnclaveFields(mrenclave=self._measurement, report_data=report_data)
        return sgx_quote(self._pki, fields)

    def collateral(self, at: datetime | None = None) -> Collateral:
        """Collateral of the simulated platform that is current at a time (by default now)."""
        return self._pki.collateral(at or self._clock())

    def describe(self) -> TeeDescription:
        """Describes the simulation for people."""
        return TeeDescription(
            kind="simulated",
            measurement=self._measurement.hex(),
            details="SIMULATED: quotes are signed by keys that everybody knows; they prove nothing",
        )
