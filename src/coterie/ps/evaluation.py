"""Sums of the data owners' evaluation counts, released only over enough examples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coterie.errors import MessageRefused
from coterie.ps.wire import ps_pb2 as pb

CountArray = npt.NDArray[np.int64]
SPLITS = ("validation", "test")
MAX_BINS = 1 << 16


@dataclass(frozen=True)
class EvaluationCounts:
    """Counts over one split; nothing of a single example is in them.

    Attributes:
        split: ``validation`` or ``test``.
        positives: Examples with label 1 per score bin, int64 [bins].
        negatives: Examples with label 0 per score bin, int64 [bins].
        loss_sum: Sum of the examples' log losses.
        prediction_sum: Sum of the predicted probabilities.
        correct: Examples on whose label the prediction at 0.5 agrees.
    """

    split: str
    positives: CountArray
    negatives: CountArray
    loss_sum: float
    prediction_sum: float
    correct: int

    @property
    def examples(self) -> int:
        """Number of examples counted."""
        return int(self.positives.sum() + self.negatives.sum())

    def __add__(self, other: EvaluationCounts) -> EvaluationCounts:
        return EvaluationCounts(
            self.split,
            self.positives + other.positives,
            self.negatives + other.negatives,
            self.loss_sum + other.loss_sum,
            self.prediction_sum + other.prediction_sum,
            self.correct + other.correct,
        )

    def to_wire(self) -> pb.EvaluationCounts:
        """Encodes the counts."""
        return pb.EvaluationCounts(
            split=self.split,
            positives=self.positives.astype("<i8").tobytes(),
            negatives=self.negatives.astype("<i8").tobytes(),
            loss_sum=self.loss_sum,
            prediction_sum=self.prediction_sum,
            correct=self.correct,
        )

    @staticmethod
    def from_wire(message: pb.EvaluationCounts) -> EvaluationCounts:
        """Decodes and bounds counts.

        Raises:
            MessageRefused: Not such counts.
        """
        positives, negatives = _counts(message.positives), _counts(message.negatives)
        counts = EvaluationCounts(
            message.split,
            positives,
            negatives,
            message.loss_sum,
            message.prediction_sum,
            message.correct,
        )
        sane = (
            message.split in SPLITS
            and positives.size == negatives.size
            and math.isfinite(message.loss_sum)
            and 0 <= message.prediction_sum <= counts.examples
            and message.correct <= counts.examples
        )
        if not sane:
            raise _refused("counts of one split, consistent in themselves", "other values")
        return counts


def _counts(octets: bytes) -> CountArray:
    if len(octets) % 8 or not 0 < len(octets) <= 8 * MAX_BINS:
        raise _refused(f"1 to {MAX_BINS} int64 bins", f"{len(octets)} bytes")
    counts = np.frombuffer(octets, "<i8")
    if counts.min() < 0 or counts.max() > 2**40:
        raise _refused("counts from 0 to 2^40", f"{counts.min()} to {counts.max()}")
    return counts


def _refused(expected: str, seen: str) -> MessageRefused:
    return MessageRefused(
        "evaluation counts are out of bounds",
        expected=expected,
        seen=seen,
        remedy="run the same version of Coterie on all nodes",
    )


class EvaluationTotals:
    """Collects one report per data owner and adds them in contract order.

    Args:
        owners: Names of the nodes that report, in contract order.
        minimum: A total over fewer examples is withheld.
    """

    def __init__(self, owners: tuple[str, ...], minimum: int) -> None:
        self._owners = owners
        self._minimum = minimum
        self._reports: dict[str, tuple[EvaluationCounts, ...]] = {}

    @property
    def missing(self) -> tuple[str, ...]:
        """Owners that have not reported yet."""
        return tuple(owner for owner in self._owners if owner not in self._reports)

    def add(self, owner: str, counts: tuple[EvaluationCounts, ...]) -> None:
        """Takes an owner's report; a repeated one is ignored.

        Raises:
            MessageRefused: Not every split once, or other bins than the others'.
        """
        if tuple(count.split for count in counts) != SPLITS:
            raise _refused(f"the splits {SPLITS}", str(tuple(c.split for c in counts)))
        sizes = {c.positives.size for report in (*self._reports.values(), counts) for c in report}
        if len(sizes) != 1:
            raise _refused("the same bins from everybody", f"{sorted(sizes)} bins")
        self._reports.setdefault(owner, counts)

    def released(self) -> tuple[EvaluationCounts, ...]:
        """The totals of the splits that have enough examples, once nobody is missing."""
        totals: list[EvaluationCounts] = []
        for i in range(len(SPLITS)):
            reports = [self._reports[owner][i] for owner in self._owners]
            total = reports[0]
            for report in reports[1:]:
                total = total + report
            if total.examples >= self._minimum:
                totals.append(total)
        return tuple(totals)
