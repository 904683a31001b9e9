"""What a host or a network that meddles with connections achieves: delay, and no more."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Self

import pytest
from cryptography import x509
from OpenSSL import SSL

from coterie.address import Address
from coterie.errors import EnvironmentUnfit, HandshakeFailed
from coterie.ratls.certificate import MAX_CERTIFICATE_BYTES
from coterie.ratls.deadline import Deadline
from coterie.ratls.guests import unproved_key
from coterie.ratls.handshake import accept
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.listener import ListenerLimits
from coterie.ratls.tls import TlsConnection
from coterie.ratls.trust import TrustContext
from coterie.tensorflow.loopback import LoopbackConnections
from coterie.tensorflow.native import Native
from coterie.tensorflow.peer_connections import READY
from tests.ratls.conftest import World
from tests.tensorflow.preloaded.conftest import ACME, ALPN, Layer, Line, wait_until

MakeLine = Callable[..., Line]
PS0 = 0


def tls(sock: socket.socket, identity: NodeIdentity, *, listener: bool) -> SSL.Connection:
    """One end of a TLS connection as whoever has the key can make it."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(x509.load_der_x509_certificate(identity.certificate_der))
    context.use_privatekey(identity.private_key)
    context.set_alpn_select_callback(lambda _, __: ALPN)
    context.set_alpn_protos([ALPN])
    if listener:
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    sock.settimeout(None)
    connection = SSL.Connection(context, sock)
    if listener:
        connection.set_accept_state()
    else:
        connection.set_connect_state()
    return connection


