"""An attestation port under load: places go to many addresses, a lack of descriptors passes."""

from __future__ import annotations

import os
import resource
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from coterie.address import Address
from coterie.errors import CoterieError, HandshakeFailed, PeerBusy
from coterie.ratls.listener import AttestationListener, ListenerLimits, listen
from tests.ratls.net import Net, call


class Port:
    """A listener whose handshakes last until the peer ends them or they are cut."""

    def __init__(self) -> None:
        self.told: list[tuple[str, CoterieError, int]] = []
        self.entered = threading.Semaphore(0)
        self.address = ("", 0)

    def handle(self, sock: socket.socket, _: float) -> None:
        self.entered.release()
        with sock:
            select.select([sock], [], [], 30)
        raise HandshakeFailed("it is over")

    def refused(self, host: str, error: CoterieError, count: int) -> None:
        self.told.append((host, error, count))

    @contextmanager
    def open(self, limits: ListenerLimits) -> Iterator[None]:
        sock = listen(Address("127.0.0.1", 0))
        self.address = sock.getsockname()
        listener = AttestationListener(sock, self.handle, refused=self.refused, limits=limits)
        listener.start()
        try:
            yield
        finally:
            listener.stop()

    def knock(self, source: str) -> socket.socket:
        return socket.create_connection(self.address, source_address=(source, 0))


@pytest.fixture
def port() -> Port:
    return Port()


def is_over(sock: socket.socket) -> bool:
    sock.settimeout(20)
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_an_address_with_few_places_takes_one_of_who_has_most(port: Port) -> None:
    with port.open(ListenerLimits(pending=4, pending_per_host=4, seconds=30)), ExitStack() as stack:
        greedy = [stack.enter_context(port.knock("127.0.0.2")) for _ in range(4)]
        for _ in greedy:
            assert port.entered.acquire(timeout=20)
        for source in ("127.0.0.3", "127.0.0.4"):
            stack.enter_context(port.knock(source))
            assert port.entered.acquire(timeout=20)
        assert is_over(greedy[0])
        assert is_over(greedy[1])
        assert not select.select(greedy[2:], [], [], 0)[0]
        assert is_over(stack.enter_context(port.knock("127.0.0.3"))), "two, two: no more to take"


def test_a_node_attests_itself_beside_a_full_port(net: Net) -> None:
    server = net.serve(limits=ListenerLimits(pending=32, pending_per_host=16, seconds=600))
    host, number = server.address.rsplit(":", 1)
    with ExitStack() as stack:
        for _ in range(20):
            for source in ("127.0.0.2", "127.0.0.3"):
                stack.enter_context(
                    socket.create_connection((host, int(number)), source_address=(source, 0))
                )
        assert call(net.dial(server), "Who") == b"acme-worker"


def test_a_flood_of_connections_is_told_in_few_lines(port: Port) -> None:
    with port.open(ListenerLimits(pending=2, pending_per_host=1, seconds=30)):
        with port.knock("127.0.0.2"):
            assert port.entered.acquire(timeout=20)
            for _ in range(300):
                with port.knock("127.0.0.2") as sock:
                    assert is_over(sock)
        busy = [count for _, error, count in port.told if isinstance(error, PeerBusy)]
        assert busy == [1, 9, 90]
    busy = [count for _, error, count in port.told if isinstance(error, PeerBusy)]
    assert sum(busy) == 300
    dropped = next(error for _, error, _ in port.told if isinstance(error, PeerBusy))
    assert dropped.what == "dropped a connection: too many handshakes are under way"
    assert dropped.expected == "at most 1 of one address, 2 in all"


def test_a_defect_that_a_peer_can_cause_is_told_in_few_lines_too(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(sock: socket.socket, _: float) -> None:
        with sock:
            raise KeyError(sock.recv(4096))

    port.handle = fail  # type: ignore[method-assign]
    with port.open(ListenerLimits(seconds=30)):
        for number in range(30):
            with port.knock("127.0.0.2") as sock:
                sock.sendall(b"number %d" % number)
                assert is_over(sock)
    assert [(type(error), error.seen) for _, error, _ in port.told] == [
        (CoterieError, "KeyError")
    ] * 3
    assert [count for _, _, count in port.told] == [1, 9, 20]
    assert [record.exc_info is not None for record in caplog.records] == [True], "one traceback"
    assert not any("number" in str(error) for _, error, _ in port.told), "nothing of the peer's"


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 4096), hard))
        while True:
            try:
                taken.append(os.dup(0))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


def test_a_lack_of_descriptors_is_load_and_passes(port: Port) -> None:
    """Who knocks meanwhile is served when there are some again."""
    with port.open(ListenerLimits(seconds=30)), socket.socket() as waiting:
        waiting.settimeout(20)
        with no_descriptors():
            waiting.connect(port.address)
            with pytest.raises(OSError, match="Too many open files"):
                os.dup(0)
            assert not port.entered.acquire(timeout=0.2)
        assert port.entered.acquire(timeout=20)
        waiting.shutdown(socket.SHUT_WR)
        assert is_over(waiting)


def test_a_system_that_gives_no_thread_is_load_too(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    start: Callable[[threading.Thread], None] = threading.Thread.start

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with port.open(ListenerLimits(seconds=30)):
        monkeypatch.setattr(threading.Thread, "start", none)
        with port.knock("127.0.0.2") as sock:
            assert is_over(sock)
        monkeypatch.setattr(threading.Thread, "start", start)
        with port.knock("127.0.0.2"):
            assert port.entered.acquire(timeout=20)
    assert [type(error) for _, error, _ in port.told] == [PeerBusy, HandshakeFailed]
