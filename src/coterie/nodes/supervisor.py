"""Starts the nodes of a contract as processes on this machine, hears them, and ends them together.

Every listening node takes an ephemeral port on loopback and tells it; the nodes that dial it are
started when it has. Whatever happens, no process outlives the supervisor: their standard input is
a pipe from here, and they end when it closes.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from coterie.contract import Contract, Node
from coterie.errors import CoterieError, NodeFailed, error_from_dict
from coterie.files import writing
from coterie.runs.directory import RunDirectory
from coterie.runs.event_format import decode_event
from coterie.runs.event_log import LineLog
from coterie.runs.events import Event, EventSink, Failed, Finished, Listening, StepDone
from coterie.runs.result import RunResult
from coterie.text import ending_words

_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class _Exited:
    node: str
    code: int


class Supervisor:
    """Runs one contract's nodes.

    Args:
        directory: The run's directory; its contract is what the nodes read.
        data: Holds one prepared data set per data-owning party, in a folder of its name.
        command: What starts a node: ``coterie node``, or the plaintext benchmark's twin.
        on_event: Hears every node's events.
        worker_options: What else workers are started with.
        start: Folder of what the run goes on from, for the node that gives it.
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
        self._heard: queue.Queue[Event | _Exited] = queue.Queue()
        self._alive: set[str] = set()
        self._addresses: dict[str, str] = {}

    def run(self) -> RunResult:
        """Starts all nodes and waits until all have ended.

        Raises:
            CoterieError: What the first failing node said.
            NodeFailed: A node ended without saying why.
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
            while self._alive:
                heard = self._next()
                if isinstance(heard, Finished):
                    result = RunResult.model_validate(heard.result)
        if result is None:
            raise NodeFailed("the parameter server ended without a result")
        return result

    def _wait_listening(self, names: set[str]) -> None:
        while not names <= self._addresses.keys():
            self._next()

    def _next(self) -> Event | _Exited:
        """The next thing heard; raises if it is a node's failure."""
        heard = self._heard.get()
        if isinstance(heard, _Exited):
            self._alive.discard(heard.node)
            if heard.code:
                raise self._failure_of(heard)
            return heard
        self._on_event(heard)
        if isinstance(heard, Listening):
            self._addresses[heard.node] = heard.address
        elif isinstance(heard, Failed):
            raise error_from_dict(heard.error) or NodeFailed(f"node {heard.node} failed")
        return heard

    def _failure_of(self, exited: _Exited) -> CoterieError:
        log = self._directory.node(exited.node) / "stderr.log"
        tail = log.read_text(errors="replace").strip().splitlines()[-1:]
        return NodeFailed(
            f"node {exited.node} ended by itself",
            expected="exit code 0",
            seen=ending_words(exited.code, tail[0] if tail else ""),
            remedy=f"read {log}; the same command resumes from the last checkpoint",
        )

    @contextmanager
    def _started(self, node: Node, *, owns_data: bool) -> Iterator[None]:
        folder = self._directory.node(node.name)
        arguments = [*self._command, str(self._directory.contract_file), node.name]
        arguments += ["--out", str(folder), "--log-format", "json", "--end-with-parent"]
        arguments += ["--listen", "127.0.0.1:0"]
        for name, address in self._addresses.items():
            arguments += ["--address", f"{name}={address}"]
        if node.role == "worker":
            arguments += self._worker_options
        if owns_data:
            arguments += ["--data", str(self._data / node.party)]
        if self._start is not None and node == self._contract.start_giver():
            arguments += ["--start", str(self._start)]
        key = self._directory.key_file(node.party)
        if key is not None:
            arguments += ["--party-key", str(key)]
        if node.role == "ps" and self._contract.trust.checkpoints_sealed:
            for party in self._contract.parties:
                share = self._directory.key_file(party.name)
                if share is not None and party.name != node.party:
                    arguments += ["--party-key", f"{party.name}={share}"]
        with writing(folder / "stderr.log"):
            errors = (folder / "stderr.log").open("a")
        with errors:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=thread_environment(self._contract),
            )
        self._alive.add(node.name)
        listener = threading.Thread(
            target=self._listen, args=(node.name, process, folder / "events.jsonl")
        )
        listener.start()
        try:
            yield
        finally:
            stop_process(process)
            listener.join()

    def _listen(self, name: str, process: subprocess.Popen[str], log: Path) -> None:
        if process.stdout is None:
            raise AssertionError
        try:
            with process.stdout, closing(LineLog(log)) as kept:
                for line in process.stdout:
                    event = decode_event(line)
                    kept.add(line.rstrip("\n"), at_once=not isinstance(event, StepDone))
                    if event is not None:
                        self._heard.put(event)
        finally:
            self._heard.put(_Exited(name, process.wait()))


def thread_environment(contract: Contract) -> dict[str, str]:
    """The child's environment: this one's, with thread pools of the contract's size."""
    threads = str(contract.training.threads)
    return {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "GRPC_VERBOSITY": "ERROR",
    }


def stop_process(process: subprocess.Popen[str]) -> None:
    """Ends a process: by the end of its input, then by force."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
