"""What counting scores costs and how exact it is: ``python -m benchmarks.counting``.

Two tables: AUC of scores that lie ever nearer to each other, from 8,192 equal bins of logits from -16 to 16
and as owners count; then time, bytes and errors by the number of one owner's scores. Only times differ
from run to run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TypeVar

import numpy as np

from coterie.arrays import FloatArray
from coterie.metrics.binary import roc_auc
from coterie.metrics.groups import auc_of_groups
from coterie.metrics.histogram import ScoreHistogram
from coterie.metrics.released import ReleasedScores
from coterie.ps.core.disclosure import Disclosure
from coterie.ps.core.evaluation import SplitCounts

Made = TypeVar("Made")

SPREADS = (1.1, 2.0**-6, 2.0**-8, 2.0**-9, 2.0**-10, 1e-6)
SIZES = (2_000, 25_000, 100_000, 1_000_000)
_BINS, _BOUND = 8192, 16.0
_MINIMUM = 100


def clicks(examples: int, spread: float = 1.1) -> tuple[FloatArray, FloatArray]:
    """Logits of a fair model around a fifth of clicks, with this standard deviation, and labels."""
    random = np.random.default_rng(0)
    logits = random.normal(-1.4, 1.1, examples)
    labels = random.random(examples) < 1 / (1 + np.exp(-logits))
    near = (logits + 1.4) * spread / 1.1 - 1.4
    return near.astype(np.float32), labels.astype(np.float32)


def worst(examples: int) -> tuple[FloatArray, FloatArray]:
    """All positives above all negatives, within half a bin."""
    logits = np.linspace(0, _BOUND / _BINS, examples, dtype=np.float32)
    return logits, (np.arange(examples) >= examples // 2).astype(np.float32)


def equal_bins(logits: FloatArray, labels: FloatArray) -> float | None:
    """AUC of scores in equal bins of logits."""
    places = np.floor((np.clip(logits, -_BOUND, _BOUND) + _BOUND) * (_BINS / (2 * _BOUND)))
    bins = np.minimum(places, _BINS - 1).astype(np.int64)
    return auc_of_groups(
        np.bincount(bins[labels == 1], minlength=_BINS),
        np.bincount(bins[labels == 0], minlength=_BINS),
    )


def quickest(make: Callable[[], Made], times: int = 5) -> tuple[Made, float]:
    """What it makes, and in how many milliseconds."""
    took: list[float] = []
    for _ in range(times):
        began = perf_counter()
        made = make()
        took.append(1000 * (perf_counter() - began))
    return made, min(took)


def exactness() -> Iterator[str]:
    """Lines of the first table."""
    yield "| scores of 25,000 rows | exact AUC | equal bins | as counted |"
    yield "|---|---:|---:|---:|"
    for spread in (*SPREADS, None):
        logits, labels = clicks(25_000, spread) if spread else worst(25_000)
        name = f"standard deviation {spread:.3g}" if spread else "within half a bin, in order"
        exact, binned = roc_auc(logits, labels) or 0.0, equal_bins(logits, labels) or 0.0
        counted = ScoreHistogram.count(logits, labels).metrics().auc or 0.0
        yield f"| {name} | {exact:.6f} | {binned - exact:+z.6f} | {counted - exact:+z.6f} |"


def costs() -> Iterator[str]:
    """Lines of the second table."""
    yield (
        "| scores | groups | ms to count | ms to read | bytes | bound on AUC | off by | "
        "bins released | bound on the curve's area |"
    )
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    for size in SIZES:
        logits, labels = clicks(size)
        counted, took = quickest(
            lambda logits=logits, labels=labels: ScoreHistogram.count(logits, labels).coarsened()  # type: ignore[misc]
        )
        sent = SplitCounts("test", counted).to_wire()
        _, reading = quickest(lambda sent=sent: SplitCounts.from_wire(sent))  # type: ignore[misc]
        released = ReleasedScores.of([counted], Disclosure(_MINIMUM, 1).allows)
        off = abs((released.auc or 0.0) - (roc_auc(logits, labels) or 0.0))
        yield (
            f"| {size:,} | {len(counted.starts):,} | {took:.1f} | {reading:.2f} | "
            f"{sent.ByteSize():,} | {released.auc_error or 0.0:.1e} | {off:.1e} | "
            f"{len(released.positives):,} | {released.curve_error:.4f} |"
        )


def main() -> None:
    """Prints both tables, in Markdown."""
    argparse.ArgumentParser(prog="python -m benchmarks.counting", description=__doc__).parse_args()
    for line in (*exactness(), "", *costs()):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
