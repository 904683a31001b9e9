"""Connections that are read before TensorFlow gets them: on real sockets, with both ends sealed by another implementation."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from coterie.errors import CallRefused, CoterieError, MessageRefused
from coterie.ratls.traffic_secrets import Taken
from coterie.tensorflow.calls.http2 import Budget, CallReader, Method
from coterie.tensorflow.calls.inspected import InspectedConnections
from tests.tensorflow.calls.speaking import SERVICE, Speaker
from tests.tensorflow.preloaded.sealing import DATA, HANDSHAKE, Sealer

HERE, THERE = b"\1" * 32, b"\2" * 32
RUN = f"{SERVICE}RunGraph"
SECONDS = 20.0


@dataclass
class Ends:
    """The peer, and TensorFlow's native part."""

    peer: socket.socket
    sealing: Sealer
    near: socket.socket
    opening: Sealer
    taken: Taken
    refused: queue.Queue[CoterieError]

    def say(self, octets: bytes) -> None:
        self.peer.sendall(self.sealing.record(octets))

    def heard(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            kind, more = self.record()
            assert kind == DATA
            octets += more
        return octets

    def record(self) -> tuple[int, bytes]:
        head = self.near.recv(5, socket.MSG_WAITALL)
        return self.opening.open(
            head + self.near.recv(int.from_bytes(head[3:]), socket.MSG_WAITALL)
        )


@contextmanager
def between() -> Iterator[Ends]:
    connections = InspectedConnections()
    connections.start()
    here, peer = socket.socketpair()
    here.setblocking(False)
    refused: queue.Queue[CoterieError] = queue.Queue()
    reader = CallReader("acme", {RUN: Method(1000, lambda _: None)}, Budget(1 << 20))
    taken = connections.put_between(Taken(here, HERE, THERE), reader, "acme", refused.put)
    near = taken.socket
    near.settimeout(SECONDS)
    peer.settimeout(SECONDS)
    try:
        with near, peer:
            yield Ends(peer, Sealer(THERE), near, Sealer(taken.receiving), taken, refused)
    finally:
        connections.stop()


def test_calls_come_through_sealed_anew() -> None:
    with between() as ends:
        speaker = Speaker()
        ends.say(speaker.opening)
        assert ends.heard(len(speaker.opening)) == speaker.opening
        call = speaker.call(1, RUN, b"x" * 100)
        ends.say(call)
        assert ends.heard(len(call)) == call
        assert ends.taken.receiving not in {HERE, THERE}


def test_answers_are_passed_on_as_they_are() -> None:
    with between() as ends:
        assert ends.taken.sending == HERE
        answer = bytes(range(256)) * 4000
        sending = threading.Thread(target=ends.near.sendall, args=(answer,))
        sending.start()
        got = b""
        while len(got) < len(answer):
            got += ends.peer.recv(1 << 16)
        sending.join()
        assert got == answer


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


@pytest.mark.parametrize("end", ["peer", "near"])
def test_the_end_of_one_side_ends_the_other(end: str) -> None:
    with between() as ends:
        closing, other = (ends.peer, ends.near) if end == "peer" else (ends.near, ends.peer)
        closing.shutdown(socket.SHUT_RDWR)
        assert other.recv(1) == b""
        assert ends.refused.empty()
