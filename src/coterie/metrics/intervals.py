"""Confidence intervals of AUCs, of one model or two: score intervals with DeLong's variance.

The area under the ROC curve is a mean over pairs of a positive and a negative example. DeLong, DeLong
and Clarke-Pearson (1988) give its variance from the examples' placements: the share of the other class
that an example outranks, ties counting one half. The value plus and minus two of its standard errors
is a poor interval if a class is small or the AUC is near 1. The variance is then estimated from few
misplaced examples, and if there are none, one knows only that they are rare.

So the ends are those AUCs from which the observed one is 1.96 standard errors away, each with the
variance that *it* implies (a score interval, as Wilson's of a share; Newcombe 2006 for this statistic).
How the variance depends on the AUC is Hanley's and McNeil's (1982); its size is DeLong's, as a
Student's t would take it, as far as there are examples to know it from. It never has width zero, and ``benchmarks/coverage.py`` measures how often it
holds the truth. Two models on the same examples are compared by the same intervals and the correlation of
their placements (the method of variance estimates recovery: Zou and Donner 2008).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coterie.arrays import BoolArray, Float64Array, Int64Array
from coterie.errors import DataError
from coterie.metrics.groups import Floats, auc_of_groups

_QUANTILE = 1.959963984540054  # of the normal distribution, two-sided 95 %
_TRUSTED = 2.0  # effective examples at which estimate and formula weigh the same
_HALVINGS = 40  # bisections of an interval below 1: twelve digits


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


def auc_interval(positives_g: Int64Array, negatives_g: Int64Array) -> Interval | None:
    """AUC of counted scores, with its interval.

    Args:
        positives_g: Examples with label 1, by group in ascending order of the score.
        negatives_g: Examples with label 0, likewise.

    Returns:
        None unless both classes occur at least twice.
    """
    positives, negatives = positives_g.astype(np.float64), negatives_g.astype(np.float64)
    count, others = positives.sum(), negatives.sum()
    auc = auc_of_groups(positives_g, negatives_g)
    if count < 2 or others < 2 or auc is None:
        return None
    placement_p = (np.cumsum(negatives) - negatives / 2) / others
    placement_n = 1 - (np.cumsum(positives) - positives / 2) / count
    of_positives = (positives * (placement_p - auc) ** 2).sum() / (count - 1)
    of_negatives = (negatives * (placement_n - auc) ** 2).sum() / (others - 1)
    error = math.sqrt(of_positives / count + of_negatives / others)
    return interval_of(auc, error, int(count), int(others))


def interval_of(auc: float, standard_error: float, positives: int, negatives: int) -> Interval:
    """The interval of an AUC.

    Args:
        auc: As it was observed.
        standard_error: DeLong's.
        positives: Examples with label 1, at least one.
        negatives: Examples with label 0, at least one.
    """
    variance = _variance(auc, standard_error, positives, negatives)
    low, high = _ends(auc, variance, _QUANTILE)
    return Interval(auc, low, high, standard_error)


def paired_aucs(scores: list[Floats], labels: Floats) -> Paired | None:
    """Compares models on the same examples.

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
    ranks = [np.unique(scores_n, return_inverse=True)[1] for scores_n in scores]
    placed = [_placements(ranks_n, positive_n) for ranks_n in ranks]
    covariance = np.atleast_2d(np.cov([model.positives for model in placed])) / count
    covariance = covariance + np.atleast_2d(np.cov([model.negatives for model in placed])) / others
    errors = np.sqrt(np.maximum(0.0, covariance.diagonal()))
    aucs = [
        interval_of(model.auc, float(error), count, others)
        for model, error in zip(placed, errors, strict=True)
    ]
    gains: list[Interval] = []
    p_values: list[float] = []
    for other in range(1, len(scores)):
        variance = covariance[0, 0] + covariance[other, other] - 2 * covariance[0, other]
        error = math.sqrt(max(0.0, float(variance)))
        if np.array_equal(ranks[0], ranks[other]):
            gains.append(Interval(0.0, 0.0, 0.0, 0.0))  # one order, so one AUC on all examples
            p_values.append(1.0)
            continue
        product = errors[0] * errors[other]
        correlation = float(covariance[0, other] / product) if product > 0 else 0.0
        reach = _reach_of_gain(aucs[0], aucs[other], correlation, count, others)
        gain = aucs[0].value - aucs[other].value
        below, above = reach(_QUANTILE)
        gains.append(Interval(gain, max(-1.0, gain - below), min(1.0, gain + above), error))
        p_values.append(_p_value(gain, reach))
    return Paired(tuple(aucs), tuple(gains), tuple(p_values))


