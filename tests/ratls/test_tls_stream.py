"""Long messages over TLS: whole, in order, in time, and in no other records than those of nodes."""

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
from coterie.ratls.record_protection import MOST_RECORDS
from coterie.ratls.tls import TlsConnection
from coterie.ratls.tls_stream import TlsStream
from coterie.ratls.traffic_secrets import Taken
from tests.ratls.test_records import Switched
from tests.tensorflow.preloaded.sealing import Sealer

ALPN = b"coterie-data/1"
SECONDS = 20.0
HERE, THERE = b"\1" * 32, b"\2" * 32


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
        apart=[ALPN],
    )
    connection.handshake()
    if listener:
        connection.tell(b"done")  # a dialler is done before the listener has finished
    else:
        assert connection.hear(4) == b"done"
    stream = TlsStream(connection.take(), "the peer")
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
    stream = TlsStream(Taken(here, HERE, THERE), "the peer")
    with there:
        there.settimeout(SECONDS)
        try:
            yield stream, there, Sealer(THERE)
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


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([b"len", b"gth!"], id="of the length"),
        pytest.param(
            [b"length!" + b"x" * 100, b"x" * 16_384, b"x" * 3_516], id="behind the length"
        ),
        pytest.param([b"length!", b"x" * 16_000, b"x" * 4_000], id="of the rest"),
        pytest.param(
            [b"length!" + b"x" * 16_377, b"x" * 3_000, b"x" * 623], id="behind a full one"
        ),
    ],
)
def test_short_records_within_a_message_end_the_connection(records: list[bytes]) -> None:
    """They would make a peer's message dearer for this node than for the peer."""
    with sealed() as (stream, other, sealing):
        other.sendall(b"".join(map(sealing.record, records)))
        with pytest.raises(PeerUnreachable) as refused:
            [received(stream, size) for size in (7, 20_000)]
    assert refused.value.seen == "a short record that does not end a message"


def test_the_length_of_a_message_may_have_a_record_of_its_own() -> None:
    with sealed() as (stream, other, sealing):
        for record in (b"length!", b"x" * 16_384, b"x" * 3_616):
            other.sendall(sealing.record(record))
        assert received(stream, 7) == b"length!"
        assert received(stream, 20_000) == b"x" * 20_000


OF_NO_NODE = "a record that no node sends"
NO_RECORD = "something else than a record of a node"


@pytest.mark.parametrize(
    ("octets", "seen"),
    [
        pytest.param(lambda _: b"GET / HTTP/1.1\r\n\r\n", NO_RECORD, id="http"),
        pytest.param(lambda _: b"\x17\3\3\x50\0" + bytes(9), NO_RECORD, id="too long"),
        pytest.param(
            lambda _: b"\x17\3\3\0\x20" + bytes(32),
            "a record that is not the next one of this connection",
            id="sealed by nobody",
        ),
        pytest.param(lambda sealing: sealing.record(b""), NO_RECORD, id="without data"),
        pytest.param(lambda sealing: sealing.update(), OF_NO_NODE, id="key update"),
        pytest.param(lambda sealing: sealing.update(asking=True), OF_NO_NODE, id="asking for one"),
        pytest.param(lambda sealing: sealing.record(b"\2\x28", 21), OF_NO_NODE, id="alert"),
        pytest.param(
            lambda sealing: sealing.record(b"\1\0", 21), "it closed the connection", id="the end"
        ),
    ],
)
@pytest.mark.parametrize("before", [b"", b"words before"])
def test_what_no_node_sends_ends_the_connection(
    octets: Callable[[Sealer], bytes], seen: str, before: bytes
) -> None:
    with sealed() as (stream, other, sealing):
        if before:
            other.sendall(sealing.record(before))
            assert received(stream, len(before)) == before
        other.sendall(octets(sealing))
        with pytest.raises(PeerUnreachable) as refused:
            received(stream, 5)
    assert refused.value.what == "the peer cannot be reached"
    assert refused.value.seen == seen


@pytest.mark.parametrize("direction", ["sent", "received"])
def test_a_connection_is_not_used_again_after_half_of_what_its_keys_protect(direction: str) -> None:
    with pair() as (here, there):
        one = here._sealing if direction == "sent" else here._opening
        other = there._opening if direction == "sent" else there._sealing
        one.records = other.records = MOST_RECORDS // 2
        assert here.idle()
        for sender, receiver in ((here, there), (there, here)):
            sender.send((b"words",), Deadline.after(SECONDS))
            assert received(receiver, 5) == b"words"
        assert not here.idle()


def test_a_connection_ends_with_what_its_keys_protect() -> None:
    with pair() as (here, there):
        here._sealing.records = there._opening.records = MOST_RECORDS - 1
        here.send((b"words",), Deadline.after(SECONDS))
        assert received(there, 5) == b"words"
        with pytest.raises(PeerUnreachable) as refused:
            here.send((b"words",), Deadline.after(SECONDS))
        assert refused.value.seen == "more than 16777216 records under one key"


@settings(deadline=None)
@given(data=st.data())
def test_changed_bytes_never_become_data(data: st.DataObject) -> None:
    """The message before may arrive; then the connection ends."""
    told = b"a" * 30, b"b" * 7
    with sealed() as (stream, other, sealing):
        octets = bytearray(b"".join(sealing.record(one) for one in told))
        place = data.draw(st.integers(0, len(octets) - 1))
        octets[place] ^= data.draw(st.integers(1, 255))
        other.sendall(octets)
        other.shutdown(socket.SHUT_WR)
        if place >= 30 + 22:
            assert received(stream, 30) == told[0]
        with pytest.raises(PeerUnreachable):
            received(stream, 7)


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
        other.sendall(sealing.record(b"x" * 16_384))
        other.shutdown(socket.SHUT_RDWR)
        with pytest.raises(PeerUnreachable) as refused:
            received(stream, 20_000)
        assert refused.value.seen == "it closed the connection"
        assert not stream.wait()


def test_a_message_that_does_not_end_in_time_is_given_up() -> None:
    deadline = Switched(Deadline.after(SECONDS).at)
    with sealed() as (stream, other, sealing):
        other.sendall(sealing.record(b"x" * 16_384))
        deadline.passed.set()
        with pytest.raises(PeerUnreachable) as refused:
            received(stream, 20_000, deadline)
    assert refused.value.seen == "it did not end its message in time"


def test_abort_ends_what_another_thread_waits_for() -> None:
    with pair() as (here, _):
        waited: list[bool] = []
        thread = threading.Thread(target=lambda: waited.append(here.wait()))
        thread.start()
        here.abort()
        thread.join()
        assert waited == [False]
