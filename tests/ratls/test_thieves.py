"""Thieves of node keys, on real sockets: without the program in its TEE a key is of no use.

A thief can finish TLS in a node's name. What it cannot have is a quote over its own session.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from coterie.address import Address
from coterie.contract import Contract
from coterie.errors import CoterieError, EvidenceRefused, PeerUnreachable
from coterie.ratls.certificate import read_certificate
from coterie.ratls.deadline import Deadline
from coterie.ratls.frames import MAX_FRAME_BYTES, frame
from coterie.ratls.handshake import AttestedPeer, accept, dial
from coterie.ratls.messages import CODEC, EvidenceMessage, Hello, Refusal
from coterie.ratls.tls import TlsConnection
from coterie.ratls.trust import TrustContext
from tests.ratls.conftest import attested
from tests.ratls.kinds import TEES, mixed, trust

if TYPE_CHECKING:
    from tests.ratls.conftest import World

SECONDS = 10.0
Ended = AttestedPeer | CoterieError


def stolen(
    sock: socket.socket, owner: TrustContext, *, listener: bool, seconds: float = SECONDS
) -> TlsConnection:
    """TLS with a stolen key; whoever is on the other side will do."""
    connection = TlsConnection(
        sock,
        owner.credentials.current().identity,
        lambda der: read_certificate(der).spki_der,
        listener=listener,
        at=owner.clock(),
        deadline=Deadline.after(seconds),
        peer_name="the victim",
    )
    connection.handshake()
    return connection


def dial_as(owner: TrustContext, address: Address) -> TlsConnection:
    return stolen(socket.create_connection((address.host, address.port)), owner, listener=False)


def next_frame(connection: TlsConnection, buffer: bytearray) -> bytes:
    """The next whole frame, its length included."""
    while len(buffer) < 4 or len(buffer) < 4 + int.from_bytes(buffer[:4], "big"):
        buffer += connection.receive()
    size = 4 + int.from_bytes(buffer[:4], "big")
    whole = bytes(buffer[:size])
    del buffer[:size]
    return whole


def refusal(connection: TlsConnection, buffer: bytearray) -> None:
    """The victim's last word: it names the check."""
    message = CODEC.decode(next_frame(connection, buffer)[4:], max_bytes=MAX_FRAME_BYTES)
    connection.close()
    assert isinstance(message, Refusal)
    assert message.reason["failed_check"] == "session_binding"


@contextmanager
def serving(answer: Callable[[socket.socket], Ended]) -> Iterator[tuple[Address, list[Ended]]]:
    """Answers one connection in a thread; how it ended is in the list when the context ends."""
    ended: list[Ended] = []

    def serve(server: socket.socket) -> None:
        sock, _ = server.accept()
        ended.append(answer(sock))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield Address(*server.getsockname()), ended
        finally:
            thread.join()


def honest(trust: TrustContext, *, seconds: float = SECONDS) -> Callable[[socket.socket], Ended]:
    def answer(sock: socket.socket) -> Ended:
        try:
            return attested(accept(sock, trust, lambda _: 4711, seconds=seconds))
        except CoterieError as error:
            return error

    return answer


def assert_bound(end: Ended) -> None:
    assert isinstance(end, EvidenceRefused), end
    assert end.failed_check == "session_binding"
    assert end.remedy


@pytest.fixture(params=TEES)
def contract(world: World, request: pytest.FixtureRequest) -> Contract:
    """A contract whose nodes run in one of the kinds of TEE."""
    return mixed(world, request.param, request.param)


@pytest.fixture
def server(world: World, contract: Contract) -> TrustContext:
    return trust(world, contract, "ps0", TEES[contract.kind_of(contract.node("ps0"))])


@pytest.fixture
def worker(world: World, contract: Contract) -> TrustContext:
    return trust(world, contract, "acme-worker", TEES[contract.kind_of(contract.node("ps0"))])


def test_relayed_evidence_is_refused_by_both_victims(
    server: TrustContext, worker: TrustContext
) -> None:
    """In the middle with both nodes' keys: every message is passed on, and both sides notice."""

    with serving(honest(server)) as (target, at_server):

        def relay(sock: socket.socket) -> Ended:
            inner = stolen(sock, server, listener=True)
            outer = dial_as(worker, target)
            buffers = bytearray(), bytearray()
            for _ in range(2):  # hello, then evidence
                outer.send(next_frame(inner, buffers[0]))
                inner.send(next_frame(outer, buffers[1]))
            refusal(inner, buffers[0])
            refusal(outer, buffers[1])
            return PeerUnreachable("the relay has left")

        with serving(relay) as (middle, _), pytest.raises(CoterieError) as caught:
            dial(middle, "ps0", worker)
    assert_bound(at_server[0])
    assert isinstance(caught.value, CoterieError)
    assert_bound(caught.value)


def test_replayed_evidence_is_refused(server: TrustContext, worker: TrustContext) -> None:
    """The evidence of an earlier session with the thief, word for word."""
    recorded: list[bytes] = []

    def record(sock: socket.socket) -> Ended:
        connection = stolen(sock, server, listener=True)
        buffer = bytearray()
        next_frame(connection, buffer)
        connection.send(frame(Hello(nonce=b"\3" * 32, wants_collateral=False)))
        recorded.append(next_frame(connection, buffer))
        connection.close()
        return PeerUnreachable("recorded")

    with serving(record) as (address, _), pytest.raises(PeerUnreachable):
        dial(address, "ps0", worker)

    with serving(honest(server)) as (address, at_server):
        thief = dial_as(worker, address)
        thief.send(frame(Hello(nonce=b"\4" * 32, wants_collateral=False)) + recorded[0])
        buffer = bytearray()
        next_frame(thief, buffer)
        refusal(thief, buffer)
    assert_bound(at_server[0])


def test_a_reflected_hello_is_refused(server: TrustContext, worker: TrustContext) -> None:
    with serving(honest(server)) as (address, at_server):
        thief, buffer = dial_as(worker, address), bytearray()
        thief.send(next_frame(thief, buffer))
        refusal(thief, buffer)
    assert_bound(at_server[0])


def test_reflected_evidence_is_refused(server: TrustContext, worker: TrustContext) -> None:
    with serving(honest(server)) as (address, at_server):
        thief, buffer = dial_as(worker, address), bytearray()
        next_frame(thief, buffer)
        thief.send(frame(Hello(nonce=b"\4" * 32, wants_collateral=False)))
        reflected = CODEC.decode(next_frame(thief, buffer)[4:], max_bytes=MAX_FRAME_BYTES)
        assert isinstance(reflected, EvidenceMessage)
        own_voucher = worker.credentials.current().voucher.to_cbor()
        thief.send(frame(reflected.model_copy(update={"voucher": own_voucher})))
        refusal(thief, buffer)
    assert_bound(at_server[0])


def test_a_thief_that_falls_silent_is_dropped(world: World) -> None:
    """TLS is done, the exchange does not begin: the time for all of it runs out."""
    server, worker = world.trust("ps0"), world.trust("acme-worker")
    with serving(honest(server, seconds=1.0)) as (address, at_server):
        thief, buffer = dial_as(worker, address), bytearray()
        next_frame(thief, buffer)
        with pytest.raises(CoterieError):
            next_frame(thief, buffer)  # ends when the victim does
        thief.close()
    assert isinstance(at_server[0], PeerUnreachable)
    assert "in time" in at_server[0].seen
