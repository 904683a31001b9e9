"""Intervals against what the definitions say, and against drawing the data anew."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.coverage import Shape, of_aucs, of_gains
from coterie.errors import DataError
from coterie.metrics.histogram import ScoreHistogram
from coterie.metrics.intervals import interval_of, paired_aucs, proportion_interval


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


@pytest.mark.parametrize("rows", [20, 301, 2000])
@pytest.mark.parametrize("digits", [0, 6])
def test_counted_and_single_scores_have_delongs_variance_ties_or_not(
    rows: int, digits: int, random: np.random.Generator
) -> None:
    scores, labels = draw(rows, random)
    scores = np.round(scores, digits)
    auc, variance = by_definition(scores, labels)
    paired = paired_aucs([scores], labels)
    assert paired is not None
    for interval in (ScoreHistogram.count(scores, labels).interval(), *paired.aucs):
        assert interval is not None
        assert interval.value == pytest.approx(auc, rel=1e-12)
        assert interval.standard_error == pytest.approx(math.sqrt(variance), rel=1e-9)


@pytest.mark.parametrize(
    ("shape", "auc", "sizes"),
    [
        ("normal", 0.75, (5, 500)),  # plus and minus two standard errors covered 0.82
        ("normal", 0.9, (5, 500)),  # 0.75
        ("normal", 0.9, (20, 2000)),  # 0.88
        ("exponential", 0.97, (20, 20)),  # 0.75
        ("normal", 0.99, (100, 100)),  # 0.86
        ("normal", 0.999, (100, 2000)),  # 0.76
        ("normal", 0.999, (20, 20)),  # 0.20: most of them had width 0
    ],
)
def test_an_interval_holds_the_truth_as_often_as_it_says(
    shape: Shape, auc: float, sizes: tuple[int, int]
) -> None:
    before, after = of_aucs(shape, auc, sizes, 300, seed=1)
    assert before.coverage < 0.9
    assert after.coverage >= 0.93


def test_a_variance_that_few_examples_gave_counts_for_less() -> None:
    """Else the interval would hold the truth in 0.88 of all test sets (seed 1: 0.87)."""
    _, after = of_aucs("uneven", 0.6, (5, 500), 500, seed=1)
    assert after.coverage >= 0.9


def test_where_examples_are_many_the_interval_is_delongs() -> None:
    before, after = of_aucs("normal", 0.75, (500, 500), 100, seed=1)
    assert after.widths == pytest.approx(before.widths, rel=0.03)


@pytest.mark.parametrize(
    ("aucs", "sizes"), [((0.95, 0.9), (5, 500)), ((0.99, 0.97), (20, 20)), ((0.95, 0.9), (5, 5))]
)
def test_an_interval_of_a_gain_holds_the_truth_as_often_as_it_says(
    aucs: tuple[float, float], sizes: tuple[int, int]
) -> None:
    before, after = of_gains(aucs, sizes, 150, seed=1)
    assert before.coverage < 0.9
    assert after.coverage >= 0.93


@pytest.mark.parametrize("auc", [0.0, 1.0])
@pytest.mark.parametrize(("positives", "negatives"), [(5, 5), (5, 5000), (500, 500), (1, 1)])
def test_an_auc_of_all_or_nothing_is_not_certain(
    auc: float, positives: int, negatives: int
) -> None:
    interval = interval_of(auc, 0.0, positives, negatives)
    far, near = (interval.low, interval.high) if auc else (1 - interval.high, 1 - interval.low)
    assert near == 1
    # if a share of the rarer class were as the other, so many would all be right in 1 of 40 test sets
    share = 1 - 0.025 ** (1 / min(positives, negatives))
    assert 0.45 * share < 1 - far < share


def test_turning_scores_and_labels_around_turns_intervals_around(
    random: np.random.Generator,
) -> None:
    scores, labels = draw(60, random)
    one = ScoreHistogram.count(scores, labels).interval()
    turned = ScoreHistogram.count(-scores, labels).interval()
    other = ScoreHistogram.count(-scores, 1 - labels).interval()
    assert one is not None
    assert turned is not None
    assert other is not None
    assert (turned.low, turned.high) == pytest.approx((1 - one.high, 1 - one.low))
    assert (other.low, other.high) == pytest.approx((one.low, one.high))


def test_a_model_of_one_score_has_an_auc_of_one_half() -> None:
    interval = ScoreHistogram.count(np.zeros(400), np.arange(400) % 2.0).interval()
    assert interval is not None
    assert interval.low < interval.value == 0.5 < interval.high


@pytest.mark.parametrize(
    "labels", [np.zeros(9), np.ones(9), np.eye(1, 9)[0], 1 - np.eye(1, 9)[0], np.zeros(0)]
)
def test_without_two_examples_of_each_class_there_is_no_interval(labels: np.ndarray) -> None:
    scores = np.arange(len(labels), dtype=np.float64)
    assert ScoreHistogram.count(scores, labels).interval() is None
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
    # of many examples the interval and the test are those of a normal difference
    reach = 1.959964 * gain.standard_error
    assert (gain.low, gain.high) == pytest.approx(
        (gain.value - reach, gain.value + reach), abs=0.05 * reach
    )
    normal = math.erfc(gain.value / gain.standard_error / math.sqrt(2))
    assert math.log(p_value) == pytest.approx(math.log(normal), rel=0.1)
    # the models agree on much: their difference is surer than either
    assert gain.standard_error < paired.aucs[0].standard_error


def test_a_model_does_not_differ_from_itself(random: np.random.Generator) -> None:
    scores, labels = draw(100, random)
    paired = paired_aucs([scores, scores * 2], labels)
    assert paired is not None
    assert paired.gains[0].value == 0
    assert paired.gains[0].low == paired.gains[0].high == 0
    assert paired.p_values == (1.0,)


def test_a_gain_of_the_best_model_can_be_less_but_hardly_more() -> None:
    """An observed AUC of 1 may be of a lower one, and of no higher one."""
    labels = np.repeat([0.0, 1.0], 20)
    paired = paired_aucs([np.arange(40.0), np.arange(40.0) % 20], labels)
    assert paired is not None
    (gain,), (best, other) = paired.gains, paired.aucs
    assert (gain.value, best.high, best.low < 1) == (0.5, 1, True)
    assert gain.high - gain.value == pytest.approx(other.value - other.low)
    assert gain.value - gain.low > gain.high - gain.value


@pytest.mark.parametrize("rows", [20, 60, 300])
def test_a_gain_is_significant_if_its_interval_does_not_hold_zero(
    rows: int, random: np.random.Generator
) -> None:
    for noise in (0.1, 0.5, 1.0, 3.0):
        first, labels = draw(rows, random)
        second = first + noise * random.standard_normal(rows)
        paired = paired_aucs([first, second], labels)
        assert paired is not None
        (gain,), (p_value,) = paired.gains, paired.p_values
        assert (p_value < 0.05) == (gain.low > 0 or gain.high < 0)
        assert 0 <= p_value <= 1


def test_two_perfect_models_of_few_examples_may_differ() -> None:
    labels = np.repeat([0.0, 1.0], 5)
    paired = paired_aucs(
        [np.arange(10.0), np.arange(10.0) + 3 * labels + np.eye(1, 10)[0] * 1.5], labels
    )
    assert paired is not None
    assert paired.gains[0].low < 0 < paired.gains[0].high
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
