"""Data connections: TLS to a pinned certificate and nothing else, made by Python, used by TensorFlow.

Attestation is the attested handshake's (`coterie.ratls.handshake`), on the attestation port. Here the two keys
that it pinned meet again. Whoever dials shows the certificate that the peer has pinned, and accepts the one
that it has pinned itself; whoever listens looks the certificate up on its board. Both do so before
TensorFlow gets the connection. A listener shows its newest certificate: a dialler that knows only an older
one attests it anew.
"""

from __future__ import annotations

import contextlib
import hmac
import socket
import threading

from coterie.errors import HandshakeFailed, PeerBusy, PeerUnreachable
from coterie.ratls.address import Address
from coterie.ratls.handshake import AttestedPeer
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.peer import Peer
from coterie.ratls.tls import Deadline
from coterie.ratls.trust import CredentialKeeper
from coterie.tensorflow.board import Board
from coterie.tensorflow.native import Context, Link, Native

MAX_IDLE = 64  # connections of one peer that wait for use
_KEEPALIVE_SECONDS = 30


class Contexts:
    """This node's identities as TLS contexts, made once each. Thread-safe.

    Args:
        native: The native part.
        credentials: This node's own keys and certificates.
    """

    def __init__(self, native: Native, credentials: CredentialKeeper) -> None:
        self._native = native
        self._credentials = credentials
        self._lock = threading.Lock()
        self._made: dict[bytes, Context] = {}

    def of(self, identity: NodeIdentity) -> Context:
        """The context of one identity."""
        with self._lock:
            if identity.spki_digest not in self._made:
                self._made[identity.spki_digest] = self._native.context(identity)
            return self._made[identity.spki_digest]

    def current(self) -> Context:
        """The one to show to who dials; forgets those that no peer can have pinned any more."""
        identities = [item.identity for item in self._credentials.held()]
        current = self.of(identities[0])
        with self._lock:
            digests = {identity.spki_digest for identity in identities}
            self._made = {key: made for key, made in self._made.items() if key in digests}
        return current


def connect(
    native: Native,
    contexts: Contexts,
    host: str,
    attested: AttestedPeer,
    *,
    back: bool,
    seconds: float,
) -> Link:
    """Dials an attested peer's data port.

    Args:
        native: The native part.
        contexts: This node's certificates.
        host: Where the peer is; an untrusted hint.
        attested: The last handshake with it.
        back: Whether the peer's TensorFlow shall dial through the connection, not this node's.
        seconds: Time for all of it.

    Raises:
        PeerUnreachable: Nobody answers, not in time, or not in TLS.
        HandshakeFailed: Another key than the pinned one answered.
    """
    peer = attested.peer
    deadline = Deadline.after(seconds)
    address = Address(host, peer.grpc_port)
    try:
        sock = socket.create_connection((address.host, address.port), timeout=seconds)
    except OSError as error:
        raise PeerUnreachable(
            f"{peer.node} does not answer at {address}",
            expected="its data port, the one after its attestation port",
            seen=error.strerror or str(error) or type(error).__name__,
            remedy="open that port; if the node has ended, start it again",
        ) from error
    prepare(sock)
    own = contexts.of(attested.credentials.identity)
    link = native.open(sock, own, listener=False, back=back)
    if not link.handshake(deadline):
        link.drop()
        raise PeerUnreachable(
            f"a connection to {peer.node} at {address} broke off",
            expected="a TLS handshake, in time",
            seen="none",
            remedy="see the peer's own log for its reason; it is dialled again by itself",
        )
    if not hmac.compare_digest(link.shown(), peer.certificate_der):
        link.drop()
        raise HandshakeFailed(
            f"the data port of {peer.node} does not show the certificate that was attested",
            expected=f"certificate {peer.certificate_sha256.hex()}",
            seen="another one",
            remedy="a node that was started anew is attested again by itself; else find out who answers",
        )
    return link


def receive(
    sock: socket.socket,
    seconds: float,
    *,
    native: Native,
    contexts: Contexts,
    board: Board,
    index_of: dict[str, int],
) -> Peer:
    """Does the listener's side of the handshake on the data port, and gives the connection its place.

    Raises:
        HandshakeFailed: TLS failed: among others, the peer speaks plaintext or has no certificate.
        CallRefused: The certificate is not pinned here.
        PeerBusy: The peer has too many idle connections.
    """
    with sock:  # it stays the caller's meanwhile, who may shut it down: the link has a descriptor of its own
        prepare(sock)
        own = contexts.current()
        link = native.open(sock.dup(), own, listener=True)
        try:
            _shake_hands(link, seconds)
            peer = board.judge(link.shown())
            index = index_of[peer.node]
            _check_idle(peer, native.parked(index) if link.is_back else native.unused(index))
        except BaseException:
            link.drop()
            raise
        link.hand_over(index, peer.incarnation, to_dial=link.is_back)
        return peer


def _shake_hands(link: Link, seconds: float) -> None:
    if not link.handshake(Deadline.after(seconds)):
        raise HandshakeFailed(
            "a connection to the data port broke off or is not of an attested node",
            expected="mutual TLS 1.3 as `coterie tensorflow node` speaks it",
            seen="something else, or nothing in time",
            remedy="start the peer with `coterie tensorflow node`: plain TensorFlow has no way in",
        )


def _check_idle(peer: Peer, idle: int) -> None:
    if idle >= MAX_IDLE:
        raise PeerBusy(
            f"{peer.node} has too many idle connections",
            expected=f"at most {MAX_IDLE}",
            seen=str(idle),
            remedy="the peer must run the same release",
        )


def prepare(sock: socket.socket) -> None:
    """Small segments at once; idle connections are kept open through NAT, dead ones found."""
    with contextlib.suppress(OSError):  # the peer has gone: the handshake will say so
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            sock.setsockopt(socket.IPPROTO_TCP, option, _KEEPALIVE_SECONDS)