def proportion_interval(successes: float, trials: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson, 1927); (0, 1) without trials."""
    if trials <= 0:
        return 0.0, 1.0
    share, square = successes / trials, _QUANTILE**2
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    half = math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    half *= _QUANTILE / (1 + square / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def _variance(
    auc: float, standard_error: float, positives: int, negatives: int
) -> Callable[[float], float]:
    """Variance of the observed AUC under the hypothesis of another true AUC."""
    few, many = min(positives, negatives), max(positives, negatives)

    def formula(truth: float) -> float:
        # Hanley and McNeil's formula, with the naming of classes that gives the larger variance
        nearer, farther = max(truth, 1 - truth), min(truth, 1 - truth)
        pairs = (few - 1) * farther / (2 - nearer) + (many - 1) * nearer / (1 + nearer)
        return truth * (1 - truth) * (1 + pairs) / (few * many)

    expected, freedom = formula(auc), few - 1
    if expected == 0 or freedom == 0:  # no pair is misplaced, or one example is all of its class
        return formula
    # Student's quantile over the normal one (Abramowitz and Stegun, 26.7.5), since the estimate is
    # of few
    estimate = standard_error**2 * (1 + 1.21 / freedom + 1.44 / freedom**2) ** 2
    known = few * 4 * auc * (1 - auc)
    weight = known / (known + _TRUSTED)
    size = weight * estimate / expected + 1 - weight
    return lambda truth: size * formula(truth)


def _ends(auc: float, variance: Callable[[float], float], quantile: float) -> tuple[float, float]:
    """The lowest and the highest AUC within so many standard errors of the observed one."""

    def end(bound: float) -> float:
        inside, outside = auc, bound
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if abs(middle - auc) <= quantile * math.sqrt(variance(middle)):
                inside = middle
            else:
                outside = middle
        return inside

    return end(0.0), end(1.0)


def _reach_of_gain(
    first: Interval, other: Interval, correlation: float, positives: int, negatives: int
) -> Callable[[float], tuple[float, float]]:
    """How far the interval of a difference reaches down and up, for a quantile."""
    variances = [
        _variance(auc.value, auc.standard_error, positives, negatives) for auc in (first, other)
    ]

    def together(one: float, two: float) -> float:
        return math.sqrt(max(0.0, one * one + two * two - 2 * correlation * one * two))

    def reach(quantile: float) -> tuple[float, float]:
        (low, high), (other_low, other_high) = (
            _ends(auc.value, variance, quantile)
            for auc, variance in zip((first, other), variances, strict=True)
        )
        return (
            together(first.value - low, other_high - other.value),
            together(high - first.value, other.value - other_low),
        )

    return reach


def _p_value(gain: float, reach: Callable[[float], tuple[float, float]]) -> float:
    """The level at which the interval of a difference ends at zero, so both agree."""
    side = 0 if gain > 0 else 1
    inside, outside = 0.0, 40.0
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        if reach(middle)[side] < abs(gain):
            inside = middle
        else:
            outside = middle
    return math.erfc(inside / math.sqrt(2))


@dataclass(frozen=True, eq=False)
class _Placements:
    """Shares of negatives below each positive, and of positives above each negative."""

    auc: float
    positives: Float64Array
    negatives: Float64Array


def _placements(ranks_n: Int64Array, positive_n: BoolArray) -> _Placements:
    size = int(ranks_n.max()) + 1
    positives = np.bincount(ranks_n[positive_n], minlength=size)
    negatives = np.bincount(ranks_n[~positive_n], minlength=size)
    below = (np.cumsum(negatives) - negatives / 2) / negatives.sum()
    above = 1 - (np.cumsum(positives) - positives / 2) / positives.sum()
    auc = auc_of_groups(positives, negatives)
    # both classes occur, so there is an AUC
    return _Placements(auc or 0.0, below[ranks_n[positive_n]], above[ranks_n[~positive_n]])
