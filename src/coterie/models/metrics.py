"""How good scores are: exact metrics for one's own rows, summable histograms for everybody's.

A federated evaluation may not show scores of single examples. Each party counts its scores in
fixed bins instead; the counts of all parties add up, and the metrics of the whole follow from the
sums. Only AUC is an approximation then (pairs within one bin count one half); the rest is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from coterie.errors import DataError, MessageRefused

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Float64s = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

HISTOGRAM_BINS = 8192
LOGIT_BOUND = 16.0
"""Bins are equally wide and cover logits from -16 to 16; the outermost hold all that is beyond."""

SUMS = 3


@dataclass(frozen=True)
class Metrics:
    """The quality of a model on some examples; None where the examples do not define a value.

    Attributes:
        auc: Area under the ROC curve; None unless both classes occur.
        log_loss: Mean binary cross-entropy in nats; None without examples.
        accuracy: Share of examples on the right side of probability one half.
        calibration: Mean prediction divided by mean label; 1 is ideal, None without positives.
        examples: Number of examples.
    """

    auc: float | None
    log_loss: float | None
    accuracy: float | None
    calibration: float | None
    examples: int

    def to_dict(self) -> dict[str, float | int | None]:
        """The metrics as a flat dictionary that JSON can hold."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """Scores of any number of examples, counted in fixed bins; histograms add up.

    Attributes:
        positives: int64 [HISTOGRAM_BINS], examples with label 1 by logit.
        negatives: int64 [HISTOGRAM_BINS], examples with label 0 by logit.
        loss_sum: Sum of the binary cross-entropies, in nats.
        prediction_sum: Sum of the predicted probabilities.
        correct: Examples on the right side of probability one half.
    """

    positives: Counts
    negatives: Counts
    loss_sum: float = 0.0
    prediction_sum: float = 0.0
    correct: int = 0

    @classmethod
    def empty(cls) -> Self:
        """The histogram of no examples: the zero of addition."""
        return cls(np.zeros(HISTOGRAM_BINS, np.int64), np.zeros(HISTOGRAM_BINS, np.int64))

    @classmethod
    def count(cls, logits: Floats, labels: Floats) -> Self:
        """Counts the scores of some examples.

        Args:
            logits: float [n].
            labels: float [n], 0 or 1.

        Raises:
            DataError: Shapes differ, a logit is not finite or a label is neither 0 nor 1.
        """
        logits_n, positive_n = _checked(logits, labels)
        width = 2 * LOGIT_BOUND / HISTOGRAM_BINS
        clamped_n = np.clip(logits_n, -LOGIT_BOUND, LOGIT_BOUND)
        bins_n = np.floor((clamped_n + LOGIT_BOUND) / width).astype(np.int64)
        np.minimum(bins_n, HISTOGRAM_BINS - 1, out=bins_n)
        return cls(
            positives=np.bincount(bins_n[positive_n], minlength=HISTOGRAM_BINS).astype(np.int64),
            negatives=np.bincount(bins_n[~positive_n], minlength=HISTOGRAM_BINS).astype(np.int64),
            loss_sum=float(_losses(logits_n, positive_n).sum()),
            prediction_sum=float(_sigmoid(logits_n).sum()),
            correct=int(((logits_n > 0) == positive_n).sum()),
        )

    @property
    def examples(self) -> int:
        """Number of examples counted."""
        return int(self.positives.sum() + self.negatives.sum())

    def __add__(self, other: ScoreHistogram) -> ScoreHistogram:
        return ScoreHistogram(
            self.positives + other.positives,
            self.negatives + other.negatives,
            self.loss_sum + other.loss_sum,
            self.prediction_sum + other.prediction_sum,
            self.correct + other.correct,
        )

    def metrics(self) -> Metrics:
        """The metrics of all examples counted; AUC to about the width of a bin."""
        examples, positives = self.examples, int(self.positives.sum())
        return Metrics(
            auc=_auc_of_groups(self.positives, self.negatives),
            log_loss=self.loss_sum / examples if examples else None,
            accuracy=self.correct / examples if examples else None,
            calibration=self.prediction_sum / positives if positives else None,
            examples=examples,
        )

    def to_arrays(self) -> tuple[Counts, Float64s]:
        """The histogram for the wire.

        Returns:
            int64 [2, HISTOGRAM_BINS]: positives, negatives; float64 [3]: loss sum, prediction
            sum, correct.
        """
        sums = np.array([self.loss_sum, self.prediction_sum, float(self.correct)], np.float64)
        return np.stack([self.positives, self.negatives]), sums

    @classmethod
    def from_arrays(cls, counts: Counts, sums: Float64s) -> Self:
        """Reads what ``to_arrays`` wrote, trusting nothing.

        Raises:
            MessageRefused: Wrong shapes or types, negative or non-finite values, or sums that no
                such examples can have.
        """
        if counts.dtype != np.int64 or counts.shape != (2, HISTOGRAM_BINS):
            raise _refused(
                "counts", f"int64 [2, {HISTOGRAM_BINS}]", f"{counts.dtype} {list(counts.shape)}"
            )
        if sums.dtype != np.float64 or sums.shape != (SUMS,):
            raise _refused("sums", f"float64 [{SUMS}]", f"{sums.dtype} {list(sums.shape)}")
        # As floats first: hostile int64 counts could wrap around when they are added up.
        if (counts < 0).any() or counts.sum(dtype=np.float64) >= 2.0**53:
            raise _refused("counts", "0 or more, below 2**53 in all", "a count out of bounds")
        examples = int(counts.sum())
        loss_sum, prediction_sum, correct = (float(value) for value in sums)
        if not (math.isfinite(loss_sum) and loss_sum >= 0):
            raise _refused("loss sum", "finite, 0 or more", str(loss_sum))
        if not 0 <= prediction_sum <= examples * (1 + 1e-9):
            raise _refused("prediction sum", f"0 to {examples}", str(prediction_sum))
        if not (0 <= correct <= examples and correct.is_integer()):
            raise _refused("correct", f"a whole number, 0 to {examples}", str(correct))
        return cls(counts[0].copy(), counts[1].copy(), loss_sum, prediction_sum, int(correct))


def evaluate(logits: Floats, labels: Floats) -> Metrics:
    """All metrics, exactly.

    Args:
        logits: float [n].
        labels: float [n], 0 or 1.

    Raises:
        DataError: Shapes differ, a logit is not finite or a label is neither 0 nor 1.
    """
    logits_n, positive_n = _checked(logits, labels)
    return Metrics(
        auc=roc_auc(logits, labels),
        log_loss=log_loss(logits, labels),
        accuracy=accuracy(logits, labels),
        calibration=calibration(_sigmoid(logits_n), positive_n.astype(np.float64)),
        examples=len(logits_n),
    )


def roc_auc(scores: Floats, labels: Floats) -> float | None:
    """Area under the ROC curve: how often a positive outranks a negative; ties count one half.

    Args:
        scores: float [n]; any monotone function of the logits gives the same.
        labels: float [n], 0 or 1.

    Returns:
        0 to 1, or None unless both classes occur.

    Raises:
        DataError: Shapes differ, a score is not finite or a label is neither 0 nor 1.
    """
    scores_n, positive_n = _checked(scores, labels)
    values, group_n = np.unique(scores_n, return_inverse=True)
    return _auc_of_groups(
        np.bincount(group_n[positive_n], minlength=len(values)),
        np.bincount(group_n[~positive_n], minlength=len(values)),
    )


def log_loss(logits: Floats, labels: Floats) -> float | None:
    """Mean binary cross-entropy in nats, computed from logits so that it never overflows."""
    logits_n, positive_n = _checked(logits, labels)
    return float(_losses(logits_n, positive_n).mean()) if len(logits_n) else None


def accuracy(logits: Floats, labels: Floats) -> float | None:
    """Share of examples on the right side of probability one half; logit 0 predicts label 0."""
    logits_n, positive_n = _checked(logits, labels)
    return float(((logits_n > 0) == positive_n).mean()) if len(logits_n) else None


def calibration(predictions: Floats, labels: Floats) -> float | None:
    """Mean predicted probability divided by mean label (He et al., 2014); None without positives."""
    predictions_n, positive_n = _checked(predictions, labels)
    positives = int(positive_n.sum())
    return float(predictions_n.sum()) / positives if positives else None


def expected_calibration_error(predictions: Floats, labels: Floats, bins: int = 10) -> float | None:
    """Expected calibration error over equally wide bins (Naeini et al., 2015).

    Args:
        predictions: float [n], probabilities.
        labels: float [n], 0 or 1.
        bins: Number of bins over [0, 1].

    Returns:
        Mean over examples of |mean prediction - mean label| of the example's bin.

    Raises:
        DataError: As for the others, or a prediction is no probability.
    """
    predictions_n, positive_n = _checked(predictions, labels)
    if not len(predictions_n):
        return None
    if predictions_n.min() < 0 or predictions_n.max() > 1:
        raise DataError(
            "a prediction is no probability",
            expected="0 to 1",
            seen=f"{predictions_n.min()} to {predictions_n.max()}",
            remedy="pass probabilities, not logits",
        )
    bin_n = np.minimum((predictions_n * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_n, predictions_n - positive_n, minlength=bins)
    return float(np.abs(gaps).sum() / len(predictions_n))


def _auc_of_groups(positives: Counts, negatives: Counts) -> float | None:
    """AUC of groups of tied examples, given in ascending order of their score."""
    # float64 counts exactly up to 2**53, where products of int64 would have wrapped around
    positives_g, negatives_g = positives.astype(np.float64), negatives.astype(np.float64)
    pairs = positives_g.sum() * negatives_g.sum()
    if pairs == 0:
        return None
    below_g = np.cumsum(negatives_g) - negatives_g
    return float((positives_g * (below_g + negatives_g / 2)).sum() / pairs)


def _losses(logits_n: Float64s, positive_n: npt.NDArray[np.bool_]) -> Float64s:
    losses: Float64s = np.logaddexp(0.0, np.where(positive_n, -logits_n, logits_n))
    return losses


def _sigmoid(logits_n: Float64s) -> Float64s:
    small_n = np.exp(-np.abs(logits_n))
    probabilities: Float64s = np.where(logits_n >= 0, 1.0, small_n) / (1.0 + small_n)
    return probabilities


def _checked(scores: Floats, labels: Floats) -> tuple[Float64s, npt.NDArray[np.bool_]]:
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise DataError(
            "scores and labels do not fit together",
            expected="two vectors of one length",
            seen=f"{list(scores.shape)} and {list(labels.shape)}",
            remedy="pass one score and one label per example",
        )
    if not np.isfinite(scores).all():
        raise DataError(
            "a score is not finite",
            expected="finite numbers",
            seen=f"{int((~np.isfinite(scores)).sum())} of {len(scores)} are not",
            remedy="the model has diverged: lower the learning rates",
        )
    positive_n = labels == 1
    if not (positive_n | (labels == 0)).all():
        raise DataError(
            "a label is neither 0 nor 1",
            expected="0 or 1",
            seen=str(labels[~(positive_n | (labels == 0))][0]),
            remedy="prepare the data set anew",
        )
    return scores.astype(np.float64), positive_n


def _refused(name: str, expected: str, seen: str) -> MessageRefused:
    return MessageRefused(
        f"an evaluation's {name} is not that of a score histogram",
        expected=expected,
        seen=seen,
        remedy="the sender runs another version or is hostile; its evaluation is not used",
    )
