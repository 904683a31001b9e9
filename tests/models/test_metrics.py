"""The metrics do what their definitions say, and histograms of parties add up to the whole's."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coterie.errors import DataError, MessageRefused
from coterie.models import (
    HISTOGRAM_BINS,
    ScoreHistogram,
    accuracy,
    calibration,
    evaluate,
    expected_calibration_error,
    log_loss,
    roc_auc,
)

Floats = npt.NDArray[np.float32]

# Few distinct values, so that ties are common.
tied_scores = hnp.arrays(np.float32, st.integers(0, 30), elements=st.sampled_from([-2, 0, 0.5, 3]))
free_scores = hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(-30, 30, width=32))


def labels_for(scores: Floats, seed: int) -> Floats:
    return np.random.default_rng(seed).integers(0, 2, len(scores)).astype(np.float32)


def clicks(examples: int, seed: int) -> tuple[Floats, Floats]:
    """Logits of a fair model and labels drawn from them, at about Criteo's click rate."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1.4, 1.1, examples).astype(np.float32)
    labels = (rng.random(examples) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    return logits, labels


@given(st.one_of(tied_scores, free_scores), st.integers(0, 2**32))
def test_auc_is_the_share_of_pairs_in_the_right_order(scores: Floats, seed: int) -> None:
    labels = labels_for(scores, seed)
    pairs = list(itertools.product(scores[labels == 1], scores[labels == 0]))
    if not pairs:
        assert roc_auc(scores, labels) is None
        return
    right = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs)
    assert roc_auc(scores, labels) == pytest.approx(right / len(pairs), abs=1e-12)


@given(free_scores, st.integers(0, 2**32))
def test_log_loss_accuracy_and_calibration_follow_their_definitions(
    logits: Floats, seed: int
) -> None:
    labels = labels_for(logits, seed)
    chances = [1 / (1 + math.exp(-float(x))) for x in logits]
    losses = [
        -math.log(p) if y else float(x) - math.log(p)  # 1 - p = p exp(-x)
        for p, x, y in zip(chances, logits, labels, strict=True)
    ]
    assert log_loss(logits, labels) == pytest.approx(sum(losses) / len(losses), abs=1e-9)
    right = [(x > 0) == bool(y) for x, y in zip(logits, labels, strict=True)]
    assert accuracy(logits, labels) == pytest.approx(sum(right) / len(right))
    counted = ScoreHistogram.count(logits, labels)
    assert counted.prediction_sum == pytest.approx(sum(chances))
    assert counted.correct == sum(right)
    if labels.any():
        assert evaluate(logits, labels).calibration == pytest.approx(
            sum(chances) / float(labels.sum())
        )
        assert calibration(np.array(chances), labels.astype(np.float64)) == pytest.approx(
            sum(chances) / float(labels.sum())
        )


@pytest.mark.parametrize(("label", "right"), [(0, 1), (1, 0)])
def test_one_half_is_no_click_wherever_it_is_counted(label: int, right: int) -> None:
    logits, labels = np.zeros(1, np.float32), np.array([label], np.float32)
    assert ScoreHistogram.count(logits, labels).correct == right
    assert accuracy(logits, labels) == right


def test_logits_of_any_size_have_a_finite_loss() -> None:
    logits = np.array([1e30, -1e30], np.float32)
    assert log_loss(logits, np.array([1, 0], np.float32)) == 0
    loss = log_loss(logits, np.array([0, 1], np.float32))
    assert loss is not None
    assert math.isclose(loss, 1e30, rel_tol=1e-6)


