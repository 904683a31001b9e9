"""Counted scores in a form that may be released: adaptive bins, each over many examples.

The server's TEE holds counts of single scores, or nearly. Every dyadic line of float32's order
(``ordered``) halves one interval. A line is kept only if each half by itself holds enough examples
to be shown, and at least a share of all examples that is about the same for every bin. So every bin
holds enough. The lines are fixed, and each is kept or dropped by counts over large enough sets, so
no line's place reveals a single score. AUC and its interval are computed before binning, over all
examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from coterie.arrays import BoolArray, Int64Array
from coterie.metrics.binary import Metrics
from coterie.metrics.groups import auc_error_of_groups
from coterie.metrics.histogram import ScoreHistogram
from coterie.metrics.intervals import Interval, interval_of
from coterie.metrics.ordered import common_levels, floors, values_of
from coterie.metrics.pooling import pooled_auc

MAX_BINS = 1024
"""A bin holds at least one part in this many of all examples; more bins draw no finer curve."""

Count = Annotated[int, Field(ge=0, lt=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]

Enough = Callable[[Int64Array], BoolArray]
"""From examples by party, int64 [parties, cells], to which cells may be shown."""


class ReleasedScores(BaseModel):
    """Counts of scores in bins of about equally many examples, and values computed before binning.

    Attributes:
        edges: Logits, ascending: bin ``i`` holds those from ``edges[i - 1]`` to ``edges[i]``
            (excluded); the first and the last bin have no end.
        positives: Examples with label 1, by bin.
        negatives: Examples with label 0, by bin.
        predictions: Mean predicted probability, by bin, to 0.0005.
        loss_sum: Sum of the binary cross-entropies, in nats.
        prediction_sum: Sum of the predicted probabilities.
        correct: Examples on the right side of probability one half.
        auc: Area under the ROC curve; None unless each class by itself holds enough.
        auc_error: Largest distance of ``auc`` from that of the single scores; None likewise.
        auc_standard_error: DeLong's; None likewise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    edges: Annotated[tuple[float, ...], Field(max_length=MAX_BINS - 1)]
    positives: tuple[Count, ...]
    negatives: tuple[Count, ...]
    predictions: tuple[Share, ...]
    loss_sum: Annotated[float, Field(ge=0)]
    prediction_sum: Annotated[float, Field(ge=0)]
    correct: Count
    auc: Share | None
    auc_error: Share | None
    auc_standard_error: Annotated[float, Field(ge=0)] | None

    @model_validator(mode="after")
    def _bins_are_there(self) -> Self:
        bins = len(self.positives)
        if not len(self.negatives) == len(self.predictions) == bins == len(self.edges) + 1:
            raise ValueError("every bin needs both counts and a mean prediction, and edges between")
        if any(one >= other for one, other in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must ascend")
        return self

    @classmethod
    def of(cls, parts: Sequence[ScoreHistogram], enough: Enough | None = None) -> Self:
        """Merges and bins the counts of all parties, which together must hold enough.

        Args:
            parts: One per party.
            enough: What may be shown; without it everything may.
        """
        total = ScoreHistogram.merged(parts)
        lines = lines_that_stay(parts, total, enough)
        first = np.concatenate(([0], np.searchsorted(total.starts, lines)))
        counts = total.positives + total.negatives
        positives, negatives, examples, predicted = (
            np.add.reduceat(values, first) if len(values) else np.zeros(1, values.dtype)
            for values in (total.positives, total.negatives, counts, total.predictions() * counts)
        )
        classes = [[part.positives.sum() for part in parts], [p.negatives.sum() for p in parts]]
        shown = enough is None or bool(enough(np.array(classes, np.int64).T).all())
        interval = total.interval() if shown else None
        auc, auc_error = (pooled_auc(parts) if shown else None) or (None, None)
        return cls(
            edges=tuple(values_of(lines).tolist()),
            positives=tuple(positives.tolist()),
            negatives=tuple(negatives.tolist()),
            predictions=tuple(np.minimum(1, predicted / np.maximum(1, examples)).tolist()),
            loss_sum=total.loss_sum,
            prediction_sum=total.prediction_sum,
            correct=total.correct,
            auc=auc,
            auc_error=auc_error,
            auc_standard_error=interval.standard_error if interval is not None else None,
        )

    @property
    def examples(self) -> int:
        """Number of examples counted."""
        return sum(self.positives) + sum(self.negatives)

    @property
    def curve_error(self) -> float:
        """Largest distance of the area under a ROC curve drawn from the bins from the AUC."""
        positives, negatives = np.array([self.positives, self.negatives], np.int64)
        return auc_error_of_groups(positives, negatives, np.ones(len(positives), np.bool_))

    def interval(self) -> Interval | None:
        """AUC with its 95 % interval."""
        if self.auc is None or self.auc_standard_error is None:
            return None
        return interval_of(
            self.auc, self.auc_standard_error, sum(self.positives), sum(self.negatives)
        )

    def metrics(self) -> Metrics:
        """The metrics of all examples counted; binning affects none of them."""
        return Metrics.of_sums(
            auc=self.auc,
            auc_error=self.auc_error,
            interval=self.interval(),
            positives=sum(self.positives),
            negatives=sum(self.negatives),
            loss_sum=self.loss_sum,
            prediction_sum=self.prediction_sum,
            correct=self.correct,
        )


def lines_that_stay(
    parts: Sequence[ScoreHistogram], total: ScoreHistogram, enough: Enough | None
) -> Int64Array:
    """The dyadic lines that have enough on both sides; at most ``MAX_BINS - 1``.

    Args:
        parts: One per party.
        total: The merged parts.
        enough: What may be shown; without it everything may.

    Returns:
        int64, ascending: the first key after each line.
    """
    # Exactly one line separates two neighbours in halves: that of the smallest interval with both.
    last, next_ = (total.starts + (1 << total.levels) - 1)[:-1], total.starts[1:]
    levels = common_levels(last, next_) - 1
    lines, reach = floors(next_, levels), 1 << levels
    least = max(1, -(-total.examples // MAX_BINS))
    left, right = _halves(total, lines, reach)
    many = (left >= least) & (right >= least)
    lines, reach = lines[many], reach[many]
    if enough is None or not len(lines):
        return lines
    halves = np.array([_halves(part, lines, reach) for part in parts])
    stay = enough(halves[:, 0]) & enough(halves[:, 1])
    kept: Int64Array = lines[stay]
    return kept


def _halves(
    part: ScoreHistogram, lines: Int64Array, reach: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Examples in the ``reach`` keys before each line, and in the ``reach`` keys from it on."""
    before = np.concatenate(([0], np.cumsum(part.positives + part.negatives)))
    low, middle, high = (
        before[np.searchsorted(part.starts, keys)] for keys in (lines - reach, lines, lines + reach)
    )
    return middle - low, high - middle
