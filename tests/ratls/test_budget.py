"""What a stranger can cause at each port that judges, counted: memory, lines, look-ups; nodes come through.

The gRPC port is in ``test_connections.py``, TensorFlow's data port is a listener of ``test_listener.py``.
"""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coterie.address import Address
from coterie.errors import CoterieError, MessageRefused, PeerBusy
from coterie.keys.server import messages as keys
from coterie.ratls.certificate import MAX_CERTIFICATE_BYTES
from coterie.ratls.deadline import Deadline
from coterie.ratls.frames import FrameReader
from coterie.ratls.guests import ThrowAwayIdentity, unproved_key
from coterie.ratls.handshake import accept, dial
from coterie.ratls.listener import AttestationListener, ListenerLimits, listen
from coterie.ratls.messages import CODEC, REFUSAL_BYTES, Refusal
from coterie.ratls.tls import ALPN, TlsConnection
from coterie.ratls.tls_context import Shown
from coterie.status import messages as status
from coterie.status.client import ask_status
from coterie.status.service import StatusService
from tests.keys.server.conftest import KEY, Owner
from tests.ratls.conftest import GRPC_PORT, World
from tests.status.test_status import OVERVIEW, Scene

pytestmark = pytest.mark.long


CONNECTIONS = 100
ADDRESSES = (
    4  # fewer than places: else they may hold them all, each with no more than a node that comes
)
FRAME = 1 << 21
FLOOD = (FRAME - 4).to_bytes(4, "big") + (
    b"\xa1\x64kind\x9a" + (FRAME - 15).to_bytes(4, "big") + b"\x80" * (FRAME - 15)
)
LIMITS = ListenerLimits(pending=8, pending_per_host=4, seconds=30)


@dataclass
class Port:
    """A port, who is hostile to it, and who is honest."""

    address: Address
    alpn: bytes
    hostile: Shown
    honest: Callable[[], object]
    told: list[tuple[CoterieError, int]] = field(default_factory=list)

    def note(self, _: str, error: CoterieError, count: int) -> None:
        self.told.append((error, count))

    def connect(self, source: str) -> TlsConnection:
        sock = socket.create_connection(
            (self.address.host, self.address.port), source_address=(source, 0), timeout=20
        )
        connection = TlsConnection(
            sock,
            self.hostile,
            lambda der: unproved_key(der, "the victim", most=MAX_CERTIFICATE_BYTES),
            listener=False,
            at=World().clock(),
            deadline=Deadline.after(20),
            peer_name="the victim",
            alpn=self.alpn,
        )
        try:
            connection.handshake()
        except BaseException:
            connection.close()
            raise
        return connection

    def flood(self, number: int) -> None:
        """One hostile connection: two million empty items, as far as they are taken."""
        with suppress(CoterieError, OSError):  # no place, or hung up on
            connection = self.connect(f"127.0.0.{2 + number % ADDRESSES}")
            try:
                connection.send(FLOOD)
                FrameReader(CODEC, REFUSAL_BYTES).read_message(connection.receive)
            finally:
                connection.close()


@contextmanager
def listening(port: Port, handle: Callable[[socket.socket, float], object]) -> Iterator[Port]:
    sock = listen(Address("127.0.0.1", 0))
    port.address = Address(*sock.getsockname())

    def serve(connection: socket.socket, seconds: float) -> None:
        handle(connection, seconds)

    listener = AttestationListener(sock, serve, refused=port.note, limits=LIMITS)
    listener.start()
    try:
        yield port
    finally:
        listener.stop()


NOWHERE = Address("127.0.0.1", 1)


def node_port(_: Path) -> AbstractContextManager[Port]:
    """The simulated TEE's keys are public: whoever likes has a node's evidence."""
    world = World()
    server, worker = world.trust("ps0"), world.trust("acme-worker")
    port = Port(
        NOWHERE,
        ALPN,
        worker.credentials.current().identity,
        lambda: dial(port.address, "ps0", world.trust("bolt-worker")),
    )
    return listening(
        port, lambda sock, seconds: accept(sock, server, lambda _: GRPC_PORT, seconds=seconds)
    )


def visitors_port(_: Path) -> AbstractContextManager[Port]:
    scene = Scene()
    server = scene.world.trust("ps0")
    reception = StatusService(server, lambda: OVERVIEW, lambda: ()).reception
    port = Port(
        NOWHERE,
        status.PROTOCOL.alpn,
        ThrowAwayIdentity.create(scene.world.clock()),
        lambda: ask_status(port.address, "ps0", scene.trust(), scene.world.keys["acme"], "acme"),
    )
    return listening(
        port,
        lambda sock, seconds: accept(
            sock, server, lambda _: GRPC_PORT, seconds=seconds, others=[reception]
        ),
    )


@contextmanager
def key_servers_port(folder: Path) -> Iterator[Port]:
    owner = Owner(World(), folder)
    port = Port(
        NOWHERE,
        keys.PROTOCOL.alpn,
        owner.identity(),
        lambda: owner.client().data_key(owner.identity(), KEY.set_id),
    )
    with owner.serving(limits=LIMITS, refused=port.note):
        port.address = owner.address
        yield port


PORTS = {"node": node_port, "visitors": visitors_port, "key server": key_servers_port}


@pytest.mark.parametrize("name", PORTS)
def test_hostile_frames_cost_little_and_nodes_come_through(name: str, tmp_path: Path) -> None:
    with PORTS[name](tmp_path) as port:
        assert port.honest()  # what is loaded once is loaded
        tracemalloc.start()
        try:
            with ThreadPoolExecutor(6) as pool:
                floods = [pool.submit(port.flood, number) for number in range(CONNECTIONS)]
                for _ in range(3):
                    assert port.honest()
                for flood in floods:
                    flood.result(60)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # Two million lists are 120 MB, and were made of each frame; both ends of all are counted here.
    assert peak < 24 << 20
    refused = sum(count for error, count in port.told if isinstance(error, MessageRefused))
    assert refused >= CONNECTIONS / 2
    assert all(
        "bytes here" in error.expected
        for error, _ in port.told
        if isinstance(error, MessageRefused)
    )
    assert len(port.told) < 60, "a hundred connections of four addresses, told in few lines"


@pytest.mark.parametrize("name", PORTS)
def test_silent_visitors_hold_few_places_and_nodes_come_through(name: str, tmp_path: Path) -> None:
    """TLS is done, and then nothing comes: of one address no more than its share is held."""
    with PORTS[name](tmp_path) as port, ExitStack() as stack:
        held = 0
        for _ in range(CONNECTIONS):
            try:
                connection = port.connect("127.0.0.2")
            except CoterieError:
                continue
            stack.callback(connection.close)
            held += 1
        assert held <= LIMITS.pending_per_host
        for _ in range(3):
            assert port.honest()
    busy = [count for error, count in port.told if isinstance(error, PeerBusy)]
    assert sum(busy) == CONNECTIONS - held
    assert len(busy) <= 4


def test_a_visitors_refusal_says_what_was_due() -> None:
    with visitors_port(Path()) as port:
        connection = port.connect("127.0.0.2")
        with suppress(CoterieError):
            connection.send(FLOOD[: 1 << 16])
        said = FrameReader(CODEC, REFUSAL_BYTES).read_message(connection.receive)
        connection.close()
    assert isinstance(said, Refusal)
    assert said.reason["error"] == "MessageRefused"
    assert said.reason["expected"] == f"at most {status.ASK_BYTES} bytes here"
    assert said.reason["seen"] == f"{FRAME - 4} bytes"
