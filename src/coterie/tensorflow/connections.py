"""Data connections: TLS between attested peers, set up by Python and used by TensorFlow.

They use the keys that the attested handshake pinned, and prove its session
(`coterie.ratls.session_proof`). A listener shows its newest certificate; a dialler that knows only
an older one attests the listener again.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial

from coterie.address import Address
from coterie.errors import HandshakeFailed, PeerBusy, PeerUnreachable
from coterie.ratls.certificate import MAX_CERTIFICATE_BYTES
from coterie.ratls.connect import Destination
from coterie.ratls.deadline import Deadline
from coterie.ratls.guests import unproved_key
from coterie.ratls.handshake import AttestedPeer
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.peer import Peer
from coterie.ratls.session_proof import Find, SessionProof, other_certificate, showing_only
from coterie.ratls.tls import TlsConnection
from coterie.ratls.tls_context import Judge
from coterie.ratls.traffic_secrets import Taken
from coterie.ratls.trust import TrustContext
from coterie.tensorflow.attested_peers import AttestedPeers
from coterie.tensorflow.calls.inspection import Inspection
from coterie.tensorflow.native import Native

ALPN = b"coterie-tf/2"
# The dialler of such a connection is the node that TensorFlow dials through it.
BACK_ALPN = b"coterie-tf-back/2"
MAX_IDLE = 64  # unused connections of one peer
_PROOF_LABEL = b"EXPORTER-coterie-tf-2"
_KEEPALIVE_SECONDS = 30


class DataConnection:
    """One side of a connection, before it is given to TensorFlow.

    Args:
        sock: A connected socket; it belongs to this object.
        identity: The identity that this side shows.
        judge: As in ``TlsConnection``.
        listener: Whether this side accepted the connection.
        at: The time now, UTC.
        deadline: Time by which the handshake must be done.
        peer_name: The peer's name in errors.
        back: As the dialler: whether the peer's TensorFlow will dial through it, not this node's.
    """

    def __init__(
        self,
        sock: socket.socket,
        identity: NodeIdentity,
        judge: Judge,
        *,
        listener: bool,
        at: datetime,
        deadline: Deadline,
        peer_name: str,
        back: bool = False,
    ) -> None:
        self._peer_name = peer_name
        self._tls = TlsConnection(
            sock,
            identity,
            judge,
            listener=listener,
            at=at,
            deadline=deadline,
            peer_name=peer_name,
            alpn=BACK_ALPN if back else ALPN,
            others={BACK_ALPN: judge} if listener else None,
            apart=(ALPN, BACK_ALPN),
        )
        self._proof = SessionProof(self._tls, _PROOF_LABEL, peer_name)

    def handshake(self) -> None:
        """Does the handshake; closes the connection if it fails.

        Raises:
            CoterieError: The judge's reason.
            EvidenceRefused: The certificate is missing or not valid now.
            HandshakeFailed: TLS failed.
            PeerUnreachable: The peer went away or was too slow.
        """
        with self._closed_on_failure():
            self._tls.handshake()

    def prove(self, token: bytes) -> None:
        """As ``SessionProof.prove``; closes the connection if it fails."""
        with self._closed_on_failure():
            self._proof.prove(token)

    def demand(self, find: Find) -> None:
        """As ``SessionProof.demand``; closes the connection if it fails."""
        with self._closed_on_failure():
            self._proof.demand(find)

    @contextlib.contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._tls.close()
            raise

    @property
    def is_back(self) -> bool:
        """Whether TensorFlow will dial the dialler of this connection through it."""
        return self._tls.protocol == BACK_ALPN

    def hand_over(
        self,
        native: Native,
        node: int,
        incarnation: int,
        *,
        to_dial: bool,
        put_between: Callable[[Taken], Taken] | None = None,
    ) -> None:
        """Gives the connection to TensorFlow, as ``Native.hand_over``.

        Args:
            native: The native part.
            node: Index of the peer among the contract's nodes.
            incarnation: The peer's incarnation.
            to_dial: Whether TensorFlow will dial with it; otherwise the peer's will.
            put_between: Inspects calls of the peer's TensorFlow, and returns the connection that
                this node's gets; None if they are not inspected.
        """
        taken = self._tls.take()
        if put_between is not None and not to_dial:
            taken = put_between(taken)
        native.hand_over(taken, node, incarnation, to_dial=to_dial)

    def close(self) -> None:
        """Closes it."""
        self._tls.close()


def connect(
    trust: TrustContext, host: str, attested: AttestedPeer, *, back: bool, seconds: float
) -> DataConnection:
    """Connects to an attested peer's data port.

    Args:
        trust: Tells the time.
        host: The peer's host; an untrusted hint.
        attested: The last handshake with it.
        back: As in ``DataConnection``.
        seconds: Time limit of connecting, and again of the handshake.

    Raises:
        PeerUnreachable: The peer does not answer in time.
        HandshakeFailed: The answer is not TLS, another key than the pinned one answered, or the
            owner of that key does not know the session's token.
    """
    peer = attested.peer
    sock = Destination(
        Address(host, peer.grpc_port),
        peer.node,
        "its data port, the one after its attestation port",
        "open that port; if the node has ended, start it again",
    ).connect(seconds)
    _keep_alive(sock)
    connection = DataConnection(
        sock,
        attested.credentials.identity,
        showing_only(peer.certificate_der, lambda: other_certificate(peer, "data port")),
        listener=False,
        at=trust.clock(),
        deadline=Deadline.after(seconds),
        peer_name=peer.node,
        back=back,
    )
    connection.handshake()
    connection.prove(peer.call_token)
    return connection


def receive(
    sock: socket.socket,
    seconds: float,
    *,
    trust: TrustContext,
    native: Native,
    board: AttestedPeers,
    index_of: dict[str, int],
    inspection: Inspection | None,
) -> Peer:
    """Does the listener's side of the handshake on the data port, then hands the connection over.

    Raises:
        HandshakeFailed: TLS failed: among others, the peer speaks plaintext or was too slow.
        EvidenceRefused: The peer has no certificate.
        CallRefused: The certificate is not pinned here, or the peer knows no token of a session.
        PeerBusy: The peer has too many idle connections.
    """
    judged: list[bytes] = []

    def judge(shown: bytes) -> bytes:
        peer = board.judge(shown)
        judged.append(shown)
        return unproved_key(shown, peer.node, most=MAX_CERTIFICATE_BYTES)

    with sock:  # the socket stays the caller's meanwhile, who may shut it down
        _keep_alive(sock)
        connection = DataConnection(
            sock.dup(),
            trust.credentials.current().identity,
            judge,
            listener=True,
            at=trust.clock(),
            deadline=Deadline.after(seconds),
            peer_name="a peer",
        )
        found: list[Peer] = []

        def find(shown: bytes, made_of: Callable[[bytes], bytes]) -> bytes:
            # Check the certificate again: its pin may have expired during the handshake.
            peer, token = board.session(judged[0], shown, made_of)
            index = index_of[peer.node]
            idle = native.parked(index) if connection.is_back else native.unused(index)
            if idle >= MAX_IDLE:
                raise _too_many(peer, idle)
            found.append(peer)
            return token

        try:
            connection.handshake()
            connection.demand(find)
        except (HandshakeFailed, PeerUnreachable) as error:
            raise _not_tls(error) from error
        (peer,) = found
        index = index_of[peer.node]
        connection.hand_over(
            native,
            index,
            peer.incarnation,
            to_dial=connection.is_back,
            put_between=None
            if inspection is None
            else partial(inspection.put_between, peer=peer.node),
        )
        return peer


def _not_tls(error: HandshakeFailed | PeerUnreachable) -> HandshakeFailed:
    return HandshakeFailed(
        "a connection to the data port broke off or is not of an attested node",
        expected="mutual TLS 1.3 as `coterie tensorflow node` speaks it",
        seen=error.seen,
        remedy="start the peer with `coterie tensorflow node`: plain TensorFlow has no way in",
    )


def _too_many(peer: Peer, idle: int) -> PeerBusy:
    return PeerBusy(
        f"{peer.node} has too many idle connections",
        expected=f"at most {MAX_IDLE}",
        seen=str(idle),
        remedy="the peer must run the same release",
    )


def _keep_alive(sock: socket.socket) -> None:
    """Enables TCP keepalive: it keeps idle connections open through NAT and finds dead ones."""
    with contextlib.suppress(OSError):  # the peer has gone: the handshake will fail
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            sock.setsockopt(socket.IPPROTO_TCP, option, _KEEPALIVE_SECONDS)
