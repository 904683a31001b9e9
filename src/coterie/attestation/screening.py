"""Checks a DCAP quote without collateral: its chain to the root, and the signatures down to its body.

This proves that some genuine TEE, in whatever state, made the quote. A peer without such a quote
causes no look-up of collateral, and no collateral that it sent is read. ``authenticate_dcap``
checks everything again with collateral; only that decides whether the evidence is accepted.
"""

from __future__ import annotations

from datetime import datetime

from coterie.attestation.attributes import verify_attributes
from coterie.attestation.chains import pck_chain_rule, verify_chain
from coterie.attestation.quote import Quote
from coterie.attestation.quote_signatures import verify_quote_signatures
from coterie.attestation.roots import TrustRoot
from coterie.attestation.verdict import CheckList
from coterie.kinds import TeeKind


def screen_dcap(
    quote: Quote, *, kind: TeeKind, root: TrustRoot, at: datetime, checks: CheckList
) -> None:
    """Makes all checks of a quote that need no collateral.

    Args:
        quote: The quote.
        kind: The kind of TEE that it is by.
        root: The one root that is accepted.
        at: The moment that counts, with a time zone.
        checks: Takes up every check that passed.

    Raises:
        EvidenceRefused: A check failed; it has the name that ``authenticate_dcap`` gives it.
    """
    verify_attributes(quote.report, kind=kind, checks=checks)
    verify_chain(quote.pck_chain, pck_chain_rule(root), root=root, at=at, checks=checks)
    verify_quote_signatures(quote, checks)
