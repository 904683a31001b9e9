"""What ``coterie tensorflow`` costs: a cluster in plaintext and an attested one, in turn.

Both clusters are up all the time, and one of them stands still (SIGSTOP) while the other trains, a second
each: what else the machine does slows both, so the ratio of two neighbouring seconds means something.

    python -m benchmarks.clusters [--pairs 40] [--batch 128] [--every 20]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from coterie.contract import Contract, load_contract
from coterie.plaintext import cluster

_SECONDS_TO_END = 20
_PARTS = 2  # per turn
_EXAMPLES = Path(__file__).parents[1] / "examples" / "tensorflow"
_CLUSTER, _PROGRAM = _EXAMPLES / "cluster.toml", _EXAMPLES / "dlrm_in_graph.py"


def run_plain_cluster(contract: Contract, program: Path, arguments: list[str]) -> list[str]:
    """Runs a plain cluster until the chief has ended, or in mode hfl the workers.

    Args:
        contract: Names the nodes.
        program: What every node runs.
        arguments: Its arguments.

    Returns:
        What the chief printed, line by line; in mode hfl the workers, one after the other.

    Raises:
        NodeFailed: A node's program failed.
    """
    said: dict[str, list[str]] = {}
    with TemporaryDirectory(prefix="coterie-plain-") as folder:
        cluster.run_plain_cluster(
            contract,
            program,
            arguments,
            Path(folder),
            printed=lambda node, line: said.setdefault(node, []).append(line),
        )
    return [line for node in contract.data_owners() for line in said.get(node.name, [])]


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
            if " loss " in line:
                self.losses.append(line)
                if len(self.losses) % self._every == 0:
                    return
        raise RuntimeError("a cluster has ended: run its example by hand to see why")

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def in_turn(one: Side, other: Side, pairs: int) -> list[tuple[float, float]]:
    """Lets two clusters train in turn; returns the seconds per step of both, pair by pair."""
    one.warm_up()
    other.warm_up()
    return [(one.seconds_per_step(_PARTS), other.seconds_per_step(_PARTS)) for _ in range(pairs)]


def compared(
    pairs: list[tuple[float, float]], workers: int, batch: int, one: str, other: str
) -> str:
    """A line with the median ratio of pairs.

    Args:
        pairs: As ``in_turn`` returns them.
        workers: Number of workers.
        batch: Examples of a worker in a step.
        one: What the first of each pair is.
        other: What the second is.
    """
    low, middle, high = quantiles((slower / faster for faster, slower in pairs), n=4)
    examples = [workers * batch / median(side) for side in zip(*pairs, strict=True)]
    return (
        f"{workers} x {batch}: {middle:.3f}x, median of {len(pairs)} pairs "
        f"(half of them between {low:.3f} and {high:.3f}); "
        f"{one} {examples[0]:.0f} examples/s, {other} {examples[1]:.0f}\n"
    )


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
        with TemporaryDirectory(prefix="coterie-plain-") as folder:
            cluster.run_plain_cluster(
                load_contract(_CLUSTER),
                _PROGRAM,
                arguments,
                Path(folder),
                printed=lambda node, line: print(line, flush=True) if node == "chief" else None,
            )
        return
    own = [sys.executable, "-m", "benchmarks.clusters", *sys.argv[1:], "--plain"]
    coterie = [sys.executable, "-m", "coterie", "tensorflow", "run", str(_CLUSTER), str(_PROGRAM)]
    with ExitStack() as stack:
        plain, attested = (
            stack.enter_context(closing(Side(command, options.every)))
            for command in (own, [*coterie, "--", *arguments])
        )
        pairs = in_turn(plain, attested, options.pairs)
        for one, other in zip(plain.losses, attested.losses, strict=False):
            if one != other:
                raise RuntimeError(f"the losses differ: plain {one}, attested {other}")
    sys.stdout.write(compared(pairs, 2, options.batch, "plain", "attested"))


if __name__ == "__main__":
    main()
