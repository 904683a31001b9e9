"""Cases with real processes: nodes are killed by SIGKILL and started again."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from coterie.contract import Node
from coterie.errors import NodeMissing
from coterie.trained import MODEL_NAME, TrainedModel
from faults.plan import Case
from faults.relay import Relay
from faults.scene import Scene

_STEP_WAIT_SECONDS = 120.0
_END_SECONDS = 240.0


class CaseFailed(Exception):
    """A case did not end as it must."""


class Nodes:
    """The processes of one run, and what they say.

    Args:
        scene: Contract, data and keys.
        folder: Of the run.
        relayed: Whether connections go through relays, so that they can be hurt.
    """

    def __init__(self, scene: Scene, folder: Path, *, relayed: bool = False) -> None:
        self._scene = scene
        self._folder = folder
        self._changed = threading.Condition()
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._threads: list[threading.Thread] = []
        self._steps = 0
        self._digest: str | None = None
        contract = scene.contract
        listening = [n.name for n in contract.nodes if n.role == "ps"]
        if contract.mode == "sdt":
            listening += [node.name for node in contract.by_role("worker")]
        self._listen_at = dict(zip(listening, free_addresses(len(listening)), strict=True))
        self._dial_at = dict(self._listen_at)
        self.relays: list[Relay] = []
        if relayed:
            for place, (name, address) in enumerate(self._listen_at.items()):
                port = int(address.rpartition(":")[2])
                host = f"127.0.1.{place + 1}"
                self.relays.append(Relay((port, port + 1), host=host))
                self._dial_at[name] = f"{host}:{port}"

    def start(self, node: Node) -> None:
        """Starts a node's process."""
        home = self._folder / node.name
        home.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "coterie", "node", str(self._scene.file), node.name]
        command += ["--out", str(home), "--log-format", "json", "--end-with-parent"]
        command += ["--party-key", str(self._scene.keys[node.party])]
        for name, address in self._dial_at.items():
            if name == node.name:
                command += ["--listen", self._listen_at[name]]
            else:
                command += ["--address", f"{name}={address}"]
        if node in self._scene.contract.data_owners():
            command += ["--data", str(self._scene.data / node.party)]
        with (home / "stderr.log").open("a") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        self._processes[node.name] = process
        thread = threading.Thread(target=self._listen, args=(process, home / "events.jsonl"))
        thread.start()
        self._threads.append(thread)

    def wait_steps(self, count: int) -> bool:
        """Waits until so many more steps are done; False if the run ended first."""
        with self._changed:
            target = self._steps + count
            self._changed.wait_for(
                lambda: self._steps >= target or self._digest is not None, _STEP_WAIT_SECONDS
            )
            if self._steps < target and self._digest is None:
                raise CaseFailed(f"no progress for {_STEP_WAIT_SECONDS:g} s: {self.last_words()}")
            return self._digest is None

    def kill(self, name: str) -> bool:
        """Ends a node at once; False if it has done its part and ended by itself."""
        process = self._processes[name]
        if process.poll() == 0:
            return False
        process.kill()
        process.wait()
        return True

    def finish(self) -> str:
        """Waits until every node has ended well; the model's digest."""
        deadline = time.monotonic() + _END_SECONDS
        for name, process in self._processes.items():
            try:
                code = process.wait(max(1.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise CaseFailed(f"node {name} does not end: {self.last_words()}") from None
            if code:
                raise CaseFailed(f"node {name} ended with {code}: {self.last_words()}")
        for thread in self._threads:
            thread.join()
        if self._digest is None:
            raise CaseFailed("no node told a result")
        for node in self._scene.contract.model_recipients():
            model = TrainedModel.read(self._folder / node.name / MODEL_NAME)
            if model.digest.hex() != self._digest:
                raise CaseFailed(f"{node.name} keeps model {model.digest.hex()}")
        return self._digest

    def memory(self) -> dict[str, int]:
        """Bytes of its own that each node holds in memory (proc_pid_status(5), ``RssAnon``)."""
        held = {}
        for name, process in self._processes.items():
            status = Path(f"/proc/{process.pid}/status").read_text()
            (line,) = [line for line in status.splitlines() if line.startswith("RssAnon")]
            held[name] = int(line.split()[1]) << 10
        return held

    @property
    def listening(self) -> tuple[str, ...]:
        """The nodes that others dial, in the order of their relays."""
        return tuple(self._listen_at)

    def expect_failure(self, removed: str) -> None:
        """Waits until every other node has ended with an error, and one has named the removed one."""
        deadline = time.monotonic() + _END_SECONDS
        for name, process in self._processes.items():
            if name == removed:
                continue
            try:
                code = process.wait(max(1.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise CaseFailed(f"node {name} does not end: {self.last_words()}") from None
            if code != NodeMissing.exit_code:
                raise CaseFailed(f"node {name} ended with {code}: {self.last_words()}")
        said = [
            (self._folder / name / "stderr.log").read_text(errors="replace")
            for name in self._processes
            if name != removed
        ]
        if not any(removed in text for text in said):
            raise CaseFailed(f"nobody names {removed}: {self.last_words()}")

    def close(self) -> None:
        """Ends every process that is left."""
        for process in self._processes.values():
            process.kill()
            process.wait()
        for thread in self._threads:
            thread.join()
        for relay in self.relays:
            relay.close()

    def last_words(self) -> str:
        """The end of every node's error output."""
        words = []
        for path in sorted(self._folder.glob("*/stderr.log")):
            lines = path.read_text(errors="replace").strip().splitlines()
            words.append(f"{path.parent.name}: {lines[-1][:300] if lines else 'nothing'}")
        return "; ".join(words)

    def _listen(self, process: subprocess.Popen[str], log: Path) -> None:
        if process.stdout is None:
            raise AssertionError
        with process.stdout, log.open("a") as kept:
            for line in process.stdout:
                kept.write(line)
                kept.flush()
                event = json.loads(line)
                with self._changed:
                    self._steps += event["event"] == "StepDone"
                    if event["event"] == "Finished":
                        self._digest = event["result"]["model_digest"]
                    self._changed.notify_all()


@contextmanager
def running_nodes(scene: Scene, folder: Path, *, relayed: bool = False) -> Iterator[Nodes]:
    """Every node of a scene, started; what is left of them is ended."""
    nodes = Nodes(scene, folder, relayed=relayed)
    try:
        for node in scene.contract.nodes:
            nodes.start(node)
        yield nodes
    finally:
        nodes.close()


def run_with_kills(case: Case, scene: Scene, folder: Path) -> tuple[str, list[str]]:
    """Runs a case; its model's digest, and the nodes that were killed.

    Raises:
        CaseFailed: A node hung or ended with an error.
    """
    nodes = scene.contract.nodes
    killed: list[str] = []
    with running_nodes(scene, folder) as running:
        for kill in case.kills:
            if not running.wait_steps(kill.after_steps):
                break
            node = nodes[kill.node % len(nodes)]
            if running.kill(node.name):
                killed.append(node.name)
                time.sleep(kill.pause_seconds)  # the fault itself: the node stays away
                running.start(node)
        return running.finish(), killed


def run_with_hurt_lines(case: Case, scene: Scene, folder: Path) -> tuple[str, list[str]]:
    """Runs a case; its model's digest, and what happened to connections.

    Raises:
        CaseFailed: A node hung or ended with an error.
    """
    happened: list[str] = []
    with running_nodes(scene, folder, relayed=True) as running:
        for fault in case.lines:
            if not running.wait_steps(fault.after_steps):
                break
            place = fault.node % len(running.relays)
            relay = running.relays[place]
            (relay.cut if fault.kind == "cut" else relay.stall)()
            happened.append(f"{fault.kind} {list(running.listening)[place]}")
        return running.finish(), happened


def run_without(case: Case, scene: Scene, folder: Path) -> str:
    """Runs a case in which a node goes away for good; that node's name.

    Raises:
        CaseFailed: The run did not end with errors of which one names the node.
    """
    if case.removed is None:
        raise AssertionError
    nodes = scene.contract.nodes
    node = nodes[case.removed.node % len(nodes)]
    with running_nodes(scene, folder) as running:
        if not running.wait_steps(case.removed.after_steps) or not running.kill(node.name):
            raise CaseFailed(f"the run was over before {node.name} could be removed")
        running.expect_failure(node.name)
    return node.name


def free_addresses(count: int) -> list[str]:
    """Loopback addresses whose port and the next one are free: a node listens on both."""
    found: list[str] = []
    with ExitStack() as stack:
        while len(found) < count:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            second = stack.enter_context(socket.socket())
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            found.append(f"127.0.0.1:{port}")
    return found
