"""Verifies who signed a launch endorsement: a chain of certificates up to a root key of the contract's.

Source: RFC 5280, 6.1; RFC 8017, 8.1 (RSASSA-PSS).
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from functools import partial

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from coterie.attestation.endorsed.document import LaunchEndorsement
from coterie.attestation.pem import PemMalformed, decode_chain
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused
from coterie.unreadable import UNREADABLE

CHECKS = (
    "endorsement_root",
    "endorsement_chain",
    "endorsement_validity",
    "endorsement_signature",
)
MAX_ISSUERS = 3
MIN_KEY_BITS = 2048
_HASHES = (SHA256, SHA384, SHA512)
_KNOWN = frozenset(
    {ExtensionOID.KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.EXTENDED_KEY_USAGE}
)
_UNREADABLE: tuple[type[Exception], ...] = (PemMalformed, *UNREADABLE)
_NOT_ISSUED: tuple[type[Exception], ...] = (InvalidSignature, *UNREADABLE)

_refused = partial(
    EvidenceRefused,
    remedy="fetch it again: coterie attest endorsements; if that does not help, ask its publisher",
)


def verify_signature(
    document: LaunchEndorsement, *, roots: tuple[str, ...], at: datetime, checks: CheckList
) -> None:
    """Verifies that one of the roots vouches for a document's signer, and that it signed the document.

    Args:
        document: The document.
        roots: Accepted root keys: SHA-256 of the DER SubjectPublicKeyInfo (hex).
        at: The moment that counts, with a time zone.
        checks: Takes up every check that passed.

    Raises:
        EvidenceRefused: It fails one of ``CHECKS``.
    """
    chain = _read(document)
    seen = spki_sha256(chain[-1])
    if not any(hmac.compare_digest(seen, root) for root in roots):
        raise _refused(
            "endorsement_root",
            "the launch endorsement is of another publisher",
            expected=f"a root key {' or '.join(roots)}",
            seen=seen,
        )
    checks.passed("endorsement_root", seen)
    _verify_chain(chain)
    checks.passed("endorsement_chain")
    for certificate in chain:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not begin <= at <= end:
            raise _refused(
                "endorsement_validity",
                "a certificate of the launch endorsement's signer is not valid at this time",
                expected=f"from {begin.isoformat()} to {end.isoformat()}",
                seen=at.isoformat(),
            )
    checks.passed("endorsement_validity")
    _verify_statement(document, chain[0])
    checks.passed("endorsement_signature")


def spki_sha256(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate's public key as DER SubjectPublicKeyInfo, in hex."""
    key = certificate.public_key()
    return hashlib.sha256(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()


def _read(document: LaunchEndorsement) -> tuple[x509.Certificate, ...]:
    """The certificates: the signer's first, the root's last."""
    try:
        issuers = decode_chain(document.issuers, MAX_ISSUERS)
        return tuple(_certificate(der) for der in (document.certificate, *reversed(issuers)))
    except _UNREADABLE as error:
        raise _refused(
            "endorsement_chain",
            "a certificate of the launch endorsement's signer cannot be read",
            expected=f"a certificate, and up to {MAX_ISSUERS} of its issuers, the root first",
            seen=str(error)[:200],
        ) from error


def _certificate(der: bytes) -> x509.Certificate:
    """Reads what is used of a certificate. Its names are not: the library warns of Google's country USA."""
    certificate = x509.load_der_x509_certificate(der)
    _ = (certificate.extensions, certificate.public_key(), certificate.signature_hash_algorithm)
    return certificate


def _verify_chain(chain: tuple[x509.Certificate, ...]) -> None:
    """Verifies names, signatures and roles; the root is signed by its own key."""
    for place, certificate in enumerate(chain):
        issuer = chain[min(place + 1, len(chain) - 1)]
        name = "the signer" if place == 0 else f"issuer {place} above the signer"
        if not isinstance(certificate.signature_hash_algorithm, _HASHES):
            raise _chain_refused("signatures with SHA-256 or longer", f"another hash: {name}")
        try:
            certificate.verify_directly_issued_by(issuer)
        except _NOT_ISSUED as error:
            raise _chain_refused("each certificate by the next one's key", name) from error
        if any(one.critical and one.oid not in _KNOWN for one in certificate.extensions):
            raise _chain_refused("no critical extension that is unknown", name)
        _verify_role(certificate, name, below=place - 1)


def _verify_role(certificate: x509.Certificate, name: str, *, below: int) -> None:
    """Verifies what a certificate's key is for.

    Args:
        certificate: The certificate.
        name: Its place, for errors.
        below: Number of authorities below this one; -1 for the signer.
    """
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound as error:
        raise _chain_refused("key usage and basic constraints", f"none: {name}") from error
    if below < 0:
        if basic.ca or not usage.digital_signature:
            raise _chain_refused("a signer that is no authority", name)
    elif not basic.ca or not usage.key_cert_sign:
        raise _chain_refused("issuers that are authorities", name)
    elif basic.path_length is not None and basic.path_length < below:
        raise _chain_refused(f"at most {basic.path_length} authorities below", name)


def _verify_statement(document: LaunchEndorsement, signer: x509.Certificate) -> None:
    key = signer.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        raise _refused(
            "endorsement_signature",
            "the launch endorsement's signer has no key that signs such documents",
            expected=f"an RSA key of at least {MIN_KEY_BITS} bits",
            seen=type(key).__name__,
        )
    scheme = padding.PSS(padding.MGF1(SHA256()), SHA256().digest_size)
    try:
        key.verify(document.signature, document.statement, scheme, SHA256())
    except InvalidSignature as error:
        raise _refused(
            "endorsement_signature",
            "the launch endorsement's signature does not hold",
            expected="the statement, signed by its certificate's key (RSASSA-PSS, SHA-256)",
            seen="another signature, or one over other bytes",
        ) from error


def _chain_refused(expected: str, seen: str) -> EvidenceRefused:
    return _refused(
        "endorsement_chain",
        "the certificates of the launch endorsement's signer are no chain up to its root",
        expected=expected,
        seen=seen,
    )
