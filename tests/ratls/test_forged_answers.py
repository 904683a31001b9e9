"""Whoever sits on the way can answer in a node's place: that ends nothing before the node's time is up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from coterie.address import Address
from coterie.errors import (
    ContractMismatch,
    CoterieError,
    EvidenceRefused,
    HandshakeFailed,
    MessageRefused,
    PeerUnreachable,
    VoucherRefused,
)
from coterie.ratls.credentials import Credentials
from coterie.ratls.frames import FrameReader, frame
from coterie.ratls.handshake import accept, dial
from coterie.ratls.messages import CODEC, HELLO_BYTES, Hello, Refusal
from coterie.ratls.transport import AttestedChannel
from coterie.ratls.trust import TrustContext
from faults.loopback import free_address
from tests.ratls.conftest import World
from tests.ratls.forging import Forgery, forge, vouch
from tests.ratls.net import LIMIT, Net, call
from tests.ratls.test_thieves import stolen

Answer = Callable[[socket.socket, World], None]


@contextmanager
def answering(address: str, world: World, answer: Answer) -> Iterator[threading.Event]:
    """Answers one connection; the event says that it is over."""
    place, over = Address.parse(address), threading.Event()

    def serve(server: socket.socket) -> None:
        sock, _ = server.accept()
        server.close()
        try:
            with sock:
                answer(sock, world)
        except (CoterieError, OSError):
            pass  # the victim has hung up
        finally:
            over.set()

    with socket.create_server((place.host, place.port)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield over
        finally:
            thread.join()


def says(octets: bytes) -> Answer:
    def answer(sock: socket.socket, _: World) -> None:
        sock.settimeout(10)
        sock.recv(4096)
        sock.sendall(octets)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass

    return answer


def another_program(sock: socket.socket, world: World) -> None:
    stolen(sock, world.trust("ps0", measurement=b"\x66" * 32), listener=True)


def says_no(sock: socket.socket, world: World) -> None:
    """The simulated TEE's keys are public, so anybody gets as far as this; nobody vouches for him."""
    connection = stolen(sock, world.trust("ps0"), listener=True)
    connection.send(frame(Refusal.of(VoucherRefused("go away").to_dict())))
    connection.close()


def says_no_after_a_hello(sock: socket.socket, world: World) -> None:
    connection = stolen(sock, world.trust("ps0"), listener=True)
    FrameReader(CODEC, HELLO_BYTES).read_message(connection.receive)
    connection.send(frame(Hello(nonce=bytes(32), wants_collateral=False)))
    connection.send(frame(Refusal.of(VoucherRefused("go away").to_dict())))
    connection.close()


FORGED: dict[str, tuple[Answer, type[CoterieError]]] = {
    "an HTTP error": (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), HandshakeFailed),
    "a TLS alert": (says(b"\x15\x03\x03\x00\x02\x02\x28"), HandshakeFailed),
    "nothing": (says(b""), PeerUnreachable),
    "another program": (another_program, EvidenceRefused),
    "a refusal": (says_no, MessageRefused),
    "a refusal after a hello": (says_no_after_a_hello, HandshakeFailed),
}


@dataclass
class Failures:
    """What a channel tells of attempts that failed."""

    told: list[CoterieError] = field(default_factory=list)

    def __call__(self, _: str, error: CoterieError, __: int) -> None:
        self.told.append(error)


@pytest.mark.parametrize("kind", FORGED)
def test_one_forged_answer_ends_nothing(net: Net, kind: str) -> None:
    answer, expected = FORGED[kind]
    address, failures = free_address(), Failures()
    with answering(address, net.world, answer) as over:

        def then(_: float) -> bool:
            assert over.wait(30)
            if not net.serving:
                net.serve(listen=address)
            return False

        with AttestedChannel(
            net.world.trust("acme-worker"),
            address,
            "ps0",
            LIMIT,
            patience_seconds=60,
            waiter=then,
            failed=failures,
        ) as channel:
            assert call(channel, "Who") == b"acme-worker"
    told = [type(error) for error in failures.told]
    assert told == ([] if expected is PeerUnreachable else [expected])
    assert not any(error.peer_proved for error in failures.told)


@pytest.mark.parametrize("kind", [kind for kind in FORGED if kind != "nothing"])
def test_when_patience_ends_the_error_says_which_failure_it_was(net: Net, kind: str) -> None:
    answer, expected = FORGED[kind]
    address = free_address()
    with answering(address, net.world, answer), pytest.raises(expected) as raised:
        AttestedChannel(net.world.trust("acme-worker"), address, "ps0", LIMIT, patience_seconds=0)
    assert type(raised.value) is expected


def test_a_forged_answer_at_renewal_ends_nothing_as_long_as_the_pin_holds(net: Net) -> None:
    server = net.serve()
    channel = net.dial(server, patience_seconds=0)
    assert server._listener is not None
    server._listener.stop()
    server._listener = None
    net.world.clock.advance(timedelta(minutes=50))
    answer = says(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with answering(server.address, net.world, answer) as over:
        assert call(channel, "Who") == b"acme-worker"
        assert over.wait(30)


def never(_: float) -> bool:
    raise AssertionError("waited")


def test_what_a_node_says_that_has_proved_itself_counts_at_once(net: Net) -> None:
    server = net.serve()
    other = net.world.trust("acme-worker", contract=net.world.changed("training", "seed", value=99))
    with pytest.raises(ContractMismatch) as raised:
        net.dial(server, other, waiter=never)
    assert raised.value.peer_proved


def test_a_refusal_by_a_node_that_has_proved_itself_counts_at_once(net: Net) -> None:
    server, world = net.serve(), net.world
    strange = forge(world, Forgery("another party's voucher", ""))

    shown = Credentials(strange.identity, vouch(world, strange.identity.claims, "bolt"))
    worker: TrustContext = world.showing(world.trust("acme-worker"), shown)
    with pytest.raises(HandshakeFailed, match="refused this node: VoucherRefused") as raised:
        net.dial(server, worker, waiter=never)
    assert raised.value.peer_proved


def test_an_older_incarnation_counts_at_once(net: Net) -> None:
    address = free_address()
    server = net.serve(net.world.trust("ps0", incarnation=5), listen=address)
    channel = net.dial(server, waiter=never)
    server.stop()
    net.serve(net.world.trust("ps0", incarnation=4), listen=address)
    with pytest.raises(EvidenceRefused) as raised:
        channel.reattest()
    assert (raised.value.failed_check, raised.value.peer_proved) == ("incarnation", True)


def test_tls_that_breaks_after_the_node_has_proved_itself_is_not_its_word(world: World) -> None:
    """Who sits on the way can spoil a record at any time."""
    worker, server = world.trust("acme-worker"), world.trust("ps0")

    def spoil(sock: socket.socket, _: World) -> None:
        raw = sock.dup()  # what is written here comes between the records of the connection

        def admit(_: object) -> int:
            raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            return 1

        with raw:
            accept(sock, server, admit)

    with (
        answering(address := free_address(), world, spoil),
        pytest.raises(HandshakeFailed) as raised,
    ):
        dial(Address.parse(address), "ps0", worker)
    assert not raised.value.peer_proved
