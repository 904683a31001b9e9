"""Checks a DCAP quote without collateral: its chain to the root, and the signatures down to its body.

This proves that some genuine TEE, in whatever state, made the quote. A peer without such a quote
causes no look-up of collateral, and no collateral that it sent is read. ``authenticate_dcap``
checks everything again with collateral; only that decides whether the evidence is accepted.

Source: Intel SGX ECDSA Quote Library Reference, appendix A.4.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from coterie.attestation.attributes import verify_attributes
from coterie.attestation.chains import verify_chain
from coterie.attestation.dcap_evidence import pck_chain_rule
from coterie.attestation.quote import Quote
from coterie.attestation.roots import TrustRoot
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused

CHECKS = ("quoting_enclave_signature", "quoting_enclave_binding", "quote_signature")


@dataclass(frozen=True)
class Screened:
    """A quote that a genuine TEE made, whatever the state of its platform.

    Attributes:
        quote: The parsed quote.
    """

    quote: Quote


def screen_dcap(quote: Quote, *, root: TrustRoot, at: datetime, checks: CheckList) -> Screened:
    """Makes all checks of a quote that need no collateral.

    Args:
        quote: The quote, of the demanded kind.
        root: The one root that is accepted.
        at: The moment that counts, with a time zone.
        checks: Takes up every check that passed.

    Raises:
        EvidenceRefused: A check failed; it has the name that ``authenticate_dcap`` gives it.
    """
    verify_attributes(quote.report, checks)
    verify_chain(quote.pck_chain, pck_chain_rule(root), root=root, at=at, checks=checks)
    proof = quote.proof
    pck_key = quote.pck_chain[0].public_key()
    if not _signed(pck_key, proof.qe_signature, proof.qe_report):
        raise _refused("quoting_enclave_signature", "the report of the quoting enclave")
    checks.passed("quoting_enclave_signature")
    bound = hashlib.sha256(proof.attestation_key + proof.qe_auth).digest()
    if not hmac.compare_digest(quote.qe_report.report_data, bound + bytes(32)):
        raise _refused("quoting_enclave_binding", "the attestation key")
    checks.passed("quoting_enclave_binding")
    if not _signed(_point(proof.attestation_key), proof.signature, proof.signed):
        raise _refused("quote_signature", "the quote's body")
    checks.passed("quote_signature")
    return Screened(quote)


def _point(octets: bytes) -> ec.EllipticCurvePublicKey | None:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\4" + octets)
    except ValueError:
        return None


def _signed(key: object, signature: bytes, content: bytes) -> bool:
    """Verifies a P-256 signature with SHA-256; r and s, 32 bytes each."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        return False
    numbers = (int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        key.verify(encode_dss_signature(*numbers), content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _refused(check: str, what: str) -> EvidenceRefused:
    return EvidenceRefused(
        check,
        "the quote's signatures do not hold",
        expected=f"{what}, vouched for by what stands above it",
        seen="another signature, or one over other bytes",
        remedy="no genuine platform makes such a quote: find out who answers there",
    )
