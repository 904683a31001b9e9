"""A visitor's certificate proves nothing: only its key counts, and that is on P-256."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from coterie.errors import HandshakeFailed
from coterie.ratls.guests import unproved_key
from coterie.ratls.issue import spki_der

Key: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def certificate(key: Key) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "visitor")])
    now = datetime.now(UTC)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, algorithm)
        .public_bytes(Encoding.DER)
    )


P_256 = bytes.fromhex("06082a8648ce3d030107")
EC_KEY = bytes.fromhex("06072a8648ce3d0201")
UNREADABLE: dict[str, tuple[bytes, bytes]] = {
    "version 8": (bytes.fromhex("a003020102"), bytes.fromhex("a003020107")),
    "a curve of X9.62": (P_256, P_256[:-1] + b"\x06"),
    "an unknown curve": (P_256, P_256[:-1] + b"\x7f"),
    "an unknown kind of key": (EC_KEY, EC_KEY[:-1] + b"\x7f"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_the_library_does_not_know_is_refused_like_what_it_cannot_parse(kind: str) -> None:
    """It has other exceptions for these, which are no ValueError."""
    was, becomes = UNREADABLE[kind]
    good = certificate(ec.generate_private_key(ec.SECP256R1()))
    assert was in good
    with pytest.raises(HandshakeFailed) as refusal:
        unproved_key(good.replace(was, becomes, 1), "the visitor")
    assert refusal.value.seen == "a certificate that cannot be read"


def test_a_key_on_p256_is_taken() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert unproved_key(certificate(key), "the visitor") == spki_der(key.public_key())


@pytest.mark.parametrize(
    ("make", "seen"),
    [
        (lambda: ec.generate_private_key(ec.SECP384R1()), "a key on secp384r1"),
        (lambda: ec.generate_private_key(ec.SECP521R1()), "a key on secp521r1"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "a key on secp256k1"),
        (ed25519.Ed25519PrivateKey.generate, "Ed25519PublicKey"),
        (lambda: rsa.generate_private_key(65537, 2048), "RSAPublicKey"),
    ],
    ids=["P-384", "P-521", "secp256k1", "Ed25519", "RSA"],
)
def test_any_other_key_is_refused(make: Callable[[], Key], seen: str) -> None:
    key = make()
    with pytest.raises(HandshakeFailed) as refusal:
        unproved_key(certificate(key), "the visitor")
    assert refusal.value.what == "the visitor shows a key of another kind"
    assert refusal.value.expected == "a P-256 key"
    assert refusal.value.seen == seen


@pytest.mark.parametrize("octets", [b"", b"\0", b"0" * 100])
def test_what_is_no_certificate_is_refused(octets: bytes) -> None:
    with pytest.raises(HandshakeFailed) as refusal:
        unproved_key(octets, "the visitor")
    assert refusal.value.seen == "a certificate that cannot be read"
