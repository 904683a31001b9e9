"""The processes of one run, and what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from coterie import errors
from coterie.contract import Contract, Node
from coterie.errors import CoterieError, NodeMissing
from coterie.trained.trained_model import MODEL_NAME, TrainedModel
from faults.loopback import free_addresses
from faults.relay import Relay
from faults.scene import Scene

_STEP_WAIT_SECONDS = 120.0
_END_SECONDS = 240.0
_RESTARTS = 5
# What a node's process may end with: an error that has a name, and no traceback (exit code 1).
_NAMED = {
    kind.exit_code
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CoterieError)
} - {1}


class CaseFailed(Exception):
    """A case did not end as it must."""


@dataclass
class _Running:
    """A node's process; it has ended once ``code`` is there."""

    node: Node
    process: subprocess.Popen[str]
    code: int | None = None


class Nodes:
    """The processes of one run.

    Args:
        scene: Contract, data and keys.
        folder: Of the run.
        relayed: Whether connections go through relays, so that they can be hurt.
    """

    def __init__(self, scene: Scene, folder: Path, *, relayed: bool = False) -> None:
        self._scene = scene
        self._folder = folder
        self._changed = threading.Condition()
        self._running: dict[str, _Running] = {}
        self._threads: list[threading.Thread] = []
        self._steps = 0
        self._reasons: list[str] = []
        self._digest: str | None = None
        listening = listening_nodes(scene.contract)
        self._listen_at = dict(zip(listening, free_addresses(len(listening)), strict=True))
        self._dial_at = dict(self._listen_at)
        self.relays: list[Relay] = []
        if relayed:
            for place, (name, address) in enumerate(self._listen_at.items()):
                port = int(address.rpartition(":")[2])
                host = f"127.0.1.{place + 1}"
                self.relays.append(Relay((port, port + 1), host=host))
                self._dial_at[name] = f"{host}:{port}"

    def home(self, name: str) -> Path:
        """The folder of a node."""
        return self._folder / name

    def address(self, name: str) -> str:
        """Where others dial a node."""
        return self._dial_at[name]

    def start(
        self, node: Node, launcher: Sequence[str] = ("coterie",), *, name: str = "", home: str = ""
    ) -> None:
        """Starts a node's process.

        Args:
            node: Which one.
            launcher: The module that is started, and its arguments before ``node``.
            name: What the process is called here, where it is not the only one of the node.
            home: The name of its folder, where it is not the node's own.
        """
        name = name or node.name
        out = self.home(home or node.name)
        out.mkdir(exist_ok=True)
        command = [sys.executable, "-m", *launcher, "node", str(self._scene.file), node.name]
        command += ["--out", str(out), "--log-format", "json", "--end-with-parent"]
        command += ["--party-key", str(self._scene.keys[node.party])]
        for peer, address in self._dial_at.items():
            if peer == node.name:
                command += ["--listen", self._listen_at[peer]]
            else:
                command += ["--address", f"{peer}={address}"]
        if node in self._scene.contract.data_owners():
            command += ["--data", str(self._scene.data / node.party)]
        with self._said_by(name).open("a") as errors_of_it:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors_of_it,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        running = _Running(node, process)
        with self._changed:
            self._running[name] = running
        thread = threading.Thread(target=self._listen, args=(running, f"{name}.events.jsonl"))
        thread.start()
        self._threads.append(thread)

    def start_again(self, name: str) -> None:
        """Starts a node that has ended; once a server has, too, the run is over: then all that have ended."""
        over = any(run.code is not None for run in self._running.values() if run.node.role == "ps")
        again = [
            run.node
            for other, run in self._running.items()
            if other == name or (over and run.code is not None)
        ]
        for node in again:
            self.start(node)

    def process(self, name: str) -> subprocess.Popen[str]:
        """The newest process of a name."""
        return self._running[name].process

    def wait_steps(self, count: int) -> bool:
        """Waits until so many more steps are done; False if the run ended first."""
        with self._changed:
            target = self._steps + count
            self._wait(
                lambda: self._steps >= target or self._digest is not None,
                _STEP_WAIT_SECONDS,
                "no progress",
            )
            return self._digest is None

    def wait_trouble(self, reason: str = "", *, besides: str = "") -> None:
        """Waits until all processes ended, one with an error, or a node says that it waits from now on.

        Args:
            reason: What is part of the reason that the node gives.
            besides: A process whose end is not waited for.
        """

        def seen() -> bool:
            codes = [running.code for name, running in self._running.items() if name != besides]
            waits = any(reason in said for said in self._reasons[before:])
            return waits or any(codes) or None not in codes

        with self._changed:
            before = 0 if reason else len(self._reasons)
            self._wait(seen, _END_SECONDS, "neither an end nor a word")

    def kill(self, name: str) -> bool:
        """Ends a node at once; False if it has done its part and ended by itself."""
        process = self.process(name)
        if process.poll() == 0:
            return False
        process.kill()
        process.wait()
        return True

    def wait_killed(self, name: str) -> bool:
        """Waits until a process has ended by SIGKILL, which it may have sent itself; False if it ended well.

        Raises:
            CaseFailed: It ended otherwise.
        """
        code = self._wait_end(name)
        if code not in (0, -signal.SIGKILL):
            raise CaseFailed(f"{name} ended with {code}: {self.last_words()}")
        return code != 0

    def finish(self, *, besides: str = "", homes: Mapping[str, str] = MappingProxyType({})) -> str:
        """Waits until every node has ended well; the model's digest.

        Args:
            besides: A process that needs not.
            homes: Where a node's model is, if not in its own folder.
        """
        for name in self._running:
            if name != besides and (code := self._wait_end(name)):
                raise CaseFailed(f"node {name} ended with {code}: {self.last_words()}")
        return self._result(homes)

    def finish_restarting(self) -> tuple[str, list[str]]:
        """As ``finish``, but a node that ends with a named error is started again, undisturbed.

        Returns:
            The model's digest, and who was started again.

        Raises:
            CaseFailed: A node ended by a traceback, again and again, or not at all.
        """
        restarted: list[str] = []
        while True:
            with self._changed:
                self._wait(
                    lambda: (
                        any(run.code for run in self._running.values())
                        or None not in [run.code for run in self._running.values()]
                    ),
                    _END_SECONDS,
                    "nodes do not end",
                )
                failed = [name for name, run in self._running.items() if run.code]
            if not failed:
                return self._result(), restarted
            for name in failed:
                self.check_named(name)
                restarted.append(name)
                if restarted.count(name) > _RESTARTS:
                    raise CaseFailed(f"{name} ended {_RESTARTS} times: {self.last_words()}")
                self.start_again(name)

    def check_named(self, name: str) -> None:
        """Checks that a process ended with a named error.

        Raises:
            CaseFailed: It did not, or not within the time.
        """
        code = self._wait_end(name)
        if code not in _NAMED or "Traceback" in self.said(name):
            raise CaseFailed(f"{name} ended with {code}, and no error's name: {self.last_words()}")

    def wait_any_end(self, names: Sequence[str]) -> str:
        """Waits until one of these processes has ended; its name."""

        def ended() -> str | None:
            return next((name for name in names if self._running[name].code is not None), None)

        with self._changed:
            self._wait(lambda: ended() is not None, _END_SECONDS, f"none of {names} ends")
            return ended() or ""

    def memory(self) -> dict[str, int]:
        """Bytes of its own that each node holds in memory (proc_pid_status(5), ``RssAnon``)."""
        return {
            name: status_bytes(run.process.pid, "RssAnon") for name, run in self._running.items()
        }

    @property
    def listening(self) -> tuple[str, ...]:
        """The nodes that others dial, in the order of their relays."""
        return tuple(self._listen_at)

    def expect_failure(self, removed: str) -> None:
        """Waits until every other node has ended with an error, and one has named the removed one."""
        others = [name for name in self._running if name != removed]
        for name in others:
            code = self._wait_end(name)
            if code != NodeMissing.exit_code:
                raise CaseFailed(f"node {name} ended with {code}: {self.last_words()}")
        if not any(removed in self.said(name) for name in others):
            raise CaseFailed(f"nobody names {removed}: {self.last_words()}")

    def close(self) -> None:
        """Ends every process that is left."""
        for running in self._running.values():
            running.process.kill()
            running.process.wait()
        for thread in self._threads:
            thread.join()
        for relay in self.relays:
            relay.close()

    def said(self, name: str) -> str:
        """What a process wrote to its standard error."""
        return self._said_by(name).read_text(errors="replace")

    def last_words(self) -> str:
        """The end of every node's error output."""
        words = []
        for path in sorted(self._folder.glob("*.stderr.log")):
            lines = path.read_text(errors="replace").strip().splitlines()
            words.append(f"{path.name.split('.')[0]}: {lines[-1][:300] if lines else 'nothing'}")
        return "; ".join(words)

    def _said_by(self, name: str) -> Path:
        return self._folder / f"{name}.stderr.log"

    def _wait(self, come: Callable[[], bool], seconds: float, missing: str) -> None:
        if not self._changed.wait_for(come, seconds):
            raise CaseFailed(f"{missing} for {seconds:g} s: {self.last_words()}")

    def _wait_end(self, name: str) -> int:
        with self._changed:
            running = self._running[name]
            self._wait(lambda: running.code is not None, _END_SECONDS, f"{name} does not end")
            if running.code is None:
                raise AssertionError
            return running.code

    def _result(self, homes: Mapping[str, str] = MappingProxyType({})) -> str:
        for thread in self._threads:
            thread.join()
        if self._digest is None:
            raise CaseFailed("no node told a result")
        for node in self._scene.contract.model_recipients():
            model = TrainedModel.read(self.home(homes.get(node.name, node.name)) / MODEL_NAME)
            if model.digest.hex() != self._digest:
                raise CaseFailed(f"{node.name} keeps model {model.digest.hex()}")
        return self._digest

    def _listen(self, running: _Running, log: str) -> None:
        process = running.process
        if process.stdout is None:
            raise AssertionError
        with process.stdout, (self._folder / log).open("a") as kept:
            for line in process.stdout:
                kept.write(line)
                kept.flush()
                event = json.loads(line)
                with self._changed:
                    self._steps += event["event"] == "StepDone"
                    if event["event"] == "Finished":
                        self._digest = event["result"]["model_digest"]
                    elif event["event"] == "Waiting":
                        self._reasons.append(event["reason"])
                    self._changed.notify_all()
        code = process.wait()
        with self._changed:
            running.code = code
            self._changed.notify_all()


@contextmanager
def running_nodes(
    scene: Scene,
    folder: Path,
    *,
    relayed: bool = False,
    launchers: dict[str, Sequence[str]] | None = None,
) -> Iterator[Nodes]:
    """Every node of a scene, started; what is left of them is ended.

    Args:
        scene: Contract, data and keys.
        folder: Of the run.
        relayed: Whether connections go through relays.
        launchers: What starts a node, where that is not ``coterie``.
    """
    nodes = Nodes(scene, folder, relayed=relayed)
    try:
        for node in scene.contract.nodes:
            nodes.start(node, (launchers or {}).get(node.name, ("coterie",)))
        yield nodes
    finally:
        nodes.close()


def listening_nodes(contract: Contract) -> list[str]:
    """The names of the nodes that others dial, servers first."""
    receivers = contract.by_role("worker") if contract.mode == "sdt" else ()
    return [node.name for node in (*contract.by_role("ps"), *receivers)]


def status_bytes(process: int, field: str) -> int:
    """A size that proc_pid_status(5) tells of a process, in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1]) << 10