def test_the_calibration_error_compares_predictions_and_labels_bin_by_bin() -> None:
    predictions = np.array([0.1, 0.3, 0.9, 0.7])
    labels = np.array([0.0, 0.0, 1.0, 0.0])
    # bins [0, 0.5) and [0.5, 1]: |0.4 - 0| and |1.6 - 1| over four examples
    assert expected_calibration_error(predictions, labels, 2) == pytest.approx(1.0 / 4)
    assert expected_calibration_error(np.ones(3), np.ones(3)) == 0
    # 1 is in the last bin like all others there: |1.9 - 1| over two examples
    assert expected_calibration_error(np.array([1, 0.9]), np.array([0.0, 1.0]), 2) == pytest.approx(
        0.9 / 2
    )


@pytest.mark.parametrize(
    ("labels", "undefined"),
    [
        ([], {"auc", "log_loss", "accuracy", "calibration"}),
        ([0, 0], {"auc", "calibration"}),
        ([1, 1], {"auc"}),
        ([1, 0], set()),
    ],
)
def test_what_examples_do_not_define_is_null_in_json(
    labels: list[int], undefined: set[str]
) -> None:
    logits_n = np.linspace(-1, 1, len(labels), dtype=np.float32)
    labels_n = np.array(labels, np.float32)
    for metrics in (
        evaluate(logits_n, labels_n),
        ScoreHistogram.count(logits_n, labels_n).metrics(),
    ):
        text = json.dumps(metrics.to_dict(), allow_nan=False)
        assert {key for key, value in json.loads(text).items() if value is None} == undefined


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        ([1.0, 2.0], [1.0]),
        ([[1.0]], [[1.0]]),
        ([math.nan], [1.0]),
        ([math.inf], [1.0]),
        ([1.0], [0.5]),
        ([1.0], [math.nan]),
    ],
)
def test_scores_or_labels_that_are_none_are_refused(
    scores: list[float], labels: list[float]
) -> None:
    for function in (roc_auc, log_loss, accuracy, calibration, evaluate, ScoreHistogram.count):
        with pytest.raises(DataError) as refusal:
            function(np.array(scores, np.float32), np.array(labels, np.float32))
        assert refusal.value.remedy


@pytest.mark.parametrize("logit", [1.5, -0.5])
def test_a_logit_is_no_probability(logit: float) -> None:
    with pytest.raises(DataError, match="no probability"):
        expected_calibration_error(np.array([logit, 0.5]), np.array([1.0, 0.0]))


@pytest.mark.parametrize("seed", range(5))
def test_a_histogram_gives_auc_within_a_ten_thousandth_and_the_rest_exactly(seed: int) -> None:
    logits, labels = clicks(10_000, seed)
    exact, binned = evaluate(logits, labels), ScoreHistogram.count(logits, labels).metrics()
    assert exact.auc is not None
    assert 0.7 < exact.auc < 0.8
    assert binned.auc == pytest.approx(exact.auc, abs=1e-4)
    assert binned.log_loss == pytest.approx(exact.log_loss, abs=1e-12)
    assert binned.accuracy == exact.accuracy
    assert binned.calibration == pytest.approx(exact.calibration, abs=1e-12)
    assert binned.examples == exact.examples == 10_000


def test_histograms_of_parties_add_up_to_that_of_all() -> None:
    logits, labels = clicks(4_000, 7)
    parts = [
        ScoreHistogram.count(x, y)
        for x, y in zip(np.split(logits, [700, 2_500]), np.split(labels, [700, 2_500]), strict=True)
    ]
    total = sum(parts, ScoreHistogram.empty())
    whole = ScoreHistogram.count(logits, labels)
    np.testing.assert_array_equal(total.positives, whole.positives)
    np.testing.assert_array_equal(total.negatives, whole.negatives)
    assert total.correct == whole.correct
    assert total.prediction_sum == pytest.approx(whole.prediction_sum)
    assert total.loss_sum == pytest.approx(whole.loss_sum)
    assert total.metrics().auc == whole.metrics().auc


