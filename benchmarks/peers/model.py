"""The model and the batches that every peer trains: the paper's DLRM, power-law ids."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from benchmarks.machine import cpu_seconds

NUMERIC, COLUMNS, DIM = 13, 26, 16
BOTTOM = (NUMERIC, 512, 256, 64, DIM)
INTERACTIONS = (COLUMNS + 1) * COLUMNS // 2
TOP = (DIM + INTERACTIONS, 512, 256, 1)
LEARNING_RATE = 0.01
WARM_UP_STEPS = 3
Made = TypeVar("Made")
_DISTINCT_BATCHES = 16  # made before the clock starts


@dataclass(frozen=True)
class Batch:
    """b examples: dense_bn float32, ids_bm int32 (global rows), labels_b float32."""

    dense_bn: npt.NDArray[np.float32]
    ids_bm: npt.NDArray[np.int32]
    labels_b: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Options:
    """What a peer is asked to do.

    Attributes:
        workers: Worker processes; for one process, the factor of its batch.
        batch: Examples per worker and step.
        steps: Steps per worker that are timed.
        rows: Embedding rows in all.
        variant: Of the peer.
        threads: Per process.
    """

    workers: int
    batch: int
    steps: int
    rows: int
    variant: str
    threads: int


def column_rows(rows: int) -> int:
    """Rows of each column's table."""
    return -(-rows // COLUMNS)


def batches(size: int, rows: int, seed: int) -> list[Batch]:
    """Batches to cycle through; ids as floor(rows u^4), so that few rows are asked for often."""
    random = np.random.default_rng(seed)
    each = column_rows(rows)
    offsets = np.arange(COLUMNS, dtype=np.int32) * each
    return [
        Batch(
            np.log1p(random.exponential(10.0, (size, NUMERIC))).astype(np.float32),
            (random.random((size, COLUMNS)) ** 4 * each).astype(np.int32) + offsets,
            (random.random(size) < 0.25).astype(np.float32),
        )
        for _ in range(_DISTINCT_BATCHES)
    ]


def layers() -> list[npt.NDArray[np.float32]]:
    """Initial kernels and biases: bottom, then top."""
    random = np.random.default_rng(7)
    made: list[npt.NDArray[np.float32]] = []
    for widths in (BOTTOM, TOP):
        for inputs, outputs in itertools.pairwise(widths):
            scale = np.sqrt(6.0 / (inputs + outputs))
            made.append(random.uniform(-scale, scale, (inputs, outputs)).astype(np.float32))
            made.append(np.zeros(outputs, np.float32))
    return made


def cycle(made: list[Made], steps: int) -> Iterator[Made]:
    """So many batches."""
    for step in range(steps):
        yield made[step % len(made)]


def parse(description: str | None, variants: tuple[str, ...], threads: int) -> Options:
    """Reads a peer's command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--variant", choices=variants, default=variants[0])
    parser.add_argument("--threads", type=int, default=threads)
    return Options(**vars(parser.parse_args()))


@dataclass(frozen=True)
class Spent:
    """What a training took after its first steps.

    Attributes:
        seconds: Wall time.
        server_cpu: CPU seconds of processes that only keep the model.
        worker_cpu: CPU seconds of all others.
    """

    seconds: float
    server_cpu: float
    worker_cpu: float


class Meter:
    """Measures from its making on, from the clocks that the kernel keeps of each process's CPU.

    Args:
        servers: Process ids of those that only keep the model.
        workers: Process ids of all others; by default this process.
    """

    def __init__(self, servers: Sequence[int] = (), workers: Sequence[int] | None = None) -> None:
        self._servers, self._workers = servers, (os.getpid(),) if workers is None else workers
        self._before = self._now()

    def spent(self) -> Spent:
        """What was spent since."""
        return Spent(*(now - then for now, then in zip(self._now(), self._before, strict=True)))

    def _now(self) -> tuple[float, float, float]:
        servers, workers = (
            sum(cpu_seconds(pid) for pid in pids) for pids in (self._servers, self._workers)
        )
        return time.monotonic(), servers, workers


def report(options: Options, spent: Spent, processes: int) -> None:
    """Prints the figures."""
    examples = options.workers * options.batch * options.steps
    seconds = spent.seconds
    say(
        {
            "examples_per_second": examples / seconds,
            "examples": examples,
            "seconds": seconds,
            "server_cpu_ms": 1000 * spent.server_cpu / options.steps,
            "worker_cpu_ms": 1000 * spent.worker_cpu / options.steps,
            "processes": processes,
            "variant": options.variant,
        }
    )


def say(figures: dict[str, object]) -> None:
    """Prints one JSON object."""
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()
