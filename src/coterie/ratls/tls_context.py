"""What a TLS connection is made with: TLS 1.3, one suite, and a judge of the peer's certificate.

Both sides present certificates. OpenSSL's chain building does not apply to self-signed leaves. So
the verify callback accepts exactly two of its results, at depth 0 only: 0 (ok) and 18 (self-signed
leaf). The caller's function then verifies each certificate. Tickets and the session cache are off,
since a resumed session would skip all of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL, crypto

from coterie.errors import EvidenceRefused, HandshakeFailed
from coterie.ratls.issue import spki_der
from coterie.text import first_octets
from coterie.unreadable import UNREADABLE

# One suite for all connections: the fastest where processors have AES, and the one of gRPC's.
SUITE = b"TLS_AES_128_GCM_SHA256"
_ACCEPTED_ERRORS = frozenset({0, 18})  # X509_V_OK, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT

Judge = Callable[[bytes], bytes]


class Shown(Protocol):
    """The identity that one side shows: a certificate and its key."""

    @property
    def certificate_der(self) -> bytes:
        """The certificate."""
        ...

    @property
    def private_key(self) -> ec.EllipticCurvePrivateKey:
        """The key."""
        ...


def tls_context(
    identity: Shown, judges: Mapping[bytes, Judge], *, listener: bool, at: datetime
) -> SSL.Context:
    """The context of one connection.

    Args:
        identity: The identity that this side shows.
        judges: Verify the peer's certificate, by name of the protocol.
        listener: Whether this side accepts the connection.
        at: The time at which certificates must be valid, UTC.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_tls13_ciphersuites(SUITE)
    context.use_certificate(x509.load_der_x509_certificate(identity.certificate_der))
    context.use_privatekey(identity.private_key)
    store = context.get_cert_store()
    assert store is not None
    store.set_time(at)
    if listener:
        context.set_alpn_select_callback(partial(_select_alpn, tuple(judges)))
    else:
        context.set_alpn_protos(list(judges))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verifier(judges))
    return context


def _verifier(
    judges: Mapping[bytes, Judge],
) -> Callable[[SSL.Connection, crypto.X509, int, int, int], bool]:
    judged: list[bytes] = []
    first = next(iter(judges.values()))

    def verify(
        connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, _: int
    ) -> bool:
        if error not in _ACCEPTED_ERRORS or depth != 0:
            raise _chain_refused(error, depth)
        der = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        if der in judged:  # OpenSSL calls this for its finding, and again for the result
            return True
        if judged:
            raise _chain_refused(error, depth)
        # Protocol names are exchanged before the certificates (RFC 8446, 4.3.1 and 4.4.2). A peer
        # without a name is verified like a node, and refused after the handshake.
        judge = judges.get(connection.get_alpn_proto_negotiated(), first)
        if judge(der) != _public_key(certificate):
            raise _chain_refused(error, depth)  # two parsers see two keys: a crafted certificate
        judged.append(der)
        return True

    return verify


def _public_key(certificate: crypto.X509) -> bytes:
    """SubjectPublicKeyInfo of a certificate as OpenSSL reads it; empty without a valid key."""
    try:
        key = certificate.get_pubkey().to_cryptography_key()
    except crypto.Error:
        return b""
    except UNREADABLE:
        return b""
    return spki_der(key) if isinstance(key, ec.EllipticCurvePublicKey) else b""


def _chain_refused(error: int, depth: int) -> EvidenceRefused:
    expired = error in {9, 10}  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
    return EvidenceRefused(
        "certificate_validity" if expired else "certificate_chain",
        "the peer's certificate is not valid at this time"
        if expired
        else "the peer's certificate is not a single self-signed one",
        expected="one self-signed certificate, valid now",
        seen=f"OpenSSL's verify error {error} at depth {depth}",
        remedy="set both machines' clocks; nodes make their certificates themselves",
    )


def names(protocols: tuple[bytes, ...]) -> str:
    """Names of protocols, for people."""
    return " or ".join(name.decode() for name in protocols)


def _select_alpn(known: tuple[bytes, ...], _: SSL.Connection, offered: list[bytes]) -> bytes:
    for alpn in known:
        if alpn in offered:
            return alpn
    raise HandshakeFailed(
        "the peer does not speak Coterie's attested handshake",
        expected=f"application protocol {names(known)}",
        seen=", ".join(map(first_octets, offered))[:80] or "nothing",
        remedy="something else than a Coterie node dialled this port",
    )
