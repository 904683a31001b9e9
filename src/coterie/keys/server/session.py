"""What ties a request to one TLS session: the party's signature on it, and the node's quote for it."""

from __future__ import annotations

from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.contract import Contract
from coterie.contract.signatures import verify_statement
from coterie.errors import KeyRefused, SignatureRefused
from coterie.ratls.session import session_report_data

EXPORTER_LABEL = b"EXPORTER-coterie-keys-1"
_LABEL = b"coterie key server 1\0"


def sign_session(
    key: Ed25519PrivateKey, *, exporter: bytes, server_key: bytes, node_key: bytes
) -> bytes:
    """The party's signature on a session: this is its key server, at the end of this connection.

    Args:
        key: The party's private key.
        exporter: 32 bytes of keying material exported from the TLS session (RFC 8446, 7.5).
        server_key: SHA-256 of the server's SubjectPublicKeyInfo.
        node_key: SHA-256 of the node's.
    """
    return key.sign(_statement(exporter, server_key, node_key))


def verify_session(
    contract: Contract,
    party: str,
    signature: bytes,
    *,
    exporter: bytes,
    server_key: bytes,
    node_key: bytes,
    at: datetime,
) -> None:
    """Checks that a session is with a party's key server.

    Raises:
        KeyRefused: The party has no key in the contract, or did not sign.
    """
    try:
        verify_statement(
            contract, party, _statement(exporter, server_key, node_key), signature, at=at
        )
    except SignatureRefused as error:
        raise KeyRefused(
            f"what answers is not the key server of party {party}",
            expected=error.expected,
            seen=error.seen,
            remedy="correct --key-server; a key server must be started with the key that the "
            f"contract names for {party}",
        ) from error


def request_report_data(
    *, exporter: bytes, node_key: bytes, server_key: bytes, nonce: bytes
) -> bytes:
    """Report data of the quote that a node makes for its request, 64 bytes."""
    return session_report_data(
        "dialler", exporter=exporter, own_key=node_key, peer_key=server_key, peer_nonce=nonce
    )


def _statement(exporter: bytes, server_key: bytes, node_key: bytes) -> bytes:
    for part in (exporter, server_key, node_key):
        assert len(part) == 32  # fixed lengths make the concatenation unambiguous
    return _LABEL + exporter + server_key + node_key
