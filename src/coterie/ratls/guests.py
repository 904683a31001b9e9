"""Guests: clients of a node's attestation port that are not nodes and prove nothing by TLS.

A guest names another application protocol (ALPN) than nodes, shows a temporary key, and is served
by that protocol's service, never by gRPC. Nothing is pinned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from coterie.errors import HandshakeFailed
from coterie.ratls.credentials import Credentials
from coterie.ratls.issue import spki_der
from coterie.ratls.tls import TlsConnection
from coterie.unreadable import UNREADABLE

# A certificate of which only the key is used has about 300 bytes.
THROW_AWAY_BYTES = 1024
_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True)
class ThrowAwayIdentity:
    """A TLS key for one connection; a party's signature on the session says whose key it is.

    Attributes:
        certificate_der: Self-signed; it proves nothing.
        private_key: In this process's memory only.
    """

    certificate_der: bytes
    private_key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"ThrowAwayIdentity({self.spki_sha256.hex()})"

    @property
    def spki_sha256(self) -> bytes:
        """SHA-256 of the public key, 32 bytes."""
        return hashlib.sha256(spki_der(self.private_key.public_key())).digest()

    @classmethod
    def create(cls, at: datetime) -> ThrowAwayIdentity:
        """Makes a key, and a certificate that is valid from now on."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(at - timedelta(minutes=5))
            .not_valid_after(at + _LIFETIME)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName("keys.coterie.invalid")]), critical=True
            )
            .sign(key, hashes.SHA256())
        )
        return cls(certificate.public_bytes(Encoding.DER), key)


@dataclass(frozen=True)
class Visit:
    """A guest's TLS connection.

    Attributes:
        connection: The connection after the handshake; its creator closes it.
        credentials: The credentials that this node showed.
        key: SHA-256 of the guest's SubjectPublicKeyInfo, 32 bytes.
        at: The time, UTC.
    """

    connection: TlsConnection
    credentials: Credentials
    key: bytes
    at: datetime


class OtherProtocol(Protocol):
    """A protocol that an attestation port speaks beside the attested handshake."""

    @property
    def alpn(self) -> bytes:
        """Its name."""
        ...

    @property
    def apart(self) -> bool:
        """Whether another library than OpenSSL handles its records; see ``TlsConnection``."""
        ...

    def begin(self) -> Visitor:
        """The visitor of one connection."""
        ...


class Visitor(Protocol):
    """Who has made one connection under another protocol."""

    def __call__(self, der: bytes) -> bytes:
        """Verifies the visitor's certificate; as ``Judge`` of ``TlsConnection``."""
        ...

    def serve(self, connection: TlsConnection, credentials: Credentials, at: datetime) -> None:
        """Serves the visitor after the TLS handshake, or raises to refuse it.

        Args:
            connection: The connection, which is closed afterwards.
            credentials: The credentials that this node showed.
            at: The time, UTC.
        """
        ...


@dataclass(frozen=True)
class Reception:
    """The service for guests of one kind.

    Attributes:
        alpn: Name of its protocol.
        receive: Serves a guest, or raises to refuse it.
    """

    alpn: bytes
    receive: Callable[[Visit], None]
    apart: ClassVar = False

    def begin(self) -> Visitor:
        """The guest of one connection."""
        return _Guest(self.receive)


def unproved_key(der: bytes, who: str, *, most: int = THROW_AWAY_BYTES) -> bytes:
    """The key in a certificate that proves nothing; its owner must sign the session.

    Args:
        der: The certificate.
        who: Name of its owner in errors.
        most: Longest accepted certificate; nodes' certificates are longer than temporary ones.

    Returns:
        DER SubjectPublicKeyInfo.

    Raises:
        HandshakeFailed: It cannot be read, or is a key of another kind.
    """
    if len(der) > most:
        raise _other_kind(who, f"a certificate of {len(der)} bytes, more than {most}")
    try:
        key = x509.load_der_x509_certificate(der).public_key()
    except UNREADABLE as error:
        raise _other_kind(who, "a certificate that cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _other_kind(who, type(key).__name__)
    if not isinstance(key.curve, ec.SECP256R1):
        raise _other_kind(who, f"a key on {key.curve.name}")
    return spki_der(key)


class KeyReader:
    """Reads the key of a peer that proves nothing by its certificate; for one connection.

    Args:
        who: Name of the peer in errors.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self.sha256 = b""

    def __call__(self, der: bytes) -> bytes:
        """Reads a certificate; returns its DER SubjectPublicKeyInfo.

        Raises:
            HandshakeFailed: It cannot be read, or holds a key of another kind.
        """
        spki = unproved_key(der, self._who)
        self.sha256 = hashlib.sha256(spki).digest()
        return spki


class _Guest(KeyReader):
    """The guest of one connection."""

    def __init__(self, receive: Callable[[Visit], None]) -> None:
        super().__init__("the visitor")
        self._receive = receive

    def serve(self, connection: TlsConnection, credentials: Credentials, at: datetime) -> None:
        """Serves the guest, or raises to refuse it."""
        self._receive(Visit(connection, credentials, self.sha256, at))


def _other_kind(who: str, seen: str) -> HandshakeFailed:
    return HandshakeFailed(
        f"{who} shows a key of another kind",
        expected="a P-256 key",
        seen=seen,
        remedy="correct the address: something else answers there",
    )
