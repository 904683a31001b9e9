"""Verifies a peer's certificate and its session evidence. Without I/O; the time is an argument."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from coterie.attestation.authentic import AnyCollateral, AnyQuote, Vetted
from coterie.attestation.evidence import read_collateral
from coterie.attestation.verdict import Verdict
from coterie.contract import Contract
from coterie.errors import CoterieError, EvidenceRefused, RunError
from coterie.kinds import TeeKind
from coterie.ratls.certificate import RatlsCertificate, read_certificate
from coterie.ratls.claims import Claims, report_data
from coterie.ratls.evidence import InteroperableEvidence, check_pubkey_hash
from coterie.ratls.issue import DNS_SUFFIX
from coterie.ratls.trust import RelyingParty
from coterie.text import printable


@dataclass(frozen=True)
class JudgedCertificate:
    """A peer's certificate after the checks that the handshake makes.

    Attributes:
        certificate: The certificate, parsed.
        claims: The claims that its quote covers.
        quote: The quote.
        collateral: The collateral by which the quote was verified; None if this node had none and
            the peer must staple it.
        verdict: The verdict; None if, and only if, ``collateral`` is None.
        no_collateral: Why this node had no collateral.
    """

    certificate: RatlsCertificate
    claims: Claims
    quote: AnyQuote
    collateral: AnyCollateral | None
    verdict: Verdict | None
    no_collateral: CoterieError | None


@dataclass(frozen=True)
class JudgedSession:
    """A peer's session quote, accepted.

    Attributes:
        verdict: Verdict on the session quote; the certificate's quote got the same.
        collateral: The collateral by which both were verified.
    """

    verdict: Verdict
    collateral: AnyCollateral


def judge_certificate(
    der: bytes, trust: RelyingParty, *, expected_node: str | None, at: datetime
) -> JudgedCertificate:
    """Verifies a peer's certificate as far as possible inside the TLS handshake.

    A different contract digest is left to the session exchange, which can name the differences.

    Args:
        der: The peer's certificate.
        trust: This side's trust.
        expected_node: Who must answer, for the side that dialled; None for a listener.
        at: The time to judge at, UTC.

    Raises:
        EvidenceRefused: Names the check that failed: those of `read_certificate`,
            ``own_key``, ``certificate_validity``, ``certificate_lifetime``,
            ``evidence_extension``, ``claims_encoding``, ``pubkey_hash``, ``node``, ``role``,
            ``party``, ``certificate_name``, or one of the appraiser's.
    """
    certificate = read_certificate(der)
    if trust.is_own_key(certificate.spki_sha256):
        raise EvidenceRefused(
            "own_key",
            "the peer shows this node's own key",
            expected="another node's key",
            seen=f"key {certificate.spki_sha256.hex()}",
            remedy="the node connected to itself, or an attacker reflects its messages: check the address",
        )
    certificate.check_validity(at)
    evidence = certificate.evidence
    if not isinstance(evidence, InteroperableEvidence):
        raise EvidenceRefused(
            "evidence_extension",
            "the certificate carries Gramine's legacy evidence, which holds no claims",
            expected="the interoperable extension with a node's claims",
            seen=f"extension {evidence.oid}",
            remedy="only Coterie nodes may connect: start the peer with `coterie node`",
        )
    claims = Claims.from_cbor(evidence.claims)
    check_pubkey_hash(claims.pubkey_hash, certificate.spki_der)
    _check_place(claims, trust, expected_node)
    _check_name(certificate, claims)
    # First the checks without collateral, so that a stranger cannot cause look-ups.
    covered = report_data(evidence.claims)
    kind = _kind_of(claims, trust)
    quote = trust.appraiser.screen(
        evidence.quote, report_data=covered, role=claims.role, kind=kind, at=at
    )
    try:
        vetted = trust.collateral.vetted_for(quote, at)
    except (EvidenceRefused, RunError) as error:
        if isinstance(error, EvidenceRefused) and error.failed_check != "collateral_missing":
            raise
        return JudgedCertificate(certificate, claims, quote, None, None, error)
    verdict = trust.appraiser.appraise(
        quote, report_data=covered, role=claims.role, kind=kind, collateral=vetted, at=at
    )
    return JudgedCertificate(certificate, claims, quote, vetted.collateral, verdict, None)


class CertificateJudge:
    """Verifies a node's certificate inside the TLS handshake; for one connection.

    Args:
        trust: This side's trust.
        expected_node: Who must answer, for the side that dialled; None for a listener.
        at: The time to judge at, UTC.
    """

    def __init__(self, trust: RelyingParty, *, expected_node: str | None, at: datetime) -> None:
        self._trust = trust
        self._expected_node = expected_node
        self._at = at
        self._judged: JudgedCertificate | None = None

    def __call__(self, der: bytes) -> bytes:
        """Verifies a certificate; returns its DER SubjectPublicKeyInfo.

        Raises:
            EvidenceRefused: A check failed.
        """
        self._judged = judge_certificate(
            der, self._trust, expected_node=self._expected_node, at=self._at
        )
        return self._judged.certificate.spki_der

    @property
    def judged(self) -> JudgedCertificate:
        """The certificate, once the handshake is done."""
        assert self._judged is not None  # TLS does not complete without the call
        return self._judged


def judge_session(
    judged: JudgedCertificate,
    data: bytes,
    expected_report_data: bytes,
    stapled: bytes,
    *,
    trust: RelyingParty,
    at: datetime,
) -> JudgedSession:
    """Verifies a peer's session quote, and its certificate's quote if that is still open.

    Args:
        judged: The peer's certificate.
        data: The received quote, made for this session.
        expected_report_data: Its expected report data, 64 bytes.
        stapled: The peer's stapled collateral, JSON. Used only if this node has none, and then
            cached, part by part, unless a newer part is known.
        trust: This side's trust.
        at: The time to judge at, UTC.

    Raises:
        EvidenceRefused: ``session_binding``: the quote is not for this session or is not of the
            TEE that made the certificate; or one of the appraiser's checks.
        CoterieError: There is no collateral; the error says why.
    """
    collateral, verdict = judged.collateral, judged.verdict
    role, kind = judged.claims.role, _kind_of(judged.claims, trust)
    with _about_the_session(judged.claims.node):
        quote = trust.appraiser.screen(
            data, report_data=expected_report_data, role=role, kind=kind, at=at
        )
    if collateral is None:
        if not stapled and judged.no_collateral is not None:
            raise judged.no_collateral
        read = read_collateral(stapled, trust.contract.trust.kinds)
        vetted = trust.collateral.remember(judged.quote, read, at)
        collateral = vetted.collateral
        covered = report_data(judged.claims.to_cbor())
        verdict = trust.appraiser.appraise(
            judged.quote, report_data=covered, role=role, kind=kind, collateral=vetted, at=at
        )
    assert verdict is not None
    fresh = trust.appraiser.appraise(
        quote,
        report_data=expected_report_data,
        role=role,
        kind=kind,
        collateral=Vetted(collateral),
        at=at,
    )
    if (fresh.measurements, fresh.ppid) != (verdict.measurements, verdict.ppid):
        raise EvidenceRefused(
            "session_binding",
            f"certificate and session evidence of {judged.claims.node} are of two programs",
            expected=f"{dict(verdict.measurements)} on platform {verdict.ppid}"[:500],
            seen=f"{dict(fresh.measurements)} on platform {fresh.ppid}"[:500],
            remedy="an attacker may relay evidence between programs: find out who answers there",
        )
    return JudgedSession(fresh, collateral)


@contextmanager
def _about_the_session(node: str) -> Iterator[None]:
    try:
        yield
    except EvidenceRefused as error:
        if error.failed_check != "report_data":
            raise
        raise EvidenceRefused(
            "session_binding",
            f"the session evidence of {node} was made for another session",
            expected=error.expected,
            seen=error.seen,
            remedy="an attacker may replay or relay evidence: find out who is between the nodes",
        ) from error


def _check_place(claims: Claims, trust: RelyingParty, expected_node: str | None) -> None:
    contract: Contract = trust.contract
    remedy = "start every node under the name, role and party that one signed contract gives it"
    known = claims.node in contract.node_names
    if not known or trust.is_own_name(claims.node):
        raise EvidenceRefused(
            "node",
            "the peer is not another node of this contract"
            if not known
            else "the peer says that it is this very node",
            expected="the name of another node of the contract",
            seen=claims.node,
            remedy=remedy,
        )
    if expected_node is not None and claims.node != expected_node:
        raise EvidenceRefused(
            "node",
            "another node than the expected one answers",
            expected=expected_node,
            seen=claims.node,
            remedy="correct the address of the node that was dialled",
        )
    node = contract.node(claims.node)
    for check, expected, seen in (
        ("role", node.role, claims.role),
        ("party", node.party, claims.party),
    ):
        if expected != seen:
            raise EvidenceRefused(
                check,
                f"node {claims.node} claims another {check} than the contract gives it",
                expected,
                seen,
                remedy=remedy,
            )


def _kind_of(claims: Claims, trust: RelyingParty) -> TeeKind:
    """The kind of TEE that the contract gives the node, whatever evidence it shows."""
    return trust.contract.kind_of(trust.contract.node(claims.node))


def _check_name(certificate: RatlsCertificate, claims: Claims) -> None:
    expected = f"k{certificate.spki_sha256.hex()[:16]}.{claims.node}.{DNS_SUFFIX}"
    if certificate.dns_names != (expected,) or not hmac.compare_digest(
        certificate.spki_sha256, claims.pubkey_hash
    ):
        raise EvidenceRefused(
            "certificate_name",
            f"the certificate of {claims.node} has another DNS name than its claims give it",
            expected=expected,
            seen=printable(", ".join(certificate.dns_names), 300) or "none",
            remedy="nodes make their certificates themselves: start the peer with `coterie node`",
        )
