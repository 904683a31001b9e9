"""How sure an AUC is: DeLong's variance, of counted scores and of two models on the same examples.

The area under the ROC curve is a mean over pairs of a positive and a negative example. DeLong,
DeLong and Clarke-Pearson (1988) give its variance from the examples' placements: the share of the
other class that an example outranks, ties counting one half. Counted scores are scores with ties
(all of a bin), so the same formula is exact for them: it is the variance of the very AUC that
``ScoreHistogram.metrics`` gives. Two models on the same examples are compared with the covariance
of their placements, which needs the single scores: counts of each model have lost the pairing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coterie.errors import DataError
from coterie.models.metrics import Float64s, Floats, ScoreHistogram

LEVEL = 0.95
_QUANTILE = 1.959963984540054  # of the normal distribution, two-sided 95 %


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
        standard_error: Estimated standard deviation of ``value``.
    """

    value: float
    low: float
    high: float
    standard_error: float


@dataclass(frozen=True)
class Paired:
    """AUCs of several models on the same examples, and how each differs from the first.

    Attributes:
        aucs: One per model.
        gains: The first model's AUC minus each other's, with the interval of the difference.
        p_values: Two-sided, of each gain, against no difference.
    """

    aucs: tuple[Interval, ...]
    gains: tuple[Interval, ...]
    p_values: tuple[float, ...]


def auc_interval(histogram: ScoreHistogram) -> Interval | None:
    """AUC of counted scores, with DeLong's interval.

    Returns:
        None unless both classes occur at least twice.
    """
    positives = histogram.positives.astype(np.float64)
    negatives = histogram.negatives.astype(np.float64)
    count, others = positives.sum(), negatives.sum()
    if count < 2 or others < 2:
        return None
    placement_p = (np.cumsum(negatives) - negatives / 2) / others
    placement_n = 1 - (np.cumsum(positives) - positives / 2) / count
    auc = float((positives * placement_p).sum() / count)
    of_positives = (positives * (placement_p - auc) ** 2).sum() / (count - 1)
    of_negatives = (negatives * (placement_n - auc) ** 2).sum() / (others - 1)
    return _interval(auc, float(of_positives / count + of_negatives / others), 0.0, 1.0)


def interval_of(auc: float, standard_error: float) -> Interval:
    """The interval of an AUC whose standard error is known."""
    return _interval(auc, standard_error**2, 0.0, 1.0)


def paired_aucs(scores: list[Floats], labels: Floats) -> Paired | None:
    """Compares models on the same examples by DeLong's paired test.

    Args:
        scores: float [n] per model; any monotone function of the logits gives the same.
        labels: float [n], 0 or 1.

    Returns:
        None unless both classes occur at least twice.

    Raises:
        DataError: A model has another number of scores than there are labels, or one that is not
            finite.
    """
    for scores_n in scores:
        if scores_n.shape != labels.shape or not np.isfinite(scores_n).all():
            raise DataError(
                "scores cannot be compared",
                expected=f"{len(labels)} finite scores of every model",
                seen=f"{len(scores_n)} scores, {int((~np.isfinite(scores_n)).sum())} not finite",
                remedy="score the same examples, in the same order, with every model",
            )
    positive_n = labels == 1
    count, others = int(positive_n.sum()), int((~positive_n).sum())
    if count < 2 or others < 2:
        return None
    placements = [_placements(scores_n.astype(np.float64), positive_n) for scores_n in scores]
    aucs = np.array([of_positives.mean() for of_positives, _ in placements])
    covariance = np.atleast_2d(np.cov([p for p, _ in placements])) / count
    covariance = covariance + np.atleast_2d(np.cov([n for _, n in placements])) / others
    gains: list[Interval] = []
    p_values: list[float] = []
    for other in range(1, len(scores)):
        variance = covariance[0, 0] + covariance[other, other] - 2 * covariance[0, other]
        gain = _interval(float(aucs[0] - aucs[other]), max(0.0, float(variance)), -1.0, 1.0)
        gains.append(gain)
        p_values.append(_p_value(gain))
    return Paired(
        tuple(_interval(float(a), float(covariance[i, i]), 0.0, 1.0) for i, a in enumerate(aucs)),
        tuple(gains),
        tuple(p_values),
    )


def proportion_interval(successes: float, trials: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson, 1927); (0, 1) without trials."""
    if trials <= 0:
        return 0.0, 1.0
    share, square = successes / trials, _QUANTILE**2
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    half = math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    half *= _QUANTILE / (1 + square / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def _placements(scores_n: Float64s, positive_n: npt.NDArray[np.bool_]) -> tuple[Float64s, Float64s]:
    """Of each positive the share of negatives below it; of each negative that of positives above."""
    _, group_n = np.unique(scores_n, return_inverse=True)
    size = int(group_n.max()) + 1
    positives = np.bincount(group_n[positive_n], minlength=size).astype(np.float64)
    negatives = np.bincount(group_n[~positive_n], minlength=size).astype(np.float64)
    below = (np.cumsum(negatives) - negatives / 2) / negatives.sum()
    above = 1 - (np.cumsum(positives) - positives / 2) / positives.sum()
    return below[group_n[positive_n]], above[group_n[~positive_n]]


def _interval(value: float, variance: float, lowest: float, highest: float) -> Interval:
    error = math.sqrt(variance)
    reach = _QUANTILE * error
    return Interval(value, max(lowest, value - reach), min(highest, value + reach), error)


def _p_value(gain: Interval) -> float:
    if gain.standard_error == 0:
        return 1.0 if gain.value == 0 else 0.0
    return math.erfc(abs(gain.value) / gain.standard_error / math.sqrt(2))
