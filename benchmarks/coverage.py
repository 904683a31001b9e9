"""How often the 95 % intervals of AUCs hold the truth: ``python -m benchmarks.coverage``.

Draws test sets whose true AUC is known, and counts the intervals that hold it: of an AUC, and of the
difference of two models on the same rows. Beside each stands the interval that is the value plus and minus
1.96 of DeLong's standard errors. The same arguments give the same table.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist, median
from typing import Literal, get_args

import numpy as np

from coterie.arrays import Float64Array
from coterie.metrics.intervals import Interval, paired_aucs

Shape = Literal["normal", "exponential", "uneven"]
SIZES = ((5, 5), (5, 500), (20, 20), (20, 2000), (100, 100), (100, 2000), (500, 500))
AUCS = (0.6, 0.75, 0.9, 0.97, 0.99, 0.999)
PAIRS = ((0.75, 0.75), (0.78, 0.7), (0.95, 0.9), (0.99, 0.97))
_CORRELATION = 0.7
_QUANTILE = NormalDist().inv_cdf(0.975)


@dataclass
class Tally:
    """Of some intervals how many hold the truth, and how wide they are."""

    truth: float
    held: int = 0
    widths: tuple[float, ...] = ()

    def add(self, low: float, high: float) -> None:
        """Takes an interval."""
        self.held += low - 1e-12 <= self.truth <= high + 1e-12
        self.widths += (high - low,)

    @property
    def coverage(self) -> float:
        """The share that holds it."""
        return self.held / len(self.widths)


def plus_minus(interval: Interval, lowest: float) -> tuple[float, float]:
    """What DeLong's standard error alone gives."""
    reach = _QUANTILE * interval.standard_error
    return max(lowest, interval.value - reach), min(1.0, interval.value + reach)


def scores(
    shape: Shape, auc: float, positives: int, negatives: int, random: np.random.Generator
) -> Float64Array:
    """Scores of positives, then of negatives, whose true AUC is given."""
    if shape == "exponential":  # ratio of the means: Hanley's and McNeil's formula is exact
        drawn = random.exponential(size=positives + negatives)
        drawn[:positives] *= auc / (1 - auc)
        return drawn
    spread = 1.7 if shape == "uneven" else 1.0  # of positives, which are then of two kinds
    drawn = random.standard_normal(positives + negatives)
    drawn[:positives] *= spread
    drawn[:positives] += math.sqrt(1 + spread**2) * NormalDist().inv_cdf(auc)
    return drawn


def of_aucs(
    shape: Shape, auc: float, sizes: tuple[int, int], draws: int, seed: int
) -> tuple[Tally, Tally]:
    """Intervals of an AUC: plus and minus, and ours."""
    random, tallies = np.random.default_rng(seed), (Tally(auc), Tally(auc))
    labels = np.repeat([1.0, 0.0], sizes)
    for _ in range(draws):
        found = paired_aucs([scores(shape, auc, *sizes, random)], labels)
        assert found is not None
        (interval,) = found.aucs
        tallies[0].add(*plus_minus(interval, 0.0))
        tallies[1].add(interval.low, interval.high)
    return tallies


def of_gains(
    aucs: tuple[float, float], sizes: tuple[int, int], draws: int, seed: int
) -> tuple[Tally, Tally]:
    """Intervals of the difference of two models whose normal scores are correlated, likewise."""
    truth = aucs[0] - aucs[1]
    random, tallies = np.random.default_rng(seed), (Tally(truth), Tally(truth))
    labels = np.repeat([1.0, 0.0], sizes)
    shifts = [math.sqrt(2) * NormalDist().inv_cdf(auc) * labels for auc in aucs]
    for _ in range(draws):
        first, own = random.standard_normal((2, len(labels)))
        other = _CORRELATION * first + math.sqrt(1 - _CORRELATION**2) * own
        found = paired_aucs([first + shifts[0], other + shifts[1]], labels)
        assert found is not None
        (gain,) = found.gains
        tallies[0].add(*plus_minus(gain, -1.0))
        tallies[1].add(gain.low, gain.high)
    return tallies


def table(draws: int, seed: int) -> Iterator[str]:
    """The lines of the table."""
    head = (
        "positives",
        "negatives",
        "true AUC",
        "covered by ±",
        "by ours",
        "width of ±",
        "of ours",
    )

    def row(*cells: str | float) -> str:
        texts = [cell if isinstance(cell, str) else f"{cell:.3f}" for cell in cells]
        return f"| {' | '.join(texts)} |"

    def measured(tallies: tuple[Tally, Tally]) -> tuple[float, float, float, float]:
        before, after = tallies
        return (
            before.coverage,
            after.coverage,
            median(before.widths),
            median(after.widths),
        )

    yield row("scores", *head)
    yield row("---", *["---:"] * len(head))
    for shape in get_args(Shape):
        for sizes in SIZES:
            for auc in AUCS:
                found = measured(of_aucs(shape, auc, sizes, draws, seed))
                yield row(shape, f"{sizes[0]:,}", f"{sizes[1]:,}", f"{auc:g}", *found)
    for sizes in SIZES:
        for aucs in PAIRS:
            found = measured(of_gains(aucs, sizes, max(1, draws // 2), seed))
            yield row(
                "two models", f"{sizes[0]:,}", f"{sizes[1]:,}", f"{aucs[0]:g} - {aucs[1]:g}", *found
            )


def main() -> None:
    """Prints the table, in Markdown, row by row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--draws", type=int, default=1000, help="test sets of every row")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for line in table(options.draws, options.seed):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
