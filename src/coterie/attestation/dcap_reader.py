"""DCAP quotes as a family of evidence: SGX and TDX."""

from __future__ import annotations

from datetime import datetime

from coterie.attestation.authentic import AnyCollateral, AnyQuote, AnyRoot, AuthenticEvidence
from coterie.attestation.collateral import Collateral
from coterie.attestation.dcap_contracted import policies_of
from coterie.attestation.dcap_evidence import authenticate_dcap, dcap_check_names
from coterie.attestation.policy import Policy
from coterie.attestation.quote import Quote, parse_quote
from coterie.attestation.roots import TrustRoot
from coterie.attestation.screening import screen_dcap
from coterie.attestation.verdict import CheckList, collateral_refused
from coterie.contract.trust import RoleTrust
from coterie.kinds import TeeKind

FORMATS = ("quote_format",)


def parse(data: bytes) -> Quote:
    """Parses a quote; see `parse_quote`."""
    return parse_quote(data)


def check_names(kind: TeeKind) -> tuple[str, ...]:
    """Names of the checks of authenticity; see `dcap_check_names`."""
    return dcap_check_names(kind)


def screen(
    quote: AnyQuote, *, kind: TeeKind, root: AnyRoot, at: datetime, checks: CheckList
) -> None:
    """Makes the checks without collateral; see `screen_dcap`."""
    ours, intel = _ours(quote, root)
    screen_dcap(ours, kind=kind, root=intel, at=at, checks=checks)


def authenticate(
    quote: AnyQuote,
    collateral: AnyCollateral,
    *,
    kind: TeeKind,
    root: AnyRoot,
    at: datetime,
    checks: CheckList,
) -> AuthenticEvidence:
    """Makes all checks; see `authenticate_dcap`."""
    ours, intel = _ours(quote, root)
    if not isinstance(collateral, Collateral):
        raise collateral_refused(
            "collateral_format", "the collateral is another vendor's", "Intel's", "AMD's"
        )
    return authenticate_dcap(ours, collateral, kind=kind, root=intel, at=at, checks=checks)


def policies(
    table: RoleTrust,
    kind: TeeKind,  # noqa: ARG001 - protocol
    own_measurement: bytes | None,
) -> tuple[Policy, ...]:
    """The policies of a role's table; see `policies_of`."""
    return policies_of(table, own_measurement)


def _ours(quote: AnyQuote, root: AnyRoot) -> tuple[Quote, TrustRoot]:
    if not isinstance(quote, Quote) or not isinstance(root, TrustRoot):
        raise TypeError("a DCAP quote and a DCAP root are needed: a defect of the caller")
    return quote, root
