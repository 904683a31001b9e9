"""Exact metrics of scores: AUC, log loss, accuracy and calibration."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Self

import numpy as np

from coterie.arrays import BoolArray, Float64Array
from coterie.errors import DataError
from coterie.metrics.groups import Floats, auc_of_groups
from coterie.metrics.intervals import Interval

FEW = 20
"""With fewer examples of a class an AUC is not reliable: at 0.75, its error is 0.1 and more."""


@dataclass(frozen=True)
class Metrics:
    """The quality of a model on some examples; None where the examples do not define a value.

    Attributes:
        auc: Area under the ROC curve; None unless both classes occur and it may be disclosed.
        auc_error: Largest distance of ``auc`` from that of the single scores; 0 if it is exact.
        auc_low: Lower end of its 95 % confidence interval; None unless both classes occur twice.
        auc_high: Upper end.
        log_loss: Mean binary cross-entropy in nats; None without examples.
        accuracy: Share of examples on the right side of probability one half.
        calibration: Mean prediction divided by mean label; 1 is ideal, None without positives.
        examples: Number of examples.
        positives: Those with label 1.
    """

    auc: float | None
    auc_error: float | None
    auc_low: float | None
    auc_high: float | None
    log_loss: float | None
    accuracy: float | None
    calibration: float | None
    examples: int
    positives: int

    @classmethod
    def of_sums(
        cls,
        *,
        auc: float | None,
        auc_error: float | None,
        interval: Interval | None,
        positives: int,
        negatives: int,
        loss_sum: float,
        prediction_sum: float,
        correct: int,
    ) -> Self:
        """Divides sums over all examples by their number."""
        examples = positives + negatives
        return cls(
            auc=auc,
            auc_error=None if auc is None else auc_error,
            auc_low=interval.low if interval else None,
            auc_high=interval.high if interval else None,
            log_loss=loss_sum / examples if examples else None,
            accuracy=correct / examples if examples else None,
            calibration=prediction_sum / positives if positives else None,
            examples=examples,
            positives=positives,
        )

    @property
    def note(self) -> str:
        """Why there is no AUC, or why it is not reliable; otherwise empty."""
        counts = {"positive": self.positives, "negative": self.examples - self.positives}
        rarer = min(counts, key=lambda name: counts[name])
        said = f"{counts[rarer]:,} {rarer} {'example' if counts[rarer] == 1 else 'examples'}"
        if not counts[rarer]:
            return f"no {rarer} example: no AUC"
        if self.auc is None:
            return (
                f"a class has too few examples ({said}; limits.evaluation_minimum is of each class), or one party's alone: "
                "no AUC is told"
            )
        if counts[rarer] < FEW:
            return f"only {said}: the AUC says little"
        return ""

    def to_dict(self) -> dict[str, float | int | str | None]:
        """The metrics as a flat dictionary that JSON can hold."""
        return {**asdict(self), "note": self.note}


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
    scores_n, positive_n = checked(scores, labels)
    values, group_n = np.unique(scores_n, return_inverse=True)
    return auc_of_groups(
        np.bincount(group_n[positive_n], minlength=len(values)),
        np.bincount(group_n[~positive_n], minlength=len(values)),
    )


def log_loss(logits: Floats, labels: Floats) -> float | None:
    """Mean binary cross-entropy in nats, computed from logits so that it never overflows."""
    logits_n, positive_n = checked(logits, labels)
    return float(losses(logits_n, positive_n).mean()) if len(logits_n) else None


def accuracy(logits: Floats, labels: Floats) -> float | None:
    """Share of examples on the right side of probability one half; logit 0 predicts label 0."""
    logits_n, positive_n = checked(logits, labels)
    return float(((logits_n > 0) == positive_n).mean()) if len(logits_n) else None


def calibration(predictions: Floats, labels: Floats) -> float | None:
    """Mean predicted probability divided by mean label (He et al., 2014); None without positives."""
    predictions_n, positive_n = checked(predictions, labels)
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
        DataError: As for the others, or a prediction is not a probability.
    """
    predictions_n, positive_n = checked(predictions, labels)
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


def losses(logits_n: Float64Array, positive_n: BoolArray) -> Float64Array:
    """Binary cross-entropies in nats, float64 [n], of logits of any size."""
    losses_n: Float64Array = np.logaddexp(0.0, np.where(positive_n, -logits_n, logits_n))
    return losses_n


def sigmoid(logits: Floats) -> Float64Array:
    """Predicted probabilities, float64 [n], of logits of any size."""
    logits_n = logits.astype(np.float64)
    small_n = np.exp(-np.abs(logits_n))
    probabilities: Float64Array = np.where(logits_n >= 0, 1.0, small_n) / (1.0 + small_n)
    return probabilities


def checked(scores: Floats, labels: Floats) -> tuple[Float64Array, BoolArray]:
    """The scores as float64 [n], and which examples are positive.

    Raises:
        DataError: Shapes differ, a score is not finite or a label is neither 0 nor 1.
    """
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
            remedy="prepare the data set again",
        )
    return scores.astype(np.float64), positive_n
