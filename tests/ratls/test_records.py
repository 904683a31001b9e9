"""Records that hold nothing for whoever reads: few are borne, and none beyond the deadline."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from coterie.address import Address
from coterie.errors import CoterieError, HandshakeFailed, PeerUnreachable
from coterie.ratls.certificate import MAX_CERTIFICATE_BYTES
from coterie.ratls.deadline import Deadline
from coterie.ratls.guests import Reception, ThrowAwayIdentity, Visit, unproved_key
from coterie.ratls.handshake import accept
from coterie.ratls.listener import AttestationListener, listen
from coterie.ratls.records import MOST_WITHOUT_DATA, Records
from coterie.ratls.tls import TlsConnection
from tests.ratls.conftest import GRPC_PORT, World
from tests.tensorflow.preloaded.sealing import Sealer

ALPN = b"coterie-status/1"
SPARE = 16
WHAT = "the peer sends TLS records without data"


def anyone(der: bytes) -> bytes:
    return unproved_key(der, "the peer", most=MAX_CERTIFICATE_BYTES)


@dataclass(frozen=True)
class Switched(Deadline):
    """A deadline that passes when the test says so."""

    passed: threading.Event = field(default_factory=threading.Event)

    def remaining(self) -> float:
        return 0.0 if self.passed.is_set() else super().remaining()


def sealer(sock: socket.socket, *, listener: bool = False, alpn: bytes = ALPN) -> Sealer:
    """Does a handshake and seals what this side sends then."""
    now = datetime.now(UTC)
    tls = TlsConnection(
        sock.dup(),
        ThrowAwayIdentity.create(now),
        anyone,
        listener=listener,
        at=now,
        deadline=Deadline.after(20),
        peer_name="the peer",
        alpn=alpn,
        apart=[alpn],
    )
    tls.handshake()
    taken = tls.take()
    taken.socket.close()
    sock.settimeout(20)
    return Sealer(taken.sending)


@contextmanager
def connected(deadline: Deadline) -> Iterator[tuple[TlsConnection, socket.socket, Sealer]]:
    """A connection, and its other end with what seals there."""
    here, there = socket.socketpair()
    sealing: list[Sealer] = []
    now = datetime.now(UTC)
    with here, there:
        thread = threading.Thread(target=lambda: sealing.append(sealer(there)))
        thread.start()
        connection = TlsConnection(
            here,
            ThrowAwayIdentity.create(now),
            anyone,
            listener=True,
            at=now,
            deadline=deadline,
            peer_name="the peer",
            alpn=ALPN,
        )
        connection.handshake()
        thread.join()
        yield connection, there, sealing[0]


def _updates(sealing: Sealer, count: int) -> bytes:
    return b"".join(sealing.update() for _ in range(count))


def _asking_updates(sealing: Sealer, count: int) -> bytes:
    return b"".join(sealing.update(asking=True) for _ in range(count))


def _updates_and_nothing(sealing: Sealer, count: int) -> bytes:
    """In turn, since OpenSSL counts the empty records that follow each other."""
    return b"".join(
        sealing.update() if number % 2 else sealing.record(b"") for number in range(count)
    )


USELESS = pytest.mark.parametrize("useless", [_updates, _asking_updates, _updates_and_nothing])


@USELESS
def test_some_records_without_data_are_borne(useless: Callable[[Sealer, int], bytes]) -> None:
    with connected(Deadline.after(20)) as (connection, other, sealing):
        other.sendall(useless(sealing, SPARE) + sealing.record(b"words"))
        assert connection.receive() == b"words"


@USELESS
def test_one_too_many_ends_the_connection(useless: Callable[[Sealer, int], bytes]) -> None:
    with connected(Deadline.after(20)) as (connection, other, sealing):
        other.sendall(useless(sealing, MOST_WITHOUT_DATA) + sealing.record(b"words"))
        with pytest.raises(HandshakeFailed) as refused:
            connection.receive()
    assert refused.value.what == WHAT


def test_records_with_data_are_not_counted() -> None:
    with connected(Deadline.after(20)) as (connection, other, sealing):
        for number in range(2 * MOST_WITHOUT_DATA):
            other.sendall(sealing.record(b"%d" % number))
            assert connection.receive() == b"%d" % number


def test_nothing_is_read_once_the_deadline_has_passed_though_it_is_there() -> None:
    deadline = Switched(Deadline.after(20).at)
    with connected(deadline) as (connection, other, sealing):
        other.sendall(sealing.record(b"words") + sealing.record(b"more"))
        assert connection.receive() == b"words"
        deadline.passed.set()
        with pytest.raises(PeerUnreachable) as refused:
            connection.receive()
    assert refused.value.seen == "it did not answer in time"


def test_a_record_that_drips_does_not_outlast_the_deadline() -> None:
    here, there = socket.socketpair()
    deadline = Switched(Deadline.after(20).at)

    class Dripping(socket.socket):
        """Another octet is there whenever one is asked for; with the third, the time is up."""

        asked = 0

        def recv(self, size: int, flags: int = 0) -> bytes:
            self.asked += 1
            if self.asked == 3:
                deadline.passed.set()
            return super().recv(min(size, 1), flags)

    with there, Dripping(fileno=here.detach()) as sock:
        there.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(PeerUnreachable) as refused:
            Records(sock, deadline, "the peer").read()
        assert sock.asked == 3
    assert refused.value.seen == "it did not answer in time"


def test_a_visitor_gets_no_further_by_key_updates(world: World) -> None:
    """At a node's port, where nobody needs more than a throw-away key."""
    told: list[CoterieError] = []
    trust = world.trust("ps0")

    def serve(visit: Visit) -> None:
        visit.connection.receive()

    reception = Reception(ALPN, serve)
    sock = listen(Address("127.0.0.1", 0))

    def handle(visitor: socket.socket, seconds: float) -> None:
        accept(visitor, trust, lambda _: GRPC_PORT, seconds=seconds, others=[reception])

    listener = AttestationListener(
        sock,
        handle,
        refused=lambda _, error, __: told.append(error),
    )
    port = sock.getsockname()[1]
    listener.start()
    try:
        with socket.create_connection(("127.0.0.1", port)) as visitor:
            visitor.settimeout(20)
            sealing = sealer(visitor)
            with suppress(OSError):  # it has hung up
                visitor.sendall(_updates(sealing, MOST_WITHOUT_DATA))
                while visitor.recv(4096):
                    pass
    finally:
        listener.stop()
    assert [error.what for error in told] == [WHAT]
