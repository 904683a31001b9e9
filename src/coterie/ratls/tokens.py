"""Tokens of attestation services in attested exchanges: what a node shows, and how its peer judges it.

Tokens are evidence besides. Whoever judges them has appraised the peer's quotes before.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from coterie.attestation.tokens.sources import SEPARATOR, TokenSource
from coterie.attestation.verdict import CheckList
from coterie.contract.token_trust import TokenTrust
from coterie.errors import EnvironmentUnfit
from coterie.ratls.claims import Claims, report_data
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.messages import MAX_TOKENS_BYTES
from coterie.ratls.trust import RelyingParty
from coterie.ratls.verify import JudgedCertificate, JudgedSession

_log = logging.getLogger(__name__)


def own_tokens(source: TokenSource | None, identity: NodeIdentity) -> bytes:
    """The tokens that a node shows; none if it needs none or cannot have them, which the peer then says.

    Args:
        source: The node's source of tokens; None if the contract demands none.
        identity: The node's identity, whose certificate they are about.
    """
    if source is None:
        return b""
    try:
        found = source.tokens(report_data(identity.claims.to_cbor()))
    except EnvironmentUnfit as error:
        _log.warning("this node has no tokens to show: %s", error)
        return b""
    if len(found) > MAX_TOKENS_BYTES:  # no peer reads more
        _log.warning("this node's tokens have %d bytes: more than peers read", len(found))
        return b""
    return found


def demanded_of(claims: Claims, trust: RelyingParty) -> tuple[TokenTrust, ...]:
    """The tokens that a peer must show: one of the contract's nodes."""
    kind = trust.contract.kind_of(trust.contract.node(claims.node))
    return trust.appraiser.tokens(claims.role, kind)


def judge_tokens(
    fresh: JudgedSession,
    judged: JudgedCertificate,
    tokens: bytes,
    *,
    trust: RelyingParty,
    at: datetime,
) -> JudgedSession:
    """Verifies the tokens that the contract demands of a peer.

    Args:
        fresh: The peer's session quote, accepted.
        judged: Its certificate, accepted.
        tokens: Its tokens, one a line.
        trust: This side's trust.
        at: The time to judge at, UTC.

    Returns:
        The session with the further checks; its verdict ends with the first token.

    Raises:
        EvidenceRefused: A token is missing or not as demanded.
    """
    demanded = demanded_of(judged.claims, trust)
    if not demanded:
        return fresh
    from coterie.attestation.tokens.verification import verify_tokens  # nobody else loads it

    checks = CheckList(fresh.verdict.checks)
    end = verify_tokens(
        tokens.split(SEPARATOR) if tokens else [],
        demanded,
        report_data=report_data(judged.claims.to_cbor()),
        at=at,
        checks=checks,
    )
    verdict = replace(fresh.verdict, checks=checks.checks, expiry=min(fresh.verdict.expiry, end))
    return replace(fresh, verdict=verdict)
