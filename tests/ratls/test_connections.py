"""Idle connections to the gRPC port: few are held, whoever opens them, and nodes still come through."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from coterie.ratls.connections import ConnectionLimits, Connections
from coterie.ratls.transport import CallLimits
from faults.loopback import free_address
from tests.ratls.net import Net, call

FEW = ConnectionLimits(unproved=12, unproved_per_host=4, per_peer=4)
PATIENT = CallLimits(handshake_seconds=600)  # nothing but the bounds ends a silent connection
SLACK = 16  # gRPC is looked after at every eighth connection, and accepts on several threads


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    made = Crowd()
    with made.stack:
        yield made


class Crowd:
    """Silent connections."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.open: list[socket.socket] = []

    def come(self, port: int, number: int, *, source: str) -> None:
        for _ in range(number):
            sock = socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
            self.open.append(self.stack.enter_context(sock))

    def shrink(self, most: int) -> None:
        """Waits until so many are left."""
        with selectors.DefaultSelector() as selector:
            for sock in self.open:
                selector.register(sock, selectors.EVENT_READ)
            while len(self.open) > most:
                over = selector.select(timeout=20)
                assert over, f"{len(self.open)} are still open"
                for key, _ in over:
                    ended = key.fileobj
                    assert isinstance(ended, socket.socket)
                    with suppress(ConnectionResetError):
                        assert ended.recv(1) == b""
                    selector.unregister(ended)
                    self.open.remove(ended)


def test_of_one_address_few_are_held_and_nodes_come_through(net: Net, crowd: Crowd) -> None:
    server = net.serve(calls=PATIENT, connections=FEW)
    known = net.dial(server, net.world.trust("bolt-worker"))
    assert call(known, "Who") == b"bolt-worker"
    for _ in range(4):
        crowd.come(known.peer.grpc_port, 25, source="127.0.0.2")
        crowd.shrink(FEW.unproved_per_host + SLACK)
        assert call(net.dial(server), "Who") == b"acme-worker"
        assert call(known, "Who") == b"bolt-worker"


def test_of_many_addresses_few_are_held_in_all(net: Net, crowd: Crowd) -> None:
    server = net.serve(calls=PATIENT, connections=FEW)
    known = net.dial(server, net.world.trust("bolt-worker"))
    assert call(known, "Who") == b"bolt-worker"
    for number in range(30):
        crowd.come(known.peer.grpc_port, 3, source=f"127.0.1.{number + 1}")
    crowd.shrink(FEW.unproved + SLACK)
    assert call(net.dial(server), "Who") == b"acme-worker"
    assert call(known, "Who") == b"bolt-worker"


def test_the_same_address_as_a_nodes_is_bounded_too(net: Net, crowd: Crowd) -> None:
    server = net.serve(calls=PATIENT, connections=FEW)
    known = net.dial(server, net.world.trust("bolt-worker"))
    assert call(known, "Who") == b"bolt-worker"
    crowd.come(known.peer.grpc_port, 40, source="127.0.0.1")
    crowd.shrink(FEW.unproved_per_host + SLACK)
    assert call(known, "Who") == b"bolt-worker"


def test_grpc_itself_bounds_all_where_descriptors_cannot_be_looked_through(
    net: Net, crowd: Crowd
) -> None:
    server = net.serve(calls=PATIENT, connections=FEW)
    server._connections._proc = "/nowhere"
    channel = net.dial(server)
    assert call(channel, "Who") == b"acme-worker"
    most = FEW.in_all(len(net.world.contract.nodes))
    crowd.come(channel.peer.grpc_port, most + 20, source="127.0.0.2")
    crowd.shrink(most)
    assert call(channel, "Who") == b"acme-worker"


def listening() -> socket.socket:
    """A listener whose port no client of this process can have by chance: it would count as a connection to it."""
    host, _, port = free_address().partition(":")
    return socket.create_server((host, int(port)), backlog=1024)


def test_only_this_ports_connections_are_looked_at() -> None:
    with (
        listening() as ours,
        listening() as other,
        ExitStack() as stack,
    ):
        watched = Connections(ConnectionLimits(unproved=2, unproved_per_host=2))
        watched.watch(ours.getsockname()[1])
        ends: list[socket.socket] = []
        for server in (ours, other):
            for _ in range(4):
                client = stack.enter_context(socket.create_connection(server.getsockname()))
                ends.append(client)
                stack.enter_context(server.accept()[0])
        named = ends[0].getsockname()
        watched.proved(f"ipv4:{named[0]}:{named[1]}")
        watched.proved("unix:")  # whatever gRPC may say
        for _ in range(8):
            watched.accepted()
        for sock in ends:
            sock.settimeout(0)
        assert [is_over(sock) for sock in ends] == [False, True, False, False] + [False] * 4


@pytest.mark.parametrize(
    ("sources", "each", "left"),
    [(1, 40, 4), (3, 40, 12), (13, 3, 12), (40, 1, 12), (12, 1, 12), (6, 2, 12), (2, 5, 8)],
)
def test_one_look_leaves_what_may_be_left(sources: int, each: int, left: int) -> None:
    with listening() as server, ExitStack() as stack:
        watched = Connections(FEW)
        watched.watch(server.getsockname()[1])
        ends = []
        for number in range(sources * each):
            source = (f"127.0.2.{1 + number % sources}", 0)
            ends.append(socket.create_connection(server.getsockname(), source_address=source))
            stack.enter_context(ends[-1])
            stack.enter_context(server.accept()[0])
        for _ in range(8):
            watched.accepted()
        for sock in ends:
            sock.settimeout(0)
        assert sum(not is_over(sock) for sock in ends) == left


def test_an_address_is_one_however_it_is_spelled() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        watched = Connections(ConnectionLimits(unproved=0, unproved_per_host=0))
        watched.watch(server.getsockname()[1])
        with socket.create_connection(server.getsockname()[:2]) as client, server.accept()[0]:
            watched.proved(f"ipv6:%5B::1%5D:{client.getsockname()[1]}")
            for _ in range(8):
                watched.accepted()
            client.settimeout(0)
            assert not is_over(client)


def is_over(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
