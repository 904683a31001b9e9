"""Counted scores as they may be shown: bins merged until each is over many examples.

Bins of a ``ScoreHistogram`` are so narrow that most of them hold a single score. Of the lines between
them only those stay that have enough on both sides: a line on which a binary subdivision of all bins
halves an interval stays where each half by itself holds enough. So every merged bin holds enough; and
as lines are fixed, and each stands or falls by counts over wide enough sets, the place of none tells
where a single score is. AUC and its interval are computed before merging: they are over all examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from coterie.models.intervals import Interval, auc_interval, interval_of
from coterie.models.metrics import HISTOGRAM_BINS, LOGIT_BOUND, Counts, Metrics, ScoreHistogram

Count = Annotated[int, Field(ge=0, lt=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]

Enough = Callable[[Counts], npt.NDArray[np.bool_]]
"""Of examples by party, int64 [parties, cells]: which cells may be shown."""


class ReleasedScores(BaseModel):
    """Counts of scores in bins of different width, and what was computed before they were merged.

    Attributes:
        edges: Bin ``i`` holds the narrow bins ``edges[i]`` to ``edges[i + 1]`` (excluded).
        positives: Examples with label 1, by bin.
        negatives: Examples with label 0, by bin.
        predictions: Mean predicted probability, by bin, to 0.0005.
        loss_sum: Sum of the binary cross-entropies, in nats.
        prediction_sum: Sum of the predicted probabilities.
        correct: Examples on the right side of probability one half.
        auc: Area under the ROC curve; None unless each class by itself holds enough.
        auc_standard_error: DeLong's; None likewise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    edges: tuple[Annotated[int, Field(ge=0, le=HISTOGRAM_BINS)], ...]
    positives: tuple[Count, ...]
    negatives: tuple[Count, ...]
    predictions: tuple[Share, ...]
    loss_sum: Annotated[float, Field(ge=0)]
    prediction_sum: Annotated[float, Field(ge=0)]
    correct: Count
    auc: Share | None
    auc_standard_error: Annotated[float, Field(ge=0)] | None

    @model_validator(mode="after")
    def _bins_are_there(self) -> Self:
        bins = len(self.positives)
        if not len(self.negatives) == len(self.predictions) == bins == len(self.edges) - 1:
            raise ValueError("every bin needs both counts, a mean prediction and two edges")
        if any(one >= other for one, other in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must ascend")
        return self

    @classmethod
    def of(cls, parts: Sequence[ScoreHistogram], enough: Enough | None = None) -> Self:
        """Merges the counts of all parties; together they must hold enough.

        Args:
            parts: One per party.
            enough: What may be shown; without it everything may, and the narrow bins stay.
        """
        total = sum(parts, ScoreHistogram.empty())
        of_party = np.stack([part.positives + part.negatives for part in parts])
        edges = _filled(total) if enough is None else merged_edges(of_party, enough)
        counts = total.positives + total.negatives
        classes = [[part.positives.sum() for part in parts], [p.negatives.sum() for p in parts]]
        shown = enough is None or bool(enough(np.array(classes, np.int64).T).all())
        interval = auc_interval(total) if shown else None
        starts = edges[:-1]
        examples = np.add.reduceat(counts, starts)
        predictions = np.add.reduceat(counts * bin_predictions(), starts) / np.maximum(1, examples)
        return cls(
            edges=tuple(edges.tolist()),
            positives=tuple(np.add.reduceat(total.positives, starts).tolist()),
            negatives=tuple(np.add.reduceat(total.negatives, starts).tolist()),
            predictions=tuple(predictions.tolist()),
            loss_sum=total.loss_sum,
            prediction_sum=total.prediction_sum,
            correct=total.correct,
            auc=total.metrics().auc if shown else None,
            auc_standard_error=interval.standard_error if interval is not None else None,
        )

    @property
    def examples(self) -> int:
        """Number of examples counted."""
        return sum(self.positives) + sum(self.negatives)

    @property
    def auc_error(self) -> float:
        """How far an AUC, or a ROC curve's area, drawn from the merged bins can be from the true one.

        Half of the pairs of a positive and a negative that share a bin.
        """
        pairs = sum(self.positives) * sum(self.negatives)
        tied = sum(p * n for p, n in zip(self.positives, self.negatives, strict=True))
        return tied / 2 / pairs if pairs else 0.0

    def interval(self) -> Interval | None:
        """AUC with its 95 % interval."""
        if self.auc is None or self.auc_standard_error is None:
            return None
        return interval_of(self.auc, self.auc_standard_error)

    def metrics(self) -> Metrics:
        """The metrics of all examples counted; none of them suffers from merging."""
        examples, positives = self.examples, sum(self.positives)
        return Metrics(
            auc=self.auc,
            log_loss=self.loss_sum / examples if examples else None,
            accuracy=self.correct / examples if examples else None,
            calibration=self.prediction_sum / positives if positives else None,
            examples=examples,
        )


def merged_edges(of_party: Counts, enough: Enough) -> Counts:
    """The lines between narrow bins that stay.

    Args:
        of_party: Examples by party and narrow bin, int64 [parties, HISTOGRAM_BINS].
        enough: What may be shown.

    Returns:
        int64, ascending, 0 and HISTOGRAM_BINS at the ends.
    """
    lines = [np.array([0, HISTOGRAM_BINS], np.int64)]
    width, cells = 1, of_party
    while cells.shape[1] > 1:
        shown = enough(cells).reshape(-1, 2).all(axis=1)
        lines.append((2 * np.flatnonzero(shown) + 1) * width)
        cells = cells.reshape(len(cells), -1, 2).sum(axis=2)
        width *= 2
    return np.sort(np.concatenate(lines))


def bin_predictions() -> npt.NDArray[np.float64]:
    """Predicted probability in the middle of each narrow bin, float64 [HISTOGRAM_BINS]."""
    width = 2 * LOGIT_BOUND / HISTOGRAM_BINS
    middles = (np.arange(HISTOGRAM_BINS) + 0.5) * width - LOGIT_BOUND
    predictions: npt.NDArray[np.float64] = 1 / (1 + np.exp(-middles))
    return predictions


def _filled(total: ScoreHistogram) -> Counts:
    """The narrow bins without the empty ones at the ends."""
    filled = np.flatnonzero(total.positives + total.negatives)
    first, last = (int(filled[0]), int(filled[-1])) if filled.size else (0, 0)
    return np.arange(first, last + 2, dtype=np.int64)
