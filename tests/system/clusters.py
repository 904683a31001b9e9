"""TensorFlow clusters as processes, plain and attested, for tests."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import pytest

from coterie.contract import load_contract
from coterie.nodes.children import thread_environment
from coterie.plaintext.cluster import environments_of, run_plain_cluster
from tests.conftest import REPOSITORY
from tests.system.conftest import coterie, environment

EXAMPLES = REPOSITORY / "examples" / "tensorflow"
PROGRAMS = Path(__file__).parents[1] / "tensorflow" / "programs"
CONTRACT, DLRM = EXAMPLES / "federated.toml", EXAMPLES / "dlrm_between_graph.py"
SECONDS = 240.0  # TensorFlow's start on a busy machine, among others


class ClusterNode:
    """One attested node of a cluster, started by itself, as its owner starts it.

    Args:
        contract: The contract's file.
        name: The node.
        program: What it runs.
        key: Its party's key; None: the options name a key server.
        options: More options of ``coterie tensorflow node``.
        arguments: The program's.
        supervised: Whether it ends when its standard input does.

    Attributes:
        process: Its process.
    """

    def __init__(
        self,
        contract: Path,
        name: str,
        program: Path,
        *,
        key: Path | None,
        options: Sequence[str] = (),
        arguments: Sequence[str] = (),
        supervised: bool = True,
    ) -> None:
        self.name = name
        vouching = [] if key is None else ["--party-key", str(key)]
        words = [str(contract), name, str(program), *vouching, *options]
        words += ["--log-format", "json", *(["--end-with-parent"] if supervised else [])]
        self.process = subprocess.Popen(
            [*(sys.executable, "-m", "coterie", "tensorflow", "node"), *words, "--", *arguments],
            stdin=subprocess.PIPE if supervised else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._heard: list[str] = []
        self._errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._listen, args=(self.process.stdout,)),
            threading.Thread(target=self._complain, args=(self.process.stderr,)),
        ]
        for thread in self._threads:
            thread.start()

    def event(self, kind: str) -> dict[str, object]:
        """Reads what it prints until an event of a kind comes."""
        event = json.loads(self._until(f"the event {kind}", f'"event": "{kind}"'))
        assert isinstance(event, dict)
        return event

    def printed(self, text: str) -> str:
        """Reads what it prints until the program's line with a text comes."""
        return self._until(f"a line with {text!r}", text, events=False)

    def rest(self) -> list[str]:
        """What it prints until its end, and was not read yet."""
        until, found = time.monotonic() + SECONDS, []
        while (line := self._next(until, "its end")) is not None:
            found.append(line)
        self.process.wait(SECONDS)
        return found

    def said(self) -> list[str]:
        """The same, and what it wrote to standard error behind it."""
        return [*self.rest(), *self.errors()]

    def errors(self) -> list[str]:
        """What it has written to standard error until its end."""
        self.process.wait(SECONDS)
        self._threads[1].join()
        return self._errors

    def close(self) -> None:
        """Kills it."""
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _until(self, what: str, text: str, *, events: bool = True) -> str:
        until = time.monotonic() + SECONDS
        while (line := self._next(until, what)) is not None:
            if text in line and (events or '"event": ' not in line):
                return line
        pytest.fail(f"{self.name} ended before {what}: {self._last()}")

    def _next(self, until: float, what: str) -> str | None:
        try:
            line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            pytest.fail(f"{self.name} was waited for in vain for {what}: {self._last()}")
        if line is not None:
            self._heard.append(line)
        return line

    def _last(self) -> str:
        return "\n".join([*self._heard[-10:], *self._errors[-20:]])

    def _listen(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _complain(self, stream: IO[str]) -> None:
        self._errors.extend(line.rstrip("\n") for line in stream)


def said_plainly(program: Path, *arguments: str) -> list[str]:
    """What all nodes of the example printed as stock TensorFlow, each line behind its node's name."""
    lines: list[str] = []
    with TemporaryDirectory() as folder:
        run_plain_cluster(
            load_contract(CONTRACT),
            program,
            arguments,
            Path(folder),
            printed=lambda node, line: lines.append(f"{node}: {line}"),
        )
    return lines


@contextmanager
def serving_plainly(*names: str) -> Iterator[list[str]]:
    """Nodes of the example as servers of stock TensorFlow, which do what they are asked; gives their addresses."""
    contract = load_contract(CONTRACT)
    environments = environments_of(contract)
    addresses, running = [], []
    try:
        for name in names:
            config = json.loads(environments[name]["TF_CONFIG"])
            task = config["task"]
            addresses.append(config["cluster"][task["type"]][task["index"]])
            command = [sys.executable, str(PROGRAMS / "serving.py")]
            own = {**thread_environment(contract), **environments[name]}
            running.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, env=own))
        yield addresses
    finally:
        for process in running:
            process.kill()
            process.wait()


def said_attested(contract: Path, program: Path, *arguments: str) -> tuple[list[str], str]:
    """What all nodes printed, each line behind its node's name; and all that was told."""
    finished = coterie("tensorflow", "run", contract, program, "--", *arguments)
    assert finished.returncode == 0, finished.stderr[-4000:]
    told = finished.stdout + finished.stderr
    return told.splitlines(), told
