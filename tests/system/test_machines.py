"""Every node on a machine of its own: a network namespace with an address that nobody else has.

The namespaces hang on a hub that forwards nothing. What gets through it is what a relay in user
space carries from workers to the parameter server: so nobody can dial a worker, and the relay can
be late, hold connections, and break them. (There is no netem here: losses of single packets are
TCP's to mend, and are not made.)
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import REPOSITORY
from tests.system.conftest import Federation, Node, StartNode

pytestmark = pytest.mark.system

ROOT = REPOSITORY
PORT = 7440
MACHINES = ("ps0", "acme", "bolt")
DIAL = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)
except OSError as error:
    sys.exit(f"{type(error).__name__} {error.errno}")
"""


class Net:
    """A hub and machines around it; machine i has 10.77.i.2, the hub 10.77.i.1 on that line."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self._name = name
        for machine in ("hub", *MACHINES):
            _ip("netns", "add", self.space(machine))
            stack.callback(_ip, "netns", "del", self.space(machine))
            _ip("-n", self.space(machine), "link", "set", "lo", "up")
        for number, machine in enumerate(MACHINES):
            near, far = f"{name}{number}h", f"{name}{number}m"
            _ip("link", "add", near, "type", "veth", "peer", "name", far)
            for link, space, address in (
                (near, "hub", self.gate(machine)),
                (far, machine, self.address(machine)),
            ):
                _ip("link", "set", link, "netns", self.space(space))
                _ip("-n", self.space(space), "address", "add", f"{address}/24", "dev", link)
                _ip("-n", self.space(space), "link", "set", link, "up")

    def space(self, machine: str) -> str:
        return f"{self._name}-{machine}"

    def address(self, machine: str) -> str:
        return f"10.77.{MACHINES.index(machine)}.2"

    def gate(self, machine: str) -> str:
        """The hub's address on a machine's line."""
        return f"10.77.{MACHINES.index(machine)}.1"

    def on(self, machine: str) -> tuple[str, ...]:
        """What to put before a command, to run it on a machine."""
        return ("ip", "netns", "exec", self.space(machine))

    def dial(self, machine: str, address: str, port: int = PORT) -> str:
        """Dials from a machine; empty if somebody answers, else the error."""
        done = subprocess.run(
            [*self.on(machine), sys.executable, "-c", DIAL, address, str(port)],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stderr.strip()

    def listening(self, machine: str) -> list[str]:
        """Ports that anything on a machine listens on."""
        table = subprocess.run(
            [*self.on(machine), "cat", "/proc/net/tcp", "/proc/net/tcp6"],
            capture_output=True,
            text=True,
            check=True,
        )
        rows = [line.split() for line in table.stdout.splitlines()]
        return [row[1] for row in rows if len(row) > 3 and row[3] == "0A"]


class Line:
    """The relay between one worker's line and the parameter server's, in the hub."""

    def __init__(self, net: Net, machine: str, stack: ExitStack) -> None:
        ports = (str(PORT), str(PORT + 1))
        relay = ("-m", "faults.relaying", net.gate(machine), net.address("ps0"), *ports)
        self._process = subprocess.Popen(
            [*net.on("hub"), sys.executable, *relay, "--delay", "0.002"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        stack.callback(self._end)
        self._hear("ready")

    def do(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        self._hear(command)

    def _hear(self, word: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == word

    def _end(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def net() -> Iterator[Net]:
    try:
        _ip("netns", "add", f"ct{os.getpid()}")
        _ip("netns", "del", f"ct{os.getpid()}")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here: {error}")
    with ExitStack() as stack:
        yield Net(f"ct{os.getpid()}", stack)


@pytest.fixture
def lines(net: Net) -> Iterator[dict[str, Line]]:
    with ExitStack() as stack:
        yield {machine: Line(net, machine, stack) for machine in ("acme", "bolt")}


@pytest.fixture
def started(
    net: Net, lines: dict[str, Line], federation: Federation, start_node: StartNode
) -> Callable[[], dict[str, Node]]:
    assert lines

    def start() -> dict[str, Node]:
        nodes = {
            "ps0": start_node(
                *(federation.contract, "ps0", "--listen", f"{net.address('ps0')}:{PORT}"),
                *("--out", federation.folder / "ps0", "--party-key", federation.key("operator")),
                prefix=net.on("ps0"),
            )
        }
        nodes["ps0"].wait_event("Listening")
        for party in ("acme", "bolt"):
            nodes[party] = start_node(
                *(federation.contract, f"{party}-worker"),
                *("--address", f"ps0={net.gate(party)}:{PORT}"),
                *("--data", federation.data / party, "--party-key", federation.key(party)),
                prefix=net.on(party),
            )
        return nodes

    return start


def test_the_same_model_over_lines_that_are_late_and_break(
    hfl_digest: str, lines: dict[str, Line], started: Callable[[], dict[str, Node]]
) -> None:
    nodes = started()
    nodes["ps0"].wait_event("CheckpointWritten")
    lines["acme"].do("cut")
    nodes["ps0"].wait_event("StepDone")
    lines["bolt"].do("stall")
    lines["bolt"].do("resume")
    lines["acme"].do("cut")
    result = nodes["ps0"].wait_event("Finished")["result"]
    assert isinstance(result, dict)
    assert result["model_digest"] == hfl_digest
    assert [node.finish() for node in nodes.values()] == [0, 0, 0]


def test_nobody_can_dial_a_worker(
    net: Net, lines: dict[str, Line], started: Callable[[], dict[str, Node]]
) -> None:
    nodes = started()
    nodes["ps0"].wait_event("StepDone")
    lines["acme"].do("stall")  # the run waits while this looks round
    unreachable = "OSError 101"  # ENETUNREACH
    for worker in ("acme", "bolt"):
        assert net.listening(worker) == []
        for other in MACHINES:
            if other != worker:
                assert net.dial(other, net.address(worker)) == unreachable
    assert net.dial("acme", net.address("ps0")) == unreachable  # but for the relay
    assert net.dial("acme", net.gate("acme")) == ""
    assert net.listening("ps0") != []
    assert [node.process.poll() for node in nodes.values()] == [None] * 3
    lines["acme"].do("resume")
    nodes["ps0"].wait_event("Finished")
    assert [node.finish() for node in nodes.values()] == [0, 0, 0]
