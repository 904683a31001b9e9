"""Runs the nodes of a contract as processes on this machine, listening nodes first.

Every listening node takes an ephemeral port on loopback and reports it. The nodes that dial it are
started after that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from coterie.contract import Contract, Node
from coterie.errors import NodeFailed
from coterie.nodes.children import Children, Exited, Printed, raise_failure
from coterie.runs.directory import RunDirectory
from coterie.runs.events import Event, EventSink, Finished, Listening
from coterie.runs.result import RunResult


class Supervisor:
    """Runs one contract's nodes.

    Args:
        directory: The run's directory, with the contract that the nodes read.
        data: Folder with one prepared data set per data-owning party, named after the party.
        command: The command that starts a node: ``coterie node``, or the plaintext benchmark's.
        on_event: Receives every node's events.
        worker_options: Further options of workers.
        start: Folder of the files that the run starts from, for the node that sends them.
    """

    def __init__(
        self,
        directory: RunDirectory,
        data: Path,
        command: Sequence[str],
        on_event: EventSink,
        *,
        worker_options: Sequence[str] = (),
        start: Path | None = None,
    ) -> None:
        self._directory = directory
        self._contract: Contract = directory.contract
        self._data = data
        self._command = tuple(command)
        self._on_event = on_event
        self._worker_options = tuple(worker_options)
        self._start = start
        self._children = Children(directory, _ended_by_itself, keep_events=True)
        self._addresses: dict[str, str] = {}

    def run(self) -> RunResult:
        """Starts all nodes and waits until all have ended.

        Raises:
            CoterieError: The error that the first failing node reported.
            NodeFailed: A node ended without reporting a reason.
        """
        contract = self._contract
        owners = {node.name for node in contract.data_owners()}
        lead, *followers = contract.by_role("ps")
        waves: list[tuple[Node, ...]] = [(lead,)]
        if followers:
            waves.append(tuple(followers))
        waves.append(contract.by_role("worker"))
        if contract.mode == "sdt":
            waves.append(contract.by_role("chief"))
        result: RunResult | None = None
        with ExitStack() as stack:
            listeners: set[str] = set()
            for wave in waves:
                self._wait_listening(listeners)
                for node in wave:
                    stack.enter_context(self._started(node, owns_data=node.name in owners))
                if contract.mode == "sdt" or wave[0].role == "ps":
                    listeners |= {node.name for node in wave}
            while self._children.alive:
                message = self._next()
                if isinstance(message, Finished):
                    result = RunResult.model_validate(message.result)
        if result is None:
            raise NodeFailed("the parameter server ended without a result")
        return result

    def _wait_listening(self, names: set[str]) -> None:
        while not names <= self._addresses.keys():
            self._next()

    def _next(self) -> Event | Printed | Exited:
        """The next message of a node; raises if it reports a failure."""
        message = self._children.next_message()
        if isinstance(message, Event):
            self._on_event(message)
            raise_failure(message)
        if isinstance(message, Listening):
            self._addresses[message.node] = message.address
        return message

    @contextmanager
    def _started(self, node: Node, *, owns_data: bool) -> Iterator[None]:
        arguments = [*self._command, *self._children.arguments(node)]
        arguments += ["--out", str(self._directory.node(node.name)), "--listen", "127.0.0.1:0"]
        for name, address in self._addresses.items():
            arguments += ["--address", f"{name}={address}"]
        if node.role == "worker":
            arguments += self._worker_options
        if owns_data:
            arguments += ["--data", str(self._data / node.party)]
        if self._start is not None and node == self._contract.start_giver():
            arguments += ["--start", str(self._start)]
        if node.role == "ps" and self._contract.trust.checkpoints_sealed:
            for party in self._contract.parties:
                share = self._directory.key_file(party.name)
                if share is not None and party.name != node.party:
                    arguments += ["--party-key", f"{party.name}={share}"]
        with self._children.started(node, arguments):
            yield


def _ended_by_itself(node: str, seen: str, log: Path) -> NodeFailed:
    return NodeFailed(
        f"node {node} ended by itself",
        expected="exit code 0",
        seen=seen,
        remedy=f"read {log}; the same command resumes from the last checkpoint",
    )
