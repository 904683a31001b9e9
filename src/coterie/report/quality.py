"""Figures of how good a model is, from counted scores: ROC and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coterie.metrics.intervals import proportion_interval
from coterie.metrics.released import ReleasedScores
from coterie.report.drawing import DASHES, Drawing, finish, legend, new_figure
from coterie.report.palette import IDLE, SERIES

_CURVE_POINTS = 200
_CALIBRATION_GROUPS = 10


@dataclass(frozen=True)
class CalibrationGroup:
    """Test examples of similar prediction.

    Attributes:
        examples: How many.
        predicted: Mean prediction, to 0.0005.
        observed: Share with label 1.
    """

    examples: int
    predicted: float
    observed: float


def roc_figure(released: Sequence[tuple[str, ReleasedScores]]) -> Drawing | None:
    """ROC curves of counted scores. The caption bounds the effect of the unknown order in a bin."""
    figure = new_figure(3.5)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=IDLE.light, linewidth=1, linestyle=(0, (2, 2)))
    for place, (label, scores) in enumerate(released):
        false_k, true_k = roc_points(scores)
        axes.plot(false_k, true_k, color=SERIES[place].light, linestyle=DASHES[place], label=label)
    if not released:
        return None
    axes.set_aspect("equal")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    legend(axes, len(released))
    return finish(
        figure,
        "roc",
        "ROC on the test rows",
        "The dotted diagonal is guessing. Drawn from counts of scores over all data owners, in "
        f"{_bins(released)}.",
    )


def calibration_figure(released: Sequence[tuple[str, ReleasedScores]]) -> Drawing | None:
    """Observed against predicted click rates in ten groups of equal size."""
    if not released:
        return None
    figure = new_figure(3.5)
    axes = figure.subplots()
    highest = 0.05
    for place, (label, scores) in enumerate(released):
        groups = calibration_groups(scores)
        x = [group.predicted for group in groups]
        y = [group.observed for group in groups]
        ends = [
            proportion_interval(group.observed * group.examples, group.examples) for group in groups
        ]
        below = [max(0.0, value - low) for value, (low, _) in zip(y, ends, strict=True)]
        above = [max(0.0, high - value) for value, (_, high) in zip(y, ends, strict=True)]
        axes.errorbar(
            x,
            y,
            yerr=[below, above],
            fmt="os^D"[place],
            markersize=5,
            linewidth=1.2,
            linestyle=DASHES[place],
            color=SERIES[place].light,
            label=label,
        )
        highest = max(highest, *x, *(high for _, high in ends))
    limit = min(1.0, highest * 1.05)
    axes.plot([0, limit], [0, limit], color=IDLE.light, linewidth=1, linestyle=(0, (2, 2)))
    axes.set_xlim(0, limit)
    axes.set_ylim(0, limit)
    axes.set_aspect("equal")
    axes.set_xlabel("predicted click rate")
    axes.set_ylabel("observed click rate")
    legend(axes, len(released))
    return finish(
        figure,
        "calibration",
        "Calibration on the test rows",
        "Test rows in ten groups of equal size by prediction; bars: Wilson's 95 % interval. On the "
        "dotted line, predictions are right on average. Mean predictions are within 0.0005.",
    )


def _bins(released: Sequence[tuple[str, ReleasedScores]]) -> str:
    """The number of bins of the scores, and the error that binning can cause in the AUC."""
    bins = [f"{len(scores.positives):,}" for _, scores in released]
    error = max(scores.curve_error for _, scores in released)
    return (
        f"{' and '.join(bins)} bins: the area under a drawn curve is within {error:.4f} of the AUC"
    )


def roc_points(scores: ReleasedScores) -> tuple[list[float], list[float]]:
    """False and true positive rates from the highest threshold to the lowest, thinned out."""
    positives = np.concatenate(([0], np.cumsum(scores.positives[::-1])))
    negatives = np.concatenate(([0], np.cumsum(scores.negatives[::-1])))
    true_k = positives / max(1, positives[-1])
    false_k = negatives / max(1, negatives[-1])
    along = np.searchsorted(true_k + false_k, np.linspace(0, 2, _CURVE_POINTS))
    kept = np.unique(np.concatenate(([0], along.clip(max=len(true_k) - 1))))
    return false_k[kept].tolist(), true_k[kept].tolist()


def calibration_groups(
    scores: ReleasedScores, groups: int = _CALIBRATION_GROUPS
) -> list[CalibrationGroup]:
    """Groups whole bins, in order of their score, into groups of about equally many examples."""
    positives = np.array(scores.positives, np.int64)
    counts = positives + np.array(scores.negatives, np.int64)
    predicted = np.array(scores.predictions)
    total = int(counts.sum())
    if total == 0:
        return []
    before = np.cumsum(counts) - counts
    group = np.minimum(before * groups // total, groups - 1)
    found: list[CalibrationGroup] = []
    for place in range(groups):
        inside = (group == place) & (counts > 0)
        examples = int(counts[inside].sum())
        if examples:
            mean = float((counts[inside] * predicted[inside]).sum() / examples)
            observed = float(positives[inside].sum() / examples)
            found.append(CalibrationGroup(examples, mean, observed))
    return found