@pytest.mark.parametrize(
    "stolen", [False, True], ids=["with a key of its own", "with the node's key"]
)
def test_a_host_between_the_ends_of_a_nodes_own_connection_is_noticed(
    world: World, native: Native, monkeypatch: pytest.MonkeyPatch, stolen: bool
) -> None:
    trust = world.trust("ps0")
    hosts = (trust if stolen else world.trust("ps0")).credentials.current().identity
    threads: list[threading.Thread] = []
    pairs = [socket.socketpair(), socket.socketpair()]
    both = threading.Barrier(2)

    def between(listener: bool, sock: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(SSL.Error, OSError, threading.BrokenBarrierError), sock:
            try:
                tls(sock, hosts, listener=listener).do_handshake()
                both.wait(20)
                while said := sock.recv(4096):
                    other.sendall(said)
            finally:
                both.abort()
                other.shutdown(socket.SHUT_WR)

    def meddled() -> tuple[socket.socket, socket.socket]:
        for listener, (sock, other) in zip((True, False), (pairs[::1], pairs[::-1]), strict=True):
            threads.append(threading.Thread(target=between, args=(listener, sock[1], other[1])))
            threads[-1].start()
        return pairs[0][0], pairs[1][0]

    monkeypatch.setattr(socket, "socketpair", meddled)
    keeper = LoopbackConnections(native, trust, PS0, 1)
    try:
        with pytest.raises(EnvironmentUnfit):
            keeper.start()
        assert native.parked(PS0) == 0
    finally:
        keeper.stop()
        for thread in threads:
            thread.join()


class Resetting:
    """acme-worker behind a host that ends every data connection after its handshake."""

    def __init__(self, trust: TrustContext, proof: bytes = b"") -> None:
        self._trust = trust
        self._proof = proof
        self._identity = trust.credentials.current().identity
        self._attestation = socket.create_server(("127.0.0.1", 0))
        self._data = socket.create_server(("127.0.0.1", 0))
        self.at = Address(*self._attestation.getsockname()[:2])
        self.met = 0
        self._threads = [threading.Thread(target=run) for run in (self._attest, self._reset)]

    def _attest(self) -> None:
        """Once: what comes later is not answered."""
        with self._attestation:
            sock, _ = self._attestation.accept()
            accept(sock, self._trust, lambda _: int(self._data.getsockname()[1]))

    def _reset(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._data.accept()
                with sock, contextlib.suppress(SSL.Error):
                    if self._proof:
                        self._answer(sock)
                    else:
                        tls(sock, self._identity, listener=True).do_handshake()
                self.met += 1

    def _answer(self, sock: socket.socket) -> None:
        handshake = TlsConnection(
            sock,
            self._identity,
            lambda shown: unproved_key(shown, "the peer", most=MAX_CERTIFICATE_BYTES),
            listener=True,
            at=self._trust.clock(),
            deadline=Deadline.after(20),
            peer_name="the peer",
            alpn=ALPN,
            apart=[ALPN],
        )
        handshake.handshake()
        handshake.tell(self._proof)
        sock.settimeout(20)
        while sock.recv(4096):  # the other side ends it
            pass

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._attestation, self._data):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._data.close()


@pytest.fixture
def resetting(world: World) -> Iterator[Resetting]:
    with Resetting(world.trust("acme-worker", incarnation=1)) as host:
        yield host


class TestAHostThatEndsEveryConnection:
    @pytest.fixture
    def layer(self, world: World, native: Native, resetting: Resetting) -> Iterator[Layer]:
        made = Layer(world, native, {"acme-worker": resetting.at})
        with made.sockets:
            yield made

    def test_does_not_keep_an_expired_peers_connections_alive(
        self, world: World, layer: Layer, line: MakeLine, native: Native, resetting: Resetting
    ) -> None:
        wait_until(lambda: resetting.met > 0, "nothing was dialled")
        attested = layer.attest(world.trust("acme-worker", incarnation=1))
        old = line(attested).shake_hands()
        wait_until(lambda: native.unused(ACME) >= 1, "it was not handed over")

        world.clock.advance(timedelta(minutes=61))

        old.wait_end()

    def test_is_not_dialled_all_the_time(self, layer: Layer, resetting: Resetting) -> None:
        del layer
        wait_until(lambda: resetting.met > 0, "nothing was dialled")
        before = resetting.met
        time.sleep(2.0)
        assert resetting.met - before <= 4 * READY


def test_a_thief_of_a_peers_key_is_given_nothing(world: World, native: Native) -> None:
    """He sits on the way and has the certificate that was attested, but not the session's token."""
    with Resetting(world.trust("acme-worker"), bytes(32)) as thief:
        layer = Layer(world, native, {"acme-worker": thief.at})
        with layer.sockets:
            assert "knows of no attested session" in layer.refusal(HandshakeFailed).what
            assert native.parked(ACME) == native.unused(ACME) == 0


@pytest.fixture
def endless_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handshakes end when they are broken off, or not at all."""
    endless = partial(ListenerLimits, seconds=100_000.0)
    monkeypatch.setattr("coterie.ratls.listener.ListenerLimits", endless)


def test_silent_strangers_do_not_hold_up_the_end(endless_patience: None, layer: Layer) -> None:
    silent = [
        socket.create_connection((at.host, at.port)) for at in (layer.attestation, layer.data)
    ]
    try:
        wait_until(
            lambda: all(len(one._pending) == 1 for one in layer.sockets._listeners),
            "not both are in their handshakes",
        )
        layer.sockets.stop()
    finally:
        for sock in silent:
            sock.close()


def test_an_answer_in_a_peers_place_does_not_end_the_waiting_for_it(
    world: World, native: Native
) -> None:
    """Whoever sits on the way can send one: it counts when the time is up, and is then told."""
    looks = 0

    def answer(server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was closed: the test is over
            while True:
                sock, _ = server.accept()
                with sock:
                    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        layer = Layer(world, native, {"acme-worker": Address(*server.getsockname())})

        def now() -> float:
            nonlocal looks
            looks += 1
            return 0.0 if looks < 8 else 10.0

        with layer.sockets:
            refusal = layer.refusal(HandshakeFailed)
            assert not refusal.peer_proved
            with pytest.raises(HandshakeFailed, match="TLS with acme-worker failed"):
                layer.sockets.wait_ready(5.0, now=now)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert looks >= 8, "it was waited for until the time was up"
