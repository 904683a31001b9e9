"""Runs all nodes of a TensorFlow cluster on this machine, for ``coterie tensorflow run``.

The listening sockets are made here and inherited by the nodes. So every node knows the others'
addresses from its start, and no other process can take a port.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from coterie.address import Address
from coterie.contract import Contract, Node
from coterie.errors import CoterieError, NodeFailed, error_from_dict
from coterie.files import writing
from coterie.nodes.supervisor import stop_process, thread_environment
from coterie.runs.directory import RunDirectory, open_run_directory
from coterie.runs.event_format import decode_event, describe_event
from coterie.runs.events import Event, Failed
from coterie.tensorflow.cluster import check_contract
from coterie.tensorflow.digests import (
    Program,
    check_digests,
    completed,
    tensorflow_folder,
    wheel_digest,
)
from coterie.tensorflow.native import load
from coterie.tensorflow.sockets import Ports
from coterie.text import ending_words

ATTESTED_NODE = (sys.executable, "-m", "coterie", "tensorflow", "node")
_HOST = "127.0.0.1"


@dataclass(frozen=True)
class _Line:
    node: str
    text: str


@dataclass(frozen=True)
class _Exited:
    node: str
    code: int


def run_cluster(
    contract: Contract,
    program: Program,
    arguments: Sequence[str],
    out: Path,
    *,
    say: Callable[[str], None],
    printed: Callable[[str, str], None],
) -> None:
    """Runs every node of a contract as a process on loopback, until the chief's program has ended.

    Nodes with role ps serve until then. A cluster without them ends when all programs have ended.

    Args:
        contract: The contract; missing digests are filled in if it is a simulated one.
        program: The program that every node runs.
        arguments: The program's arguments.
        out: A new directory for the nodes' files.
        say: Receives messages for people.
        printed: Receives every line that a node's program prints, with the node's name.

    Raises:
        CoterieError: A node failed, or something is missing; no process is left.
    """
    check_contract(contract)
    load()
    wheel = wheel_digest(tensorflow_folder())
    contract = completed(contract, program, wheel)
    check_digests(contract, program, wheel)
    with open_run_directory(out, contract, "ra-tls") as directory:
        _Cluster(directory, program, arguments, say, printed).run()


class _Cluster:
    def __init__(
        self,
        directory: RunDirectory,
        program: Program,
        arguments: Sequence[str],
        say: Callable[[str], None],
        printed: Callable[[str, str], None],
    ) -> None:
        self._directory = directory
        self._program = program
        self._arguments = tuple(arguments)
        self._say = say
        self._printed = printed
        self._heard: queue.Queue[_Line | Event | _Exited] = queue.Queue()

    def run(self) -> None:
        contract = self._directory.contract
        chief = contract.by_role("chief")[0].name
        serving = bool(contract.by_role("ps"))
        # A node without an address in the contract only dials out, also here.
        ports = {
            node.name: Ports.bind(Address(_HOST, 0)) for node in contract.nodes if node.address
        }
        with ExitStack() as stack:
            try:
                for node in contract.nodes:
                    stack.enter_context(self._started(node, ports))
            # Only the nodes hold them now, so the port of an ended node refuses connections.
            finally:
                for pair in ports.values():
                    pair.close()
            alive = set(contract.node_names)
            while alive and (chief in alive or not serving):
                alive -= self._next()

    def _next(self) -> set[str]:
        """Handles one message; returns the node that it says has ended."""
        heard = self._heard.get()
        if isinstance(heard, _Line):
            self._printed(heard.node, heard.text)
        elif isinstance(heard, _Exited):
            if heard.code:
                raise self._failure_of(heard)
            return {heard.node}
        else:
            self._say(describe_event(heard))
            if isinstance(heard, Failed):
                raise error_from_dict(heard.error) or NodeFailed(f"node {heard.node} failed")
        return set()

    def _failure_of(self, exited: _Exited) -> CoterieError:
        log = self._directory.node(exited.node) / "stderr.log"
        tail = log.read_text(errors="replace").strip().splitlines()[-1:]
        return NodeFailed(
            f"the program of node {exited.node} failed",
            expected="exit code 0",
            seen=ending_words(exited.code, tail[0] if tail else ""),
            remedy="mend the program; with --out DIR the whole of what nodes said is kept in "
            f"{log.relative_to(self._directory.path)}",
        )

    @contextmanager
    def _started(self, node: Node, ports: dict[str, Ports]) -> Iterator[None]:
        folder = self._directory.node(node.name)
        command = [*ATTESTED_NODE, str(self._directory.contract_file), node.name]
        command += [str(self._program.path), "--log-format", "json", "--end-with-parent"]
        own = ports.get(node.name)
        inherited = () if own is None else (own.attestation.fileno(), own.data.fileno())
        if inherited:
            command += ["--inherited", ",".join(map(str, inherited))]
        for name, pair in ports.items():
            if name != node.name:
                port = pair.attestation.getsockname()[1]
                command += ["--address", f"{name}={Address(_HOST, port)}"]
        key = self._directory.key_file(node.party)
        if key is not None:
            command += ["--party-key", str(key)]
        if self._arguments:
            command += ["--", *self._arguments]
        with writing(folder / "stderr.log"):
            errors = (folder / "stderr.log").open("a")
        with errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                errors="replace",
                env=thread_environment(self._directory.contract),
                pass_fds=inherited,
            )
        listener = threading.Thread(target=self._listen, args=(node.name, process))
        listener.start()
        try:
            yield
        finally:
            stop_process(process)
            listener.join()

    def _listen(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        try:
            with process.stdout:
                for line in process.stdout:
                    self._heard.put(decode_event(line) or _Line(name, line.rstrip("\n")))
        finally:
            self._heard.put(_Exited(name, process.wait()))
