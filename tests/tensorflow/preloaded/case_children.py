"""What a process that TensorFlow's node starts can do with the node's connections: nothing."""

from __future__ import annotations

import os
import resource
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from coterie.ratls.traffic_secrets import Taken
from coterie.tensorflow.native import Native
from tests.tensorflow.preloaded.calling import Caller
from tests.tensorflow.preloaded.children import in_child
from tests.tensorflow.preloaded.conftest import ACME
from tests.tensorflow.preloaded.sealing import DATA, Sealer

SENDING, RECEIVING = bytes(range(32)), bytes(range(32, 64))


@dataclass
class Connection:
    """One that was handed over.

    Attributes:
        fd: The descriptor in this process.
        far: The peer's end.
    """

    fd: int
    far: socket.socket

    def heard(self) -> bytes:
        """What came out of this process and was not read yet."""
        self.far.settimeout(0)
        try:
            return self.far.recv(1 << 16)
        except BlockingIOError:
            return b""

    def is_open(self) -> bool:
        poll = select.poll()
        poll.register(self.far, select.POLLRDHUP)
        return not poll.poll(0)


@pytest.fixture
def parked(native: Native) -> Iterator[Connection]:
    """Handed over, and not dialled yet."""
    near, far = socket.socketpair()
    near.set_inheritable(True)
    made = Connection(near.fileno(), far)
    native.hand_over(Taken(near, SENDING, RECEIVING), ACME, 1, to_dial=True)
    yield made
    far.close()
    assert native.parked(ACME) == 0  # which closes it


@pytest.fixture
def dialled(parked: Connection, caller: Caller) -> Iterator[Connection]:
    """In TensorFlow's hands."""
    fd = caller.connect(ACME)
    yield Connection(fd, parked.far)
    os.close(fd)


@pytest.fixture(params=["parked", "dialled"])
def connection(request: pytest.FixtureRequest) -> Connection:
    found: Connection = request.getfixturevalue(request.param)
    return found


def test_a_forked_child_cannot_write_to_a_connection(
    connection: Connection, caller: Caller
) -> None:
    fd = connection.fd

    def as_a_socket() -> None:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=fd)
        found.sendall(b"plain 3")

    told = in_child(
        lambda: os.write(fd, b"plain 1"),
        lambda: os.writev(fd, [b"plain 2"]),
        as_a_socket,
        lambda: os.sendfile(fd, os.open(__file__, os.O_RDONLY), 0, 10),
        lambda: caller.send(fd, b"plain 4"),
    )

    assert connection.heard() == b""
    assert told == ["EBADF"] * 4 + ["EACCES"]
    assert connection.is_open()


def test_nor_can_it_read_what_is_meant_for_its_parent(dialled: Connection, caller: Caller) -> None:
    dialled.far.send(Sealer(RECEIVING).record(b"for the parent"))

    told = in_child(lambda: os.read(dialled.fd, 10), lambda: caller.receive(dialled.fd))

    assert told == ["EBADF", "EACCES"]
    assert caller.receive(dialled.fd) == b"for the parent"


def test_the_parents_connection_goes_on(dialled: Connection, caller: Caller) -> None:
    assert in_child(lambda: os.write(dialled.fd, b"plain"), lambda: os.close(dialled.fd)) == [
        "EBADF",
        "done",
    ]
    assert caller.send(dialled.fd, b"words") == 5
    assert Sealer(SENDING).open(dialled.heard()) == (DATA, b"words")


def test_a_child_gets_no_socket_of_tensorflows(dialled: Connection, caller: Caller) -> None:
    assert in_child(caller.socket) == ["EACCES"]


def test_a_child_that_unwinds_its_stack_cuts_nothing(
    connection: Connection, native: Native
) -> None:
    assert in_child(lambda: native.cut(ACME, 0)) == ["done"]
    assert connection.is_open()


def test_a_program_that_is_started_has_no_descriptor_of_a_connection(
    connection: Connection,
) -> None:
    """Even of a socket that was inheritable before it was handed over."""
    code = f"import os\nos.write({connection.fd}, b'plain')"
    started = subprocess.run(
        [sys.executable, "-c", code], close_fds=False, capture_output=True, text=True, check=False
    )
    assert "Bad file descriptor" in started.stderr
    assert connection.heard() == b""


def test_nor_can_one_be_passed_on(connection: Connection) -> None:
    """Between vfork and exec the child has its parent's memory, and runs none of fork's handlers."""
    code = f"import os\nos.write({connection.fd}, b'plain')"
    with pytest.raises(OSError, match="Bad file descriptor"):
        subprocess.run([sys.executable, "-c", code], pass_fds=[connection.fd], check=False)
    assert connection.heard() == b""
    assert connection.is_open()


def test_what_is_not_the_layers_goes_on_in_children(dialled: Connection) -> None:
    reading, writing = os.pipe()
    assert in_child(lambda: os.write(writing, b"words"), lambda: os.dup2(writing, 100)) == [
        "done",
        "done",
    ]
    assert os.read(reading, 10) == b"words"
    echo = "import sys; print(sys.stdin.read(), end='')"
    said = subprocess.run([sys.executable, "-c", echo], input=b"x", stdout=-1, check=True)
    assert said.stdout == b"x"
    os.close(reading)
    os.close(writing)


def _mappings(*flags: str) -> set[str]:
    """Where the mappings with these flags are (proc_pid_smaps(5))."""
    found: set[str] = set()
    place = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            place = first
        elif first == "VmFlags:" and set(flags) <= set(rest):
            found.add(place)
    return found


def test_a_connections_secrets_stay_out_of_core_dumps_children_and_swap(
    native: Native, caller: Caller
) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    flags = ["dd", "wf"] + (["lo"] if soft == resource.RLIM_INFINITY or soft >= 1 << 20 else [])
    assert native.parked(ACME) == 0, "those of earlier cases are dead, and go with this question"
    before = _mappings(*flags)
    near, far = socket.socketpair()
    native.hand_over(Taken(near, SENDING, RECEIVING), ACME, 1, to_dial=True)
    (own,) = _mappings(*flags) - before
    far.close()
    assert native.parked(ACME) == 0
    assert own not in _mappings(*flags)
