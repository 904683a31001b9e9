"""Connections that are read before TensorFlow gets them: on real sockets, with both ends sealed by another implementation."""

from __future__ import annotations

import os
import queue
import resource
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from coterie.errors import (
    CallRefused,
    CoterieError,
    EnvironmentUnfit,
    MessageRefused,
    PeerBusy,
)
from coterie.ratls.traffic_secrets import Taken
from coterie.tensorflow.calls.http2 import Budget, CallReader, Method
from coterie.tensorflow.calls.inspected import MOST_CONNECTIONS, InspectedConnections
from fuzz.speaking import SERVICE, Speaker
from tests.tensorflow.preloaded.sealing import DATA, HANDSHAKE, Sealer

HERE, THERE = b"\1" * 32, b"\2" * 32
RUN, LOAD = f"{SERVICE}RunGraph", f"{SERVICE}RegisterGraph"
SECONDS = 20.0
MOST_BYTES = 1 << 14  # of a record
ALERT = 21
METHODS = {RUN: Method(1000, lambda _: None), LOAD: Method(1 << 20, lambda _: None)}


@dataclass
class Ends:
    """The peer, and TensorFlow's native part."""

    peer: socket.socket
    sealing: Sealer
    near: socket.socket
    way_out: socket.socket
    opening: Sealer
    taken: Taken
    refused: queue.Queue[CoterieError]

    def say(self, octets: bytes) -> None:
        for start in range(0, len(octets), MOST_BYTES):
            self.peer.sendall(self.sealing.record(octets[start : start + MOST_BYTES]))

    def heard(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            kind, more = self.record()
            assert kind == DATA
            octets += more
        return octets

    def record(self) -> tuple[int, bytes]:
        head = self._read(5)
        return self.opening.open(head + self._read(int.from_bytes(head[3:])))

    def _read(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            more = self.near.recv(count - len(octets))
            assert more, "the connection has ended"
            octets += more
        return octets


@contextmanager
def running() -> Iterator[Callable[..., Ends]]:
    """The thread, with a function that makes another connection of a peer."""
    with ExitStack() as stack:
        connections = InspectedConnections()
        connections.start()
        stack.callback(connections.stop)

        def connect(peer: str = "acme", budget: Budget | None = None) -> Ends:
            here, there = socket.socketpair()
            refused: queue.Queue[CoterieError] = queue.Queue()
            stack.enter_context(there)
            reader = CallReader(peer, METHODS, budget or Budget(1 << 20))
            taken = connections.put_between(Taken(here, HERE, THERE), reader, peer, refused.put)
            near, way_out = taken.socket, taken.way_out
            assert way_out is not None
            for one in (near, way_out, there):
                stack.enter_context(one).settimeout(SECONDS)
            return Ends(
                there, Sealer(THERE), near, way_out, Sealer(taken.receiving), taken, refused
            )

        yield connect


@contextmanager
def between() -> Iterator[Ends]:
    with running() as connect:
        yield connect()


def test_calls_come_through_sealed_anew() -> None:
    with between() as ends:
        speaker = Speaker()
        ends.say(speaker.opening)
        assert ends.heard(len(speaker.opening)) == speaker.opening
        call = speaker.call(1, RUN, b"x" * 100)
        ends.say(call)
        assert ends.heard(len(call)) == call
        assert ends.taken.receiving not in {HERE, THERE}


def test_answers_leave_by_a_descriptor_of_their_own() -> None:
    with between() as ends:
        assert ends.taken.sending == HERE
        ends.way_out.sendall(b"sealed for the peer")
        assert ends.peer.recv(100) == b"sealed for the peer"


def fill(one: socket.socket) -> int:
    """Sends until it takes no more; returns how many bytes it took."""
    one.settimeout(0)
    sent = 0
    with suppress(BlockingIOError):
        while True:
            sent += one.send(bytes(1024))
    one.settimeout(SECONDS)
    return sent


def can_write(one: socket.socket, seconds: float) -> bool:
    poll = select.poll()
    poll.register(one, select.POLLOUT)
    return bool(poll.poll(1000 * seconds))


def test_who_waits_for_the_way_out_is_woken_once_it_takes_more() -> None:
    with between() as ends:
        left = fill(ends.way_out)
        fill(ends.near)
        opening = Speaker().opening
        ends.say(opening)
        assert ends.heard(len(opening)) == opening  # so the thread has seen the pair
        assert not can_write(ends.near, 0)
        while left:
            left -= len(ends.peer.recv(1 << 16))
        assert can_write(ends.near, SECONDS)
        fill(ends.near)
        assert can_write(ends.near, SECONDS), "there was room all the time"


def test_tensorflows_end_is_seen_while_the_way_out_is_full() -> None:
    with between() as ends:
        fill(ends.way_out)
        fill(ends.near)
        ends.near.close()
        ends.way_out.shutdown(socket.SHUT_RDWR)  # as the native part does
        while ends.peer.recv(1 << 16):
            pass


def test_what_tensorflow_has_not_taken_yet_is_in_its_peers_bound() -> None:
    call = Speaker().call(1, LOAD, bytes(500_000))
    with running() as connect:
        budget = Budget(1_200_000)  # of a call's frame and its message
        first, second, third = (connect(budget=budget) for _ in range(3))
        for ends in (first, second, third):
            ends.say(Speaker().opening)
            ends.heard(len(Speaker().opening))
        first.say(call)
        second.say(call)
        assert second.refused.get(timeout=SECONDS).what == "acme sends too much at once"
        assert first.heard(len(call)) == call
        third.say(call)
        assert third.heard(len(call)) == call


def test_a_refused_call_ends_the_connection_and_is_told() -> None:
    with between() as ends:
        speaker = Speaker()
        ends.say(speaker.opening + speaker.call(1, RUN, b"x") + speaker.call(3, "/other", b"x"))
        assert isinstance(ends.refused.get(timeout=SECONDS), CallRefused)
        heard = b""
        while octets := ends.near.recv(1 << 16):
            heard += octets
        assert b"/other" not in heard
        assert ends.peer.recv(1) == b""


@pytest.mark.parametrize(
    "said",
    [b"\x16\3\3\0\x20" + bytes(32), b"\x17\3\3\0\x20" + bytes(32), b"GET / HTTP/1.1\r\n\r\n"],
)
def test_what_is_not_of_this_connection_ends_it_and_is_told(said: bytes) -> None:
    with between() as ends:
        ends.peer.sendall(said)
        assert isinstance(ends.refused.get(timeout=SECONDS), MessageRefused)
        assert ends.near.recv(1) == b""


def test_an_update_of_keys_is_followed_and_one_that_is_asked_for_is_passed_on() -> None:
    with between() as ends:
        speaker = Speaker()
        ends.peer.sendall(ends.sealing.update())
        ends.peer.sendall(ends.sealing.update(asking=True))
        ends.say(speaker.opening)
        kind, content = ends.record()
        assert (kind, content[-1]) == (HANDSHAKE, 1)
        ends.opening.update()
        assert ends.heard(len(speaker.opening)) == speaker.opening


def test_nothing_is_read_behind_a_close_notify() -> None:
    with between() as ends:
        speaker = Speaker()
        first, late = speaker.opening, speaker.call(1, "/other", b"x")
        close_notify = (b"\1\0", ALERT)
        said = [(first, DATA), close_notify, (late, DATA)]
        ends.peer.sendall(b"".join(ends.sealing.record(*one) for one in said))
        assert ends.heard(len(first)) == first
        assert ends.near.recv(1) == b""
        assert ends.peer.recv(1) == b""
        assert ends.refused.empty()


def test_a_peer_has_so_many_connections_and_no_more() -> None:
    with running() as connect:
        one, *_ = (connect("acme") for _ in range(MOST_CONNECTIONS))
        with pytest.raises(PeerBusy) as refused:
            connect("acme")
        assert refused.value.what == "acme has too many connections"
        assert refused.value.expected == f"at most {MOST_CONNECTIONS}"
        connect("zeta")
        one.peer.shutdown(socket.SHUT_RDWR)
        assert one.near.recv(1) == b""
        connect("acme")


DESCRIPTORS = Path("/proc/self/fd")


def test_too_few_descriptors_are_told_and_none_stays_open() -> None:
    connections = InspectedConnections()
    before = len(list(DESCRIPTORS.iterdir()))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    here, peer = socket.socketpair()
    reader = CallReader("acme", METHODS, Budget(1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(EnvironmentUnfit) as refused:
            connections.put_between(Taken(here, HERE, THERE), reader, "acme", print)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert refused.value.what == "a connection of acme cannot be inspected"
    with peer:
        assert peer.recv(1) == b""
    assert len(list(DESCRIPTORS.iterdir())) == before
    connections.stop()


def copies_of(inode: int) -> int:
    """Number of this process's descriptors of a socket."""
    links = [str(one.readlink()) for one in DESCRIPTORS.iterdir() if one.is_symlink()]
    return links.count(f"socket:[{inode}]")


@pytest.mark.system
def test_a_forked_child_has_no_copy_of_the_peers_socket() -> None:
    with between() as ends:
        inode = os.fstat(ends.way_out.fileno()).st_ino
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, bytes([copies_of(inode)]))
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reading, 1) == b"\1"  # the way out, which the native part replaces
        assert copies_of(inode) == 2
        os.close(reading)
        os.close(writing)
        ends.say(Speaker().opening)
        assert ends.heard(len(Speaker().opening)) == Speaker().opening


@pytest.mark.parametrize("end", ["peer", "near"])
def test_the_end_of_one_side_ends_the_other(end: str) -> None:
    with between() as ends:
        closing, other = (ends.peer, ends.near) if end == "peer" else (ends.near, ends.peer)
        closing.shutdown(socket.SHUT_RDWR)
        assert other.recv(1) == b""
        assert ends.refused.empty()
