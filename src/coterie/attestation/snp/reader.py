"""SNP reports as a family of evidence."""

from __future__ import annotations

from datetime import datetime

from coterie.attestation.authentic import AnyCollateral, AnyQuote, AnyRoot, AuthenticEvidence
from coterie.attestation.policy import Policy
from coterie.attestation.snp.authenticity import CHECKS, authenticate_snp, screen_snp
from coterie.attestation.snp.collateral import SnpCollateral
from coterie.attestation.snp.contracted import snp_policies_of
from coterie.attestation.snp.quote import SnpQuote, parse_snp_quote
from coterie.attestation.snp.roots import AmdRoots
from coterie.attestation.verdict import CheckList, collateral_refused
from coterie.contract.trust import RoleTrust
from coterie.kinds import TeeKind

FORMATS = ("quote_format",)


def parse(data: bytes) -> SnpQuote:
    """Parses evidence; see `parse_snp_quote`."""
    return parse_snp_quote(data)


def check_names(kind: TeeKind) -> tuple[str, ...]:  # noqa: ARG001 - protocol
    """Names of the checks of authenticity."""
    return CHECKS


def screen(
    quote: AnyQuote,
    *,
    kind: TeeKind,  # noqa: ARG001 - protocol
    root: AnyRoot,
    at: datetime,
    checks: CheckList,
) -> None:
    """Makes the checks without collateral; see `screen_snp`."""
    ours, roots = _ours(quote, root)
    screen_snp(ours, roots=roots, at=at, checks=checks)


def authenticate(
    quote: AnyQuote,
    collateral: AnyCollateral,
    *,
    kind: TeeKind,
    root: AnyRoot,
    at: datetime,
    checks: CheckList,
) -> AuthenticEvidence:
    """Makes all checks; see `authenticate_snp`."""
    ours, roots = _ours(quote, root)
    if not isinstance(collateral, SnpCollateral):
        raise collateral_refused(
            "collateral_format", "the collateral is another vendor's", "AMD's", "Intel's"
        )
    return authenticate_snp(ours, collateral, kind=kind, roots=roots, at=at, checks=checks)


def policies(
    table: RoleTrust,
    kind: TeeKind,  # noqa: ARG001 - protocol
    own_measurement: bytes | None,
) -> tuple[Policy, ...]:
    """The policies of a role's table; see `snp_policies_of`."""
    return snp_policies_of(table, own_measurement)


def _ours(quote: AnyQuote, root: AnyRoot) -> tuple[SnpQuote, AmdRoots]:
    if not isinstance(quote, SnpQuote) or not isinstance(root, AmdRoots):
        raise TypeError("SNP evidence and AMD's roots are needed: a defect of the caller")
    return quote, root