@given(st.integers(1, 2**50), st.integers(1, 2**50))
def test_auc_of_more_pairs_than_an_integer_counts(positives: int, negatives: int) -> None:
    """Half of the positives outrank all, half are outranked by all: one half, whatever the numbers."""
    histogram = ScoreHistogram.empty()
    histogram.positives[[0, -1]] = positives
    histogram.negatives[HISTOGRAM_BINS // 2] = negatives
    assert histogram.metrics().auc == 0.5


def test_logits_beyond_the_bins_count_in_the_outermost() -> None:
    histogram = ScoreHistogram.count(
        np.array([-99, -16, 0, 16, 99], np.float32), np.array([0, 0, 1, 1, 1], np.float32)
    )
    assert histogram.negatives[0] == 2
    assert histogram.positives[HISTOGRAM_BINS // 2] == 1
    assert histogram.positives[-1] == 2


@given(free_scores, st.integers(0, 2**32))
def test_a_histogram_survives_the_wire(logits: Floats, seed: int) -> None:
    sent = ScoreHistogram.count(logits, labels_for(logits, seed))
    received = ScoreHistogram.from_arrays(*sent.to_arrays())
    np.testing.assert_array_equal(received.positives, sent.positives)
    np.testing.assert_array_equal(received.negatives, sent.negatives)
    assert received.metrics() == sent.metrics()


def histogram_arrays(
    count: int = 1, sums: tuple[float, ...] = (0.5, 0.5, 1.0)
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    counts = np.zeros((2, HISTOGRAM_BINS), np.int64)
    counts[0, 0] = count
    return counts, np.array(sums, np.float64)


@pytest.mark.parametrize(
    ("counts", "sums", "named"),
    [
        (np.zeros((2, 5), np.int64), np.zeros(3), "counts"),
        (np.zeros((2, HISTOGRAM_BINS), np.int32), np.zeros(3), "counts"),
        (np.zeros((2, HISTOGRAM_BINS), np.int64), np.zeros(4), "sums"),
        (np.zeros((2, HISTOGRAM_BINS), np.int64), np.zeros(3, np.float32), "sums"),
        (*histogram_arrays(count=-1), "counts"),
        (*histogram_arrays(count=2**53), "counts"),
        (np.full((2, HISTOGRAM_BINS), 2**62, np.int64), np.zeros(3), "counts"),
        (*histogram_arrays(sums=(math.nan, 0.5, 1)), "loss sum"),
        (*histogram_arrays(sums=(-1, 0.5, 1)), "loss sum"),
        (*histogram_arrays(sums=(0.5, 1.5, 1)), "prediction sum"),
        (*histogram_arrays(sums=(0.5, math.nan, 1)), "prediction sum"),
        (*histogram_arrays(sums=(0.5, 0.5, 2)), "correct"),
        (*histogram_arrays(sums=(0.5, 0.5, 0.5)), "correct"),
        (*histogram_arrays(sums=(0.5, 0.5, math.nan)), "correct"),
    ],
)
def test_arrays_that_are_no_histogram_are_refused(
    counts: npt.NDArray[np.int64], sums: npt.NDArray[np.float64], named: str
) -> None:
    with pytest.raises(MessageRefused) as refusal:
        ScoreHistogram.from_arrays(counts, sums)
    assert f"evaluation's {named} is" in refusal.value.what


@given(
    hnp.arrays(np.float64, (3,), elements=st.floats(allow_nan=True, allow_infinity=True)),
    st.integers(-(2**63), 2**63 - 1),
)
def test_arbitrary_arrays_are_read_or_refused(sums: npt.NDArray[np.float64], count: int) -> None:
    counts = np.zeros((2, HISTOGRAM_BINS), np.int64)
    counts[1, 3] = count
    try:
        metrics = ScoreHistogram.from_arrays(counts, sums).metrics()
    except MessageRefused:
        return
    json.dumps(metrics.to_dict(), allow_nan=False)


@pytest.mark.system
def test_metrics_do_not_load_tensorflow() -> None:
    code = "import sys, coterie.models; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
