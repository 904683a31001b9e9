"""TLS handshakes after which somebody else seals and opens the records."""

from __future__ import annotations

import gc
import socket
import threading
import weakref
from collections.abc import Callable, Collection, Iterator
from datetime import datetime

import pytest
from cryptography import x509
from OpenSSL import SSL

from coterie.errors import CallRefused, CoterieError, HandshakeFailed, PeerUnreachable
from coterie.ratls.certificate import MAX_CERTIFICATE_BYTES
from coterie.ratls.deadline import Deadline
from coterie.ratls.guests import unproved_key
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.tls import TlsConnection
from coterie.ratls.tls_context import Judge
from coterie.ratls.traffic_secrets import Taken
from tests.ratls.conftest import World

ALPN = b"test/1"


def anyone(shown: bytes) -> bytes:
    return unproved_key(shown, "the peer", most=MAX_CERTIFICATE_BYTES)


def nobody(_: bytes) -> bytes:
    raise CallRefused("not you")


class Ends:
    """Both ends of a connection."""

    def __init__(self) -> None:
        world = World()
        self.identity: NodeIdentity = world.trust("ps0").credentials.current().identity
        self.at: datetime = world.clock()
        self.here, self.there = socket.socketpair()
        self._taken: list[Taken] = []

    def take(self, end: TlsConnection) -> Taken:
        self._taken.append(end.take())
        return self._taken[-1]

    def close(self) -> None:
        for sock in (self.here, self.there, *(one.socket for one in self._taken)):
            sock.close()

    def end(
        self,
        *,
        listener: bool,
        judge: Judge = anyone,
        seconds: float = 20.0,
        apart: Collection[bytes] = (ALPN,),
    ) -> TlsConnection:
        return TlsConnection(
            self.there if listener else self.here,
            self.identity,
            judge,
            listener=listener,
            at=self.at,
            deadline=Deadline.after(seconds),
            peer_name="the peer",
            alpn=ALPN,
            apart=apart,
        )


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def both(*steps: Callable[[], None]) -> list[CoterieError | None]:
    """Does things at the same time; returns what each raised."""
    raised: list[CoterieError | None] = [None] * len(steps)

    def run(i: int) -> None:
        try:
            steps[i]()
        except CoterieError as error:
            raised[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(steps))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def taken(ends: Ends) -> tuple[Taken, Taken]:
    dialler, listener = ends.end(listener=False), ends.end(listener=True)
    assert both(dialler.handshake, listener.handshake) == [None, None]
    return ends.take(dialler), ends.take(listener)


def test_what_one_end_sends_by_the_other_receives_by(ends: Ends) -> None:
    dialler, listener = taken(ends)
    assert dialler.sending == listener.receiving
    assert dialler.receiving == listener.sending
    assert dialler.sending != dialler.receiving
    assert {len(dialler.sending), len(dialler.receiving)} == {32}


def test_nothing_follows_the_handshake_not_even_tickets(ends: Ends) -> None:
    for end in taken(ends):
        with pytest.raises(BlockingIOError):
            end.socket.recv(1)


def test_what_follows_the_handshake_is_left_unread(ends: Ends) -> None:
    dialler, listener = ends.end(listener=False), ends.end(listener=True)

    def dial_and_speak() -> None:
        dialler.handshake()
        ends.take(dialler).socket.sendall(b"first words")

    assert both(dial_and_speak, listener.handshake) == [None, None]
    assert ends.take(listener).socket.recv(100) == b"first words"


def test_secrets_of_openssls_own_connections_are_not_kept(ends: Ends) -> None:
    """A port that also speaks a protocol apart notes the secrets of all."""
    dialler = ends.end(listener=False, apart=())
    listener = ends.end(listener=True, apart=[b"another/1"])
    assert both(dialler.handshake, listener.handshake) == [None, None]
    assert listener._secrets._secrets == {}
    with pytest.raises(AssertionError):
        listener.take()
    listener.send(b"words")
    assert dialler.receive() == b"words"


def test_the_reason_of_a_refusal_is_heard_in_place_of_the_message(ends: Ends) -> None:
    """In TLS 1.3 a dialler is done before the listener judges."""
    dialler, listener = ends.end(listener=False), ends.end(listener=True, judge=nobody)
    both(dialler.handshake, listener.handshake)
    with pytest.raises(HandshakeFailed) as refused:
        dialler.hear(8)
    assert refused.value.what == "the peer refused this node's certificate or evidence"


