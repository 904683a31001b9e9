"""A TensorFlow cluster in plaintext, as stock TensorFlow runs it: the measure for ``coterie tensorflow``.

On loopback only. The program and its TF_CONFIG are the same, but for the addresses. Both clusters are up all
the time, and one of them stands still (SIGSTOP) while the other trains, a second each: what else the machine does
slows both, so the ratio of two neighbouring seconds means something.

    python -m benchmarks.clusters [--pairs 40] [--batch 128] [--every 20]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from statistics import median, quantiles

from coterie.contract import Contract, load_contract
from coterie.nodes.children import thread_environment
from coterie.tensorflow.cluster import tf_config

_SECONDS = 600
_SECONDS_TO_END = 20
_PARTS = 2  # per turn
_EXAMPLES = Path(__file__).parents[1] / "examples" / "tensorflow"
_CLUSTER, _PROGRAM = _EXAMPLES / "cluster.toml", _EXAMPLES / "dlrm_in_graph.py"


@contextmanager
def plain_cluster(
    contract: Contract, program: Path, arguments: list[str], chiefs: int | None
) -> Iterator[subprocess.Popen[str]]:
    """Runs every node of a contract as plain TensorFlow, for the length of a block.

    Args:
        contract: Names the nodes; nothing else of it counts.
        program: What they run.
        arguments: Its arguments.
        chiefs: Where the chief's output goes, as ``subprocess`` has it; all else goes nowhere.

    Yields:
        The chief.
    """
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in contract.nodes
        ]
        real = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in sockets]
    environment = thread_environment(contract)
    running: dict[str, subprocess.Popen[str]] = {}
    try:
        for node in contract.nodes:
            config = tf_config(contract, node)
            for i, address in enumerate(real):
                config = config.replace(json.dumps(f"239.67.0.{i}:2222"), json.dumps(address))
            running[node.role if node.role == "chief" else node.name] = subprocess.Popen(
                [sys.executable, str(program), *arguments],
                stdout=chiefs if node.role == "chief" else subprocess.DEVNULL,
                stderr=chiefs if node.role == "chief" else subprocess.DEVNULL,
                text=True,
                env={**environment, "TF_CONFIG": config},
            )
        yield running["chief"]
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


def run_plain_cluster(contract: Contract, program: Path, arguments: list[str]) -> list[str]:
    """Runs a plain cluster until the chief has ended.

    Args:
        contract: As in ``plain_cluster``.
        program: What every node runs.
        arguments: Its arguments.

    Returns:
        What the chief printed, line by line.

    Raises:
        RuntimeError: The chief's program failed.
    """
    with plain_cluster(contract, program, arguments, subprocess.PIPE) as chief:
        said, errors = chief.communicate(timeout=_SECONDS)
        if chief.returncode:
            raise RuntimeError(errors[-2000:])
        return said.splitlines()


class Side:
    """A cluster that trains when it is told to, and stands still otherwise.

    Args:
        command: Starts it; all of its processes must stay in one group.
        every: Steps between two of the moments that count.
    """

    def __init__(self, command: list[str], every: int) -> None:
        self._every = every
        self.losses: list[str] = []
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def warm_up(self) -> None:
        """Waits until it trains, and stops it."""
        self._part()
        self._signal(signal.SIGSTOP)

    def seconds_per_step(self, parts: int) -> float:
        """Trains for some parts, and the rest of the one that it was stopped in before."""
        self._signal(signal.SIGCONT)
        self._part()
        began = time.monotonic()
        for _ in range(parts):
            self._part()
        taken = time.monotonic() - began
        self._signal(signal.SIGSTOP)
        return taken / (parts * self._every)

    def close(self) -> None:
        """Ends it, as Ctrl-C does: so it removes its files; what does not end by that is killed."""
        self._process.send_signal(signal.SIGINT)
        self._signal(signal.SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=_SECONDS_TO_END)
        self._signal(signal.SIGKILL)
        self._process.communicate()

    def _part(self) -> None:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("step "):
                self.losses.append(line)
                if len(self.losses) % self._every == 0:
                    return
        raise RuntimeError("a cluster has ended: run its example by hand to see why")

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def main() -> None:
    """Runs the in-graph example plain and attested, a second each in turn, and prints the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument(
        "--every", type=int, default=20, help="steps between two glances at a clock"
    )
    parser.add_argument("--plain", action="store_true", help="be the plain cluster")
    options = parser.parse_args()
    arguments = ["--steps", str(10**6)]
    arguments += ["--every", str(options.every), "--batch", str(options.batch)]
    if options.plain:
        with plain_cluster(load_contract(_CLUSTER), _PROGRAM, arguments, None) as chief:
            chief.wait()
        return
    own = [sys.executable, "-m", "benchmarks.clusters", *sys.argv[1:], "--plain"]
    coterie = [sys.executable, "-m", "coterie", "tensorflow", "run", str(_CLUSTER), str(_PROGRAM)]
    with ExitStack() as stack:
        plain, attested = (
            stack.enter_context(closing(Side(command, options.every)))
            for command in (own, [*coterie, "--", *arguments])
        )
        plain.warm_up()
        attested.warm_up()
        pairs = [
            (plain.seconds_per_step(_PARTS), attested.seconds_per_step(_PARTS))
            for _ in range(options.pairs)
        ]
        for one, other in zip(plain.losses, attested.losses, strict=False):
            if one != other:
                raise RuntimeError(f"the losses differ: plain {one}, attested {other}")
    ratios = sorted(slower / faster for faster, slower in pairs)
    low, middle, high = quantiles(ratios, n=4)
    examples = [2 * options.batch / median(side) for side in zip(*pairs, strict=True)]
    sys.stdout.write(
        f"2 x {options.batch}: {middle:.3f}x, median of {len(ratios)} pairs "
        f"(half of them between {low:.3f} and {high:.3f}); "
        f"plain {examples[0]:.0f} examples/s, attested {examples[1]:.0f}\n"
    )


if __name__ == "__main__":
    main()
