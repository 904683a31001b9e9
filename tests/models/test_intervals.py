"""DeLong's variance against what the definition says, and against drawing the data anew."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coterie.errors import DataError
from coterie.models.intervals import auc_interval, paired_aucs, proportion_interval
from coterie.models.metrics import ScoreHistogram, roc_auc


@pytest.fixture
def random() -> np.random.Generator:
    """Each test draws the same, whatever ran before it."""
    return np.random.default_rng(5)


def draw(
    rows: int, random: np.random.Generator, noise: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    labels = (random.random(rows) < 0.3).astype(np.float64)
    return labels * 0.8 - 1 + noise * random.standard_normal(rows), labels


def by_definition(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """AUC and its variance with the kernel written out pair by pair (DeLong et al., 1988)."""
    x, y = scores[labels == 1], scores[labels == 0]
    kernel = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
    variance = kernel.mean(axis=1).var(ddof=1) / len(x) + kernel.mean(axis=0).var(ddof=1) / len(y)
    return float(kernel.mean()), float(variance)


def binned(scores: np.ndarray) -> np.ndarray:
    """Scores as the histogram sees them."""
    bins: np.ndarray = np.floor((scores + 16) / (32 / 8192))
    return bins


@pytest.mark.parametrize("rows", [20, 301, 2000])
def test_counted_scores_have_the_variance_of_scores_with_ties(
    rows: int, random: np.random.Generator
) -> None:
    scores, labels = draw(rows, random)
    histogram = ScoreHistogram.count(scores, labels)
    interval = auc_interval(histogram)
    assert interval is not None
    auc, variance = by_definition(binned(scores), labels)
    assert interval.value == pytest.approx(auc, rel=1e-12)
    assert interval.value == pytest.approx(histogram.metrics().auc, rel=1e-12)
    assert interval.standard_error == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert interval.high - interval.low == pytest.approx(2 * 1.959964 * interval.standard_error)


def test_many_ties_are_no_problem(random: np.random.Generator) -> None:
    scores, labels = draw(500, random)
    coarse = np.round(scores)
    interval, paired = auc_interval(ScoreHistogram.count(coarse, labels)), None
    paired = paired_aucs([coarse], labels)
    assert interval is not None
    assert paired is not None
    auc, variance = by_definition(coarse, labels)
    assert (interval.value, interval.standard_error) == pytest.approx((auc, math.sqrt(variance)))
    assert (paired.aucs[0].value, paired.aucs[0].standard_error) == pytest.approx(
        (auc, math.sqrt(variance))
    )


def test_the_interval_covers_the_true_value_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    truth = roc_auc(*draw(400_000, random))
    assert truth is not None
    hits = 0
    for _ in range(400):
        interval = auc_interval(ScoreHistogram.count(*draw(300, random)))
        assert interval is not None
        hits += interval.low <= truth <= interval.high
    assert 0.92 <= hits / 400 <= 0.975


@pytest.mark.parametrize(
    "labels", [np.zeros(9), np.ones(9), np.eye(1, 9)[0], 1 - np.eye(1, 9)[0], np.zeros(0)]
)
def test_without_two_examples_of_each_class_there_is_no_interval(labels: np.ndarray) -> None:
    scores = np.arange(len(labels), dtype=np.float64)
    assert auc_interval(ScoreHistogram.count(scores, labels)) is None
    assert paired_aucs([scores, scores], labels) is None


def test_a_paired_difference_has_the_variance_of_the_placements_difference(
    random: np.random.Generator,
) -> None:
    first, labels = draw(800, random)
    second = first + 0.7 * random.standard_normal(800)
    paired = paired_aucs([first, second], labels)
    assert paired is not None
    x, y = labels == 1, labels == 0

    def kernel(scores: np.ndarray) -> np.ndarray:
        above: np.ndarray = (scores[x][:, None] > scores[y][None, :]).astype(np.float64)
        return above

    difference = kernel(first) - kernel(second)
    variance = (
        difference.mean(axis=1).var(ddof=1) / x.sum()
        + difference.mean(axis=0).var(ddof=1) / y.sum()
    )
    (gain,), (p_value,) = paired.gains, paired.p_values
    assert gain.value == pytest.approx(difference.mean(), abs=1e-12)
    assert gain.value == pytest.approx(paired.aucs[0].value - paired.aucs[1].value)
    assert gain.standard_error == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert p_value == pytest.approx(math.erfc(gain.value / gain.standard_error / math.sqrt(2)))
    # the models agree on much: their difference is surer than either
    assert gain.standard_error < paired.aucs[0].standard_error


def test_a_model_does_not_differ_from_itself(random: np.random.Generator) -> None:
    scores, labels = draw(100, random)
    paired = paired_aucs([scores, scores * 2], labels)
    assert paired is not None
    assert paired.gains[0].value == 0
    assert paired.gains[0].low == paired.gains[0].high == 0
    assert paired.p_values == (1.0,)


@pytest.mark.parametrize("bad", [np.zeros(3), np.array([0.0, np.nan, 1.0, 2.0])])
def test_scores_of_other_examples_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="scores cannot be compared") as refusal:
        paired_aucs([np.arange(4.0), bad], np.array([0.0, 1.0, 0.0, 1.0]))
    assert refusal.value.expected == "4 finite scores of every model"


def test_a_share_has_wilsons_interval() -> None:
    # Newcombe (1998), table I: 81 of 263, and 0 of 20
    assert proportion_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert proportion_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert proportion_interval(0, 0) == (0.0, 1.0)
