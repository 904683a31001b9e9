"""What each family of evidence brings, and its loading: a node loads the code of its contract's kinds only.

A family is a module with these functions. Evidence that wraps another family's calls that one's.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from coterie.attestation.authentic import AnyCollateral, AnyQuote, AnyRoot, AuthenticEvidence
from coterie.attestation.policy import Policy
from coterie.attestation.recognition import Family
from coterie.attestation.verdict import CheckList
from coterie.contract.trust import RoleTrust
from coterie.kinds import TeeKind


class Reader(Protocol):
    """Parses and judges evidence of one family."""

    @property
    def FORMATS(self) -> tuple[str, ...]:  # noqa: N802 - a module's constant
        """Names of the checks that parsing makes, in order."""
        ...

    def parse(self, data: bytes) -> AnyQuote:
        """Parses evidence.

        Raises:
            EvidenceRefused: It is malformed: one of ``FORMATS``.
        """
        ...

    def check_names(self, kind: TeeKind) -> tuple[str, ...]:
        """Names of the checks of authenticity after those of format and kind, in order."""
        ...

    def screen(
        self, quote: AnyQuote, *, kind: TeeKind, root: AnyRoot, at: datetime, checks: CheckList
    ) -> None:
        """Makes all checks of a quote of the demanded kind that need no collateral.

        Raises:
            EvidenceRefused: A check failed.
        """
        ...

    def authenticate(
        self,
        quote: AnyQuote,
        collateral: AnyCollateral,
        *,
        kind: TeeKind,
        root: AnyRoot,
        at: datetime,
        checks: CheckList,
    ) -> AuthenticEvidence:
        """Makes all checks of authenticity of a quote of the demanded kind.

        Raises:
            EvidenceRefused: A check failed.
        """
        ...

    def policies(
        self, table: RoleTrust, kind: TeeKind, own_measurement: bytes | None
    ) -> tuple[Policy, ...]:
        """Turns a role's table of the contract into policies.

        Args:
            table: The table.
            kind: The kind of TEE.
            own_measurement: This node's own measurement, for ``measurement = "own"``.
        """
        ...


def reader_of(family: Family) -> Reader:
    """Loads the code of a family."""
    if family == "snp":
        from coterie.attestation.snp import reader as snp

        return snp
    if family == "dcap":
        from coterie.attestation import dcap_reader

        return dcap_reader
    from coterie.attestation.vtpm import reader as vtpm

    return vtpm
