"""A connection whose records leave by a second descriptor: the pair that TensorFlow has is another socket."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.ratls.traffic_secrets import Taken
from coterie.tensorflow.native import Native
from tests.tensorflow.preloaded.calling import Caller
from tests.tensorflow.preloaded.children import in_child
from tests.tensorflow.preloaded.conftest import ACME
from tests.tensorflow.preloaded.sealing import DATA, Sealer

SENDING, RECEIVING = bytes(range(32)), bytes(range(32, 64))
ALERT, CLOSE_NOTIFY = 21, b"\1\0"


@dataclass
class Connection:
    """One in TensorFlow's hands.

    Attributes:
        fd: TensorFlow's descriptor.
        way_out: The number of the second one.
        far: The other end of TensorFlow's pair.
        peer: The peer's socket.
    """

    fd: int
    way_out: int
    far: socket.socket
    peer: socket.socket

    def can_write(self) -> bool:
        """Whether TensorFlow would be told that it can."""
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return bool(poll.poll(0))


def waiting(sock: socket.socket) -> bytes:
    """What has come and was not read yet."""
    sock.settimeout(0)
    octets = b""
    with contextlib.suppress(BlockingIOError):
        while more := sock.recv(1 << 16):
            octets += more
    return octets


def opened(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """The records that the node has sealed for its peer."""
    sealer = Sealer(SENDING)
    while octets:
        length = 5 + int.from_bytes(octets[3:5])
        yield sealer.open(octets[:length])
        octets = octets[length:]


def close_if_open(fd: int) -> None:
    """Closes what a case may have closed."""
    with contextlib.suppress(OSError):
        os.close(fd)


def accepted(native: Native, caller: Caller, port: int, stack: contextlib.ExitStack) -> Connection:
    """Another connection, given to TensorFlow."""
    (near, far), (here, peer) = socket.socketpair(), socket.socketpair()
    for one in (near, here):
        one.setblocking(False)
        one.set_inheritable(True)
    for one in (far, peer):
        stack.enter_context(one)
    way_out = here.fileno()
    native.hand_over(Taken(near, SENDING, RECEIVING, here), ACME, 1, to_dial=False)
    made = Connection(caller.accept(port, ACME), way_out, far, peer)
    stack.callback(close_if_open, made.fd)
    return made


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as made:
        yield made


@pytest.fixture
def port(caller: Caller, stack: contextlib.ExitStack) -> int:
    fd = caller.listen()
    stack.callback(os.close, fd)
    return fd


@pytest.fixture
def connection(
    native: Native, caller: Caller, port: int, stack: contextlib.ExitStack
) -> Connection:
    return accepted(native, caller, port, stack)


def test_what_tensorflow_sends_goes_to_the_peer_only(
    connection: Connection, caller: Caller
) -> None:
    assert caller.send(connection.fd, b"words") == 5
    assert list(opened(waiting(connection.peer))) == [(DATA, b"words")]
    assert waiting(connection.far) == b""


def test_what_comes_through_the_pair_is_what_tensorflow_reads(
    connection: Connection, caller: Caller
) -> None:
    connection.far.sendall(Sealer(RECEIVING).record(b"asked"))
    assert caller.receive(connection.fd) == b"asked"


def test_who_sends_waits_until_the_pair_is_empty_and_goes_on_where_it_was(
    connection: Connection, caller: Caller
) -> None:
    words = bytes(range(256)) * 8000
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += caller.send(connection.fd, words[sent:])
    assert 0 < sent < len(words)
    assert not connection.can_write()
    got = waiting(connection.peer)
    assert not connection.can_write()  # Python has not seen it yet
    filling = waiting(connection.far)
    assert filling == bytes(len(filling)) != b""
    assert connection.can_write()
    while sent < len(words):
        with contextlib.suppress(BlockingIOError):
            sent += caller.send(connection.fd, words[sent:])
        got += waiting(connection.peer)
        waiting(connection.far)
    assert b"".join(content for _, content in opened(got)) == words


@pytest.mark.parametrize("end", ["close", "shutdown"])
def test_tensorflows_end_is_told_to_the_peer_and_to_python(
    connection: Connection, caller: Caller, end: str
) -> None:
    caller.send(connection.fd, b"words")
    if end == "close":
        os.close(connection.fd)
    else:
        as_a_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, connection.fd)
        as_a_socket.shutdown(socket.SHUT_RDWR)
        as_a_socket.detach()
    assert list(opened(waiting(connection.peer))) == [(DATA, b"words"), (ALERT, CLOSE_NOTIFY)]
    for one in (connection.peer, connection.far):
        assert one.recv(1) == b""


def test_a_cut_is_the_end_for_the_peer_and_for_tensorflow(
    connection: Connection, caller: Caller, native: Native
) -> None:
    native.cut(ACME, 0)
    assert connection.peer.recv(1) == b""
    assert connection.far.recv(1) == b""
    with pytest.raises(ConnectionResetError):
        caller.receive(connection.fd)


def test_a_child_can_not_write_to_the_peer(connection: Connection, caller: Caller) -> None:
    fd = connection.way_out
    assert in_child(lambda: os.write(fd, b"plain"), lambda: os.write(os.dup(fd), b"plain")) == [
        "EBADF",
        "EBADF",
    ]
    code = f"import os\nos.write({fd}, b'plain')"
    started = subprocess.run(
        [sys.executable, "-c", code], close_fds=False, capture_output=True, text=True, check=False
    )
    assert "Bad file descriptor" in started.stderr
    assert waiting(connection.peer) == b""
    assert caller.send(connection.fd, b"words") == 5
    assert list(opened(waiting(connection.peer))) == [(DATA, b"words")]


@pytest.mark.parametrize(
    ("use", "error"),
    [
        (lambda fd: os.write(fd, b"plain"), errno.EOPNOTSUPP),
        (os.dup, errno.EOPNOTSUPP),
        (lambda fd: os.dup2(0, fd), errno.EOPNOTSUPP),
        (os.close, errno.EBADF),
    ],
    ids=["write", "dup", "dup2", "close"],
)
def test_nothing_else_is_done_with_it(
    connection: Connection, caller: Caller, use: Callable[[int], object], error: int
) -> None:
    with pytest.raises(OSError, match=os.strerror(error)):
        use(connection.way_out)
    assert caller.send(connection.fd, b"words") == 5
    assert list(opened(waiting(connection.peer))) == [(DATA, b"words")]


def test_who_gets_its_number_next_is_another_connection(
    connection: Connection,
    caller: Caller,
    native: Native,
    port: int,
    stack: contextlib.ExitStack,
) -> None:
    """close_range() closes it without the library's knowledge."""
    number = connection.way_out
    os.closerange(number, number + 1)
    other = accepted(native, caller, port, stack)
    assert number in {other.fd, other.way_out}
    with pytest.raises(PermissionError):
        caller.send(connection.fd, b"to another peer")
    os.close(connection.fd)
    assert caller.send(other.fd, b"words") == 5
    assert list(opened(waiting(other.peer))) == [(DATA, b"words")]


def test_both_are_closed_if_they_cannot_be_taken(native: Native) -> None:
    (near, far), (here, peer) = socket.socketpair(), socket.socketpair()
    with far, peer:
        with pytest.raises(EnvironmentUnfit):
            native.hand_over(Taken(near, SENDING, RECEIVING, here), -1, 1, to_dial=False)
        assert far.recv(1) == b""
        assert peer.recv(1) == b""
