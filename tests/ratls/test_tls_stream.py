"""Long messages over TLS: whole, in order, in time, and from nobody who sends records for nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie.errors import PeerUnreachable
from coterie.ratls.certificate import MAX_CERTIFICATE_BYTES
from coterie.ratls.deadline import Deadline
from coterie.ratls.guests import ThrowAwayIdentity, unproved_key
from coterie.ratls.tls import TlsConnection
from coterie.ratls.tls_stream import TlsStream
from tests.ratls.test_records import USELESS, Switched, sealer
from tests.tensorflow.preloaded.sealing import Sealer

ALPN = b"coterie-data/1"
SECONDS = 20.0
MOST_WITHOUT_DATA = 64


def one_side(sock: socket.socket, *, listener: bool) -> TlsStream:
    """A stream after a handshake in which anybody is taken."""
    now = datetime.now(UTC)
    connection = TlsConnection(
        sock,
        ThrowAwayIdentity.create(now),
        lambda der: unproved_key(der, "the peer", most=MAX_CERTIFICATE_BYTES),
        listener=listener,
        at=now,
        deadline=Deadline.after(SECONDS),
        peer_name="the peer",
        alpn=ALPN,
    )
    connection.handshake()
    if listener:
        connection.tell(b"done")  # a dialler is done before the listener has finished
    else:
        assert connection.hear(4) == b"done"
    stream = connection.stream()
    connection.close()
    return stream


@contextmanager
def pair() -> Iterator[tuple[TlsStream, TlsStream]]:
    left, right = socket.socketpair()
    made: list[TlsStream] = []
    thread = threading.Thread(target=lambda: made.append(one_side(right, listener=True)))
    thread.start()
    here = one_side(left, listener=False)
    thread.join()
    (there,) = made
    try:
        yield here, there
    finally:
        here.close()
        there.close()


@contextmanager
def sealed() -> Iterator[tuple[TlsStream, socket.socket, Sealer]]:
    """A stream, and its other end with what seals there."""
    here, there = socket.socketpair()
    sealing: list[Sealer] = []
    now = datetime.now(UTC)
    with there:
        thread = threading.Thread(target=lambda: sealing.append(sealer(there, alpn=ALPN)))
        thread.start()
        connection = TlsConnection(
            here,
            ThrowAwayIdentity.create(now),
            lambda der: unproved_key(der, "the peer", most=MAX_CERTIFICATE_BYTES),
            listener=True,
            at=now,
            deadline=Deadline.after(SECONDS),
            peer_name="the peer",
            alpn=ALPN,
        )
        connection.handshake()
        thread.join()
        stream = connection.stream()
        try:
            yield stream, there, sealing[0]
        finally:
            stream.close()


def received(stream: TlsStream, size: int, deadline: Deadline | None = None) -> bytes:
    target = bytearray(size)
    stream.receive_into(memoryview(target), deadline or Deadline.after(SECONDS))
    return bytes(target)


SIZES = st.sampled_from([0, 1, 5, 16_383, 16_384, 16_385, 70_000, 600_000])


@settings(max_examples=15, deadline=None)
@given(messages=st.lists(st.lists(SIZES, min_size=1, max_size=4), min_size=1, max_size=3))
def test_messages_of_any_size_arrive_whole_and_in_order(messages: list[list[int]]) -> None:
    sent = [[bytes([i + 1]) * size for i, size in enumerate(sizes)] for sizes in messages]
    with pair() as (here, there):

        def send() -> None:
            for parts in sent:
                here.send([memoryview(part) for part in parts], Deadline.after(SECONDS))

        thread = threading.Thread(target=send)
        thread.start()
        for parts in sent:
            whole = b"".join(parts)
            if whole:
                assert there.wait()
            assert received(there, len(whole)) == whole
        thread.join()
        assert here.idle()
        assert there.idle()


def test_an_answer_comes_back_on_the_same_connection() -> None:
    with pair() as (here, there):
        for number in range(3):
            here.send((bytes([number]) * 100_000,), Deadline.after(SECONDS))
            assert there.wait()
            asked = received(there, 100_000)
            there.send((asked[:7],), Deadline.after(SECONDS))
            assert received(here, 7) == bytes([number]) * 7


def test_what_came_with_the_message_before_is_waited_for_no_longer() -> None:
    with pair() as (here, there):
        here.send((b"first", b"second"), Deadline.after(SECONDS))
        assert there.wait()
        assert received(there, 5) == b"first"
        assert there.wait()
        assert received(there, 6) == b"second"


@USELESS
def test_some_records_without_data_are_accepted(useless: Callable[[Sealer, int], bytes]) -> None:
    with sealed() as (stream, other, sealing):
        other.sendall(useless(sealing, 16) + sealing.record(b"words"))
        assert received(stream, 5) == b"words"


@USELESS
def test_many_records_without_data_end_the_connection(
    useless: Callable[[Sealer, int], bytes],
) -> None:
    with sealed() as (stream, other, sealing):
        other.sendall(useless(sealing, 2 * MOST_WITHOUT_DATA) + sealing.record(b"words"))
        with pytest.raises(PeerUnreachable) as refused:
            received(stream, 5)
    assert refused.value.what == "the peer cannot be reached"
    assert refused.value.seen == "more than 64 records without data"


def test_many_small_records_with_data_are_no_reason_to_end() -> None:
    with sealed() as (stream, other, sealing):
        other.sendall(b"".join(sealing.record(b"x") for _ in range(500)))
        assert received(stream, 500) == b"x" * 500


@pytest.mark.parametrize(
    ("octets", "seen"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "something that is not TLS", id="http"),
        pytest.param(
            b"\x17\x03\x03\x50\x00" + bytes(9), "something that is not TLS", id="too long"
        ),
        pytest.param(b"\x17\x03\x03\x00\x20" + bytes(32), "TLS failed", id="sealed by nobody"),
    ],
)
def test_what_is_not_of_this_session_ends_it(octets: bytes, seen: str) -> None:
    with sealed() as (stream, other, _):
        other.sendall(octets)
        with pytest.raises(PeerUnreachable) as refused:
            received(stream, 5)
    assert refused.value.seen.startswith(seen)


def test_a_peer_that_closes_between_messages_is_no_error() -> None:
    with pair() as (here, there):
        here.send((b"words",), Deadline.after(SECONDS))
        assert received(there, 5) == b"words"
        here.close()
        assert there.wait(), "the message of TLS that says so"
        with pytest.raises(PeerUnreachable, match="cannot be reached"):
            received(there, 1)
        assert not there.idle()


def test_a_peer_that_goes_away_within_a_message_cannot_be_reached() -> None:
    with sealed() as (stream, other, sealing):
        other.sendall(sealing.record(b"wo"))
        other.shutdown(socket.SHUT_RDWR)
        with pytest.raises(PeerUnreachable) as refused:
            received(stream, 5)
        assert refused.value.seen == "it closed the connection"
        assert not stream.wait()


def test_a_message_that_does_not_end_in_time_is_given_up() -> None:
    deadline = Switched(Deadline.after(SECONDS).at)
    with sealed() as (stream, other, sealing):
        other.sendall(sealing.record(b"wo"))
        deadline.passed.set()
        with pytest.raises(PeerUnreachable) as refused:
            received(stream, 5, deadline)
    assert refused.value.seen == "it did not end its message in time"


def test_abort_ends_what_another_thread_waits_for() -> None:
    with pair() as (here, _):
        waited: list[bool] = []
        thread = threading.Thread(target=lambda: waited.append(here.wait()))
        thread.start()
        here.abort()
        thread.join()
        assert waited == [False]
