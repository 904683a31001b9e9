"""The interface between Coterie and the trusted execution environment that it runs in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from coterie.kinds import TeeKind


@dataclass(frozen=True)
class TeeDescription:
    """A TEE's description of itself, for people; not trusted.

    Attributes:
        kind: Kind of TEE.
        measurement: This program's own measurement in hex, if known; elsewhere each quote shows it.
        details: A sentence on where quotes come from.
    """

    kind: TeeKind
    measurement: str | None
    details: str


class Tee(Protocol):
    """Makes quotes over 64 bytes of report data."""

    @property
    def kind(self) -> TeeKind:
        """Kind of TEE."""
        ...

    def quote(self, report_data: bytes) -> bytes:
        """Returns evidence over ``report_data`` (64 bytes): a DCAP quote, or what its kind has in its place.

        Raises:
            EnvironmentUnfit: The TEE's devices are missing or fail.
        """
        ...

    def describe(self) -> TeeDescription:
        """Describes the TEE for people."""
        ...
