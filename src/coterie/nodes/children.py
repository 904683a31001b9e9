"""Nodes as child processes on this machine: starts them, reads their events, ends them together.

No child outlives this process: a child's standard input is a pipe from here, and the child ends
when the pipe closes (``--end-with-parent``). A thread for each child reads its standard output.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from coterie.contract import Contract, Node
from coterie.errors import NodeFailed, error_from_dict
from coterie.files import writing
from coterie.runs.directory import RunDirectory
from coterie.runs.event_format import decode_event
from coterie.runs.event_log import FILE, LineLog
from coterie.runs.events import Event, Failed, StepDone
from coterie.text import ending_words

_STOP_SECONDS = 10.0
_LOG = "stderr.log"


@dataclass(frozen=True)
class Printed:
    """A line of a node's standard output that is not an event but a program's output."""

    node: str
    text: str


@dataclass(frozen=True)
class Exited:
    """A node's process has ended; ``code`` is as in ``subprocess``."""

    node: str
    code: int


Ended = Callable[[str, str, Path], NodeFailed]
"""Makes the error of a node that ended by itself, from its name, its end, and its log's path."""


class Children:
    """The processes of one run.

    Args:
        directory: The run's directory, with a folder for each node.
        ended: Makes the error of a node that ended by itself.
        keep_events: Whether nodes' events are kept in their folders, as ``events.jsonl``.

    Attributes:
        alive: Names of the nodes that are not known to have ended.
    """

    def __init__(self, directory: RunDirectory, ended: Ended, *, keep_events: bool) -> None:
        self._directory = directory
        self._ended = ended
        self._keep_events = keep_events
        self._heard: queue.Queue[Event | Printed | Exited] = queue.Queue()
        self.alive: set[str] = set()

    def arguments(self, node: Node, *words: str) -> list[str]:
        """A node's arguments: contract, name, ``words``, form of events, and its party's key."""
        said = [str(self._directory.contract_file), node.name, *words]
        said += ["--log-format", "json", "--end-with-parent"]
        key = self._directory.key_file(node.party)
        return said if key is None else [*said, "--party-key", str(key)]

    @contextmanager
    def started(
        self,
        node: Node,
        command: Sequence[str],
        *,
        inherited: Sequence[int] = (),
        environment: Mapping[str, str] = {},
    ) -> Iterator[None]:
        """Runs a node while the context is open, or until it ends by itself.

        Args:
            node: The node.
            command: The command that starts it.
            inherited: Descriptors that it inherits.
            environment: Variables besides this process's own.

        Raises:
            EnvironmentUnfit: Its log cannot be written.
        """
        folder = self._directory.node(node.name)
        with writing(folder / _LOG):
            errors = (folder / _LOG).open("a")
        with errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                errors="replace",
                env={**thread_environment(self._directory.contract), **environment},
                pass_fds=inherited,
            )
        self.alive.add(node.name)
        listener = threading.Thread(target=self._listen, args=(node.name, process, folder))
        listener.start()
        try:
            yield
        finally:
            stop_process(process)
            listener.join()

    def next_message(self) -> Event | Printed | Exited:
        """Waits for the next event, output or end of any node.

        Raises:
            CoterieError: The error that a failing node reported.
            NodeFailed: A node ended without reporting a reason.
        """
        heard = self._heard.get()
        if isinstance(heard, Exited):
            self.alive.discard(heard.node)
            if heard.code:
                raise self._failure_of(heard)
        return heard

    def _failure_of(self, exited: Exited) -> NodeFailed:
        log = self._directory.node(exited.node) / _LOG
        tail = log.read_text(errors="replace").strip().splitlines()[-1:]
        return self._ended(exited.node, ending_words(exited.code, tail[0] if tail else ""), log)

    def _listen(self, name: str, process: subprocess.Popen[str], folder: Path) -> None:
        assert process.stdout is not None
        log = closing(LineLog(folder / FILE)) if self._keep_events else nullcontext()
        try:
            with process.stdout, log as kept:
                for line in process.stdout:
                    event, text = decode_event(line), line.rstrip("\n")
                    if kept is not None:
                        kept.add(text, at_once=not isinstance(event, StepDone))
                    self._heard.put(event or Printed(name, text))
        finally:
            self._heard.put(Exited(name, process.wait()))


def raise_failure(event: Event) -> None:
    """Raises the error in a node's ``Failed``; ignores any other event.

    Raises:
        CoterieError: The node's error.
    """
    if isinstance(event, Failed):
        raise error_from_dict(event.error) or NodeFailed(f"node {event.node} failed")


def thread_environment(contract: Contract) -> dict[str, str]:
    """This process's environment, with the contract's sizes of thread pools."""
    threads = str(contract.training.threads)
    return {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "GRPC_VERBOSITY": "ERROR",
    }


def stop_process(process: subprocess.Popen[str]) -> None:
    """Ends a process by closing its input, then by force."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