def test_what_is_told_before_the_records_has_their_shape_and_its_due_length(ends: Ends) -> None:
    dialler, listener = ends.end(listener=False), ends.end(listener=True)
    assert both(dialler.handshake, listener.handshake) == [None, None]
    dialler.tell(b"who I am")
    assert listener.hear(8) == b"who I am"
    dialler.tell(b"who else I am")
    with pytest.raises(HandshakeFailed):
        listener.hear(8)
    ends.there.sendall(b"\x16\x03\x03\x00\x08who I am")
    with pytest.raises(HandshakeFailed):
        dialler.hear(8)


def test_secrets_are_not_shown(ends: Ends) -> None:
    dialler, _ = taken(ends)
    assert repr(dialler.sending) not in repr(dialler)
    assert "sending" not in repr(dialler)


def test_openssls_copies_of_the_secrets_go_at_once_not_when_the_collector_comes(ends: Ends) -> None:
    dialler, listener = ends.end(listener=False), ends.end(listener=True)
    assert both(dialler.handshake, listener.handshake) == [None, None]
    openssls = [weakref.ref(end._connection) for end in (dialler, listener)]
    gc.disable()
    try:
        for end in (dialler, listener):
            ends.take(end)
        assert [one() for one in openssls] == [None, None]
        assert [end._secrets._secrets for end in (dialler, listener)] == [{}, {}]
    finally:
        gc.enable()


@pytest.mark.parametrize("refusing", [0, 1])
def test_a_judges_refusal_is_raised_and_told(ends: Ends, refusing: int) -> None:
    judges: list[Judge] = [anyone, anyone]
    judges[refusing] = nobody
    raised = both(
        ends.end(listener=False, judge=judges[0]).handshake,
        ends.end(listener=True, judge=judges[1]).handshake,
    )
    assert isinstance(raised[refusing], CallRefused)
    if refusing == 0:  # in TLS 1.3 a dialler is done before the listener judges
        assert isinstance(raised[1], HandshakeFailed)


@pytest.mark.parametrize(
    "said",
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x02\x00\x00\x05hello", b"\x16\x03\x01\xff\xff"],
)
def test_what_is_not_tls_is_refused_at_once(ends: Ends, said: bytes) -> None:
    ends.here.sendall(said)
    with pytest.raises(HandshakeFailed) as refused:
        ends.end(listener=True, seconds=1000.0).handshake()
    assert refused.value.seen == "something that is not TLS"


def test_an_end_within_a_record_is_unreachability(ends: Ends) -> None:
    ends.here.sendall(b"\x16\x03\x01\x02\x00 the rest never comes")
    ends.here.shutdown(socket.SHUT_WR)
    with pytest.raises(PeerUnreachable) as refused:
        ends.end(listener=True).handshake()
    assert refused.value.seen == "it closed the connection"


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_silence_ends_with_the_deadline(ends: Ends, seconds: float) -> None:
    with pytest.raises(PeerUnreachable) as refused:
        ends.end(listener=True, seconds=seconds).handshake()
    assert refused.value.seen == "it did not answer in time"


@pytest.mark.parametrize("most", [1, 7, 1000, 1 << 16])
def test_pieces_of_any_size_make_a_handshake(ends: Ends, most: int) -> None:
    """A relay cuts what either side sends, within records and across them."""
    far, farther = socket.socketpair()
    near, ends.there = ends.there, farther

    def relay(source: socket.socket, sink: socket.socket) -> None:
        while piece := source.recv(most):
            sink.sendall(piece)

    relays = [
        threading.Thread(target=relay, args=pair, daemon=True)
        for pair in ((near, far), (far, near))
    ]
    for thread in relays:
        thread.start()
    with near, far:
        dialler, listener = taken(ends)
        assert dialler.sending == listener.receiving
        for end in (near, far):
            end.shutdown(socket.SHUT_RDWR)
        for thread in relays:
            thread.join()


@pytest.mark.parametrize("listener", [True, False])
def test_another_suite_is_not_agreed_on(ends: Ends, listener: bool) -> None:
    """The records would be of other keys than who takes the connection seals with."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_tls13_ciphersuites(b"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256")
    context.use_certificate(x509.load_der_x509_certificate(ends.identity.certificate_der))
    context.use_privatekey(ends.identity.private_key)
    context.set_alpn_select_callback(lambda *_: ALPN)
    context.set_alpn_protos([ALPN])
    other = SSL.Connection(context, ends.here if listener else ends.there)
    other.set_connect_state() if listener else other.set_accept_state()

    def shake() -> None:
        with pytest.raises(SSL.Error):
            other.do_handshake()

    own, _ = both(ends.end(listener=listener).handshake, shake)
    assert isinstance(own, HandshakeFailed)
