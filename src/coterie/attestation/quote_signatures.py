"""The signatures in a DCAP quote, from the PCK certificate's key down to the quote's body.

Source: Intel SGX ECDSA Quote Library Reference, appendix A.4.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from coterie.attestation.quote import Quote
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused

CHECKS = ("quoting_enclave_signature", "quoting_enclave_binding", "quote_signature")


def verify_quote_signatures(quote: Quote, checks: CheckList) -> None:
    """Verifies that the PCK key vouches for the quoting enclave, and that for the quote.

    Raises:
        EvidenceRefused: One of ``CHECKS``.
    """
    proof = quote.proof
    pck_key = quote.pck_chain[0].public_key()
    if not signed_p256(pck_key, proof.qe_signature, proof.qe_report):
        raise _refused("quoting_enclave_signature", "the report of the quoting enclave")
    checks.passed("quoting_enclave_signature")
    bound = hashlib.sha256(proof.attestation_key + proof.qe_auth).digest()
    if not hmac.compare_digest(quote.qe_report.report_data, bound + bytes(32)):
        raise _refused("quoting_enclave_binding", "the attestation key")
    checks.passed("quoting_enclave_binding")
    if not signed_p256(_point(proof.attestation_key), proof.signature, proof.signed):
        raise _refused("quote_signature", "the quote's body")
    checks.passed("quote_signature")


def _point(octets: bytes) -> ec.EllipticCurvePublicKey | None:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\4" + octets)
    except ValueError:
        return None


def signed_p256(key: object, signature: bytes, content: bytes) -> bool:
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
