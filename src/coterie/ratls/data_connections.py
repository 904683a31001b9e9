"""Data connections between attested peers, for the long messages of training.

They come to the attestation port under a protocol name (ALPN) of their own, with the certificates
that are pinned, and prove an attested session (`coterie.ratls.session_proof`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from coterie.address import Address
from coterie.ratls.certificate import MAX_CERTIFICATE_BYTES
from coterie.ratls.connect import Destination
from coterie.ratls.credentials import Credentials
from coterie.ratls.deadline import Deadline
from coterie.ratls.guests import unproved_key
from coterie.ratls.handshake import AttestedPeer
from coterie.ratls.peer import Peer
from coterie.ratls.pins import PinBoard
from coterie.ratls.request import tls_session
from coterie.ratls.session_proof import SessionProof, other_certificate, showing_only
from coterie.ratls.tls import TlsConnection
from coterie.ratls.tls_stream import TlsStream

ALPN = b"coterie-data/1"
_LABEL = b"EXPORTER-coterie-data-1"


@dataclass(frozen=True)
class DataConnection:
    """A data connection that a peer has made to this node.

    Attributes:
        stream: The connection.
        admitted: The peer, if its session still holds; raises CallRefused otherwise. Call it for
            each message.
    """

    stream: TlsStream
    admitted: Callable[[], Peer]


class DataPort(Protocol):
    """Serves the data connections of attested peers."""

    def take(self, connection: DataConnection) -> None:
        """Serves a connection from now on; returns at once. Raises to refuse it."""
        ...

    def stop(self, grace: float) -> None:
        """Ends all connections; calls under way get ``grace`` seconds."""
        ...


@dataclass(frozen=True)
class DataProtocol:
    """The protocol of data connections at an attestation port.

    Attributes:
        pins: The pinned peers.
        clock: The time now, UTC.
        port: Serves them.
    """

    pins: PinBoard
    clock: Callable[[], datetime]
    port: DataPort

    @property
    def alpn(self) -> bytes:
        """Name of the protocol."""
        return ALPN

    @property
    def apart(self) -> bool:
        """Whether another library than OpenSSL handles its records."""
        return True

    def begin(self) -> _Dialler:
        """The judge of one connection."""
        return _Dialler(self)


class _Dialler:
    """Verifies the certificate and session of one dialler."""

    def __init__(self, protocol: DataProtocol) -> None:
        self._protocol = protocol
        self._certificate_sha256 = b""

    def __call__(self, der: bytes) -> bytes:
        """Refuses a certificate that is not pinned; as ``Judge`` of ``TlsConnection``.

        Raises:
            CallRefused: It is not pinned here, or its pin has expired.
        """
        digest = hashlib.sha256(der).digest()
        peer = self._protocol.pins.lookup(digest, self._protocol.clock())
        self._certificate_sha256 = digest
        return unproved_key(der, peer.node, most=MAX_CERTIFICATE_BYTES)

    def serve(self, connection: TlsConnection, _: Credentials, __: datetime) -> None:
        """Demands the proof of a session, and gives the connection on.

        Raises:
            CallRefused: The dialler knows no token of a session that is valid now.
            HandshakeFailed: It sent something else.
            PeerUnreachable: It went away or was too slow.
        """
        tokens: list[bytes] = []

        def find(shown: bytes, made_of: Callable[[bytes], bytes]) -> bytes:
            pins, now = self._protocol.pins, self._protocol.clock()
            _, token = pins.session(self._certificate_sha256, shown, now, made_of=made_of)
            tokens.append(token)
            return token

        SessionProof(connection, _LABEL, "a peer").demand(find)
        (token,) = tokens
        stream = TlsStream(connection.take(), "a peer")
        try:
            self._protocol.port.take(DataConnection(stream, lambda: self._admitted(token)))
        except BaseException:
            stream.close()
            raise

    def _admitted(self, token: bytes) -> Peer:
        protocol = self._protocol
        return protocol.pins.caller(self._certificate_sha256, token, protocol.clock())


def connect_data(
    attested: AttestedPeer, address: Address, *, at: datetime, seconds: float
) -> TlsStream:
    """Makes a data connection to a node that was attested just now.

    Args:
        attested: The handshake with it.
        address: Its attestation port; an untrusted hint.
        at: The time now, UTC.
        seconds: Time for all of it.

    Raises:
        PeerUnreachable: The node does not answer in time.
        HandshakeFailed: Another certificate than the pinned one answers, or its owner does not know
            the session's token.
    """
    peer = attested.peer
    deadline = Deadline.after(seconds)
    with tls_session(
        Destination(address, peer.node).connect(seconds),
        attested.credentials.identity,
        showing_only(peer.certificate_der, lambda: other_certificate(peer, "attestation port")),
        side="dialler",
        at=at,
        deadline=deadline,
        peer_name=peer.node,
        alpn=ALPN,
        apart=(ALPN,),
    ) as connection:
        SessionProof(connection, _LABEL, peer.node).prove(peer.call_token)
        return TlsStream(connection.take(), peer.node)
