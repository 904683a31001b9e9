"""The metrics do what their definitions say, and counted scores give the same ones."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coterie.arrays import FloatArray
from coterie.errors import DataError
from coterie.metrics.binary import (
    accuracy,
    calibration,
    expected_calibration_error,
    log_loss,
    roc_auc,
)
from coterie.metrics.groups import auc_of_groups
from coterie.metrics.histogram import ScoreHistogram

# Few distinct values, so that ties are common.
tied_scores = hnp.arrays(np.float32, st.integers(0, 30), elements=st.sampled_from([-2, 0, 0.5, 3]))
free_scores = hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(-30, 30, width=32))


def labels_for(scores: FloatArray, seed: int) -> FloatArray:
    return np.random.default_rng(seed).integers(0, 2, len(scores)).astype(np.float32)


@given(st.one_of(tied_scores, free_scores), st.integers(0, 2**32))
def test_auc_is_the_share_of_pairs_in_the_right_order(scores: FloatArray, seed: int) -> None:
    labels = labels_for(scores, seed)
    pairs = list(itertools.product(scores[labels == 1], scores[labels == 0]))
    if not pairs:
        assert roc_auc(scores, labels) is None
        return
    right = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs)
    assert roc_auc(scores, labels) == pytest.approx(right / len(pairs), abs=1e-12)


@given(free_scores, st.integers(0, 2**32))
def test_log_loss_accuracy_and_calibration_follow_their_definitions(
    logits: FloatArray, seed: int
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
        assert counted.metrics().calibration == pytest.approx(sum(chances) / float(labels.sum()))
        assert calibration(np.array(chances), labels.astype(np.float64)) == pytest.approx(
            sum(chances) / float(labels.sum())
        )


@pytest.mark.parametrize(("label", "right"), [(0, 1), (1, 0)])
def test_one_half_is_no_click_wherever_it_is_counted(label: int, right: int) -> None:
    logits, labels = np.zeros(1, np.float32), np.array([label], np.float32)
    assert ScoreHistogram.count(logits, labels).correct == right
    assert accuracy(logits, labels) == right


@pytest.mark.parametrize("size", [17.0, 40.0, 100.0, 1e30])
def test_the_loss_of_a_logit_of_any_size_is_its_own(size: float) -> None:
    logits = np.array([size, -size], np.float32)
    for wrong, labels in ((0, [1, 0]), (1, [0, 1])):
        labels_n = np.array(labels, np.float32)
        loss = wrong * size + math.log1p(math.exp(-size))
        counted = ScoreHistogram.count(logits, labels_n)
        for found in (log_loss(logits, labels_n), counted.metrics().log_loss):
            assert found == pytest.approx(loss, rel=1e-6)
        assert counted.prediction_sum == pytest.approx(1)
        assert counted.correct == 2 * (1 - wrong)
    # one of two that are wrong by different amounts: nothing has made them equal
    assert roc_auc(np.array([size, 2 * size], np.float32), np.array([0.0, 1.0])) == 1
    assert ScoreHistogram.count(np.array([size, 2 * size]), np.array([0.0, 1.0])).metrics().auc == 1


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


OF_AUC = {"auc", "auc_error", "auc_low", "auc_high"}


@pytest.mark.parametrize(
    ("labels", "undefined"),
    [
        ([], {*OF_AUC, "log_loss", "accuracy", "calibration"}),
        ([0, 0], {*OF_AUC, "calibration"}),
        ([1, 1], OF_AUC),
        ([1, 0], {"auc_low", "auc_high"}),
        ([1, 0, 1, 0], set()),
    ],
)
def test_what_examples_do_not_define_is_null_in_json(
    labels: list[int], undefined: set[str]
) -> None:
    logits_n = np.linspace(-1, 1, len(labels), dtype=np.float32)
    labels_n = np.array(labels, np.float32)
    metrics = ScoreHistogram.count(logits_n, labels_n).metrics()
    text = json.dumps(metrics.to_dict(), allow_nan=False)
    assert {key for key, value in json.loads(text).items() if value is None} == undefined


@pytest.mark.parametrize(
    ("positives", "negatives", "note"),
    [
        (0, 9, "no positive example: no AUC"),
        (9, 0, "no negative example: no AUC"),
        (1, 900, "only 1 positive example: the AUC says little"),
        (900, 19, "only 19 negative examples: the AUC says little"),
        (20, 900, ""),
    ],
)
def test_it_is_said_when_a_class_is_too_small(positives: int, negatives: int, note: str) -> None:
    labels = np.repeat([1.0, 0.0], [positives, negatives])
    metrics = ScoreHistogram.count(np.linspace(-1, 1, len(labels)), labels).metrics()
    assert metrics.note == metrics.to_dict()["note"] == note
    assert metrics.positives == positives


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
    for function in (roc_auc, log_loss, accuracy, calibration, ScoreHistogram.count):
        with pytest.raises(DataError) as refusal:
            function(np.array(scores, np.float32), np.array(labels, np.float32))
        assert refusal.value.remedy


@pytest.mark.parametrize("logit", [1.5, -0.5])
def test_a_logit_is_no_probability(logit: float) -> None:
    with pytest.raises(DataError, match="no probability"):
        expected_calibration_error(np.array([logit, 0.5]), np.array([1.0, 0.0]))


@given(st.integers(1, 2**50), st.integers(1, 2**50))
def test_auc_of_more_pairs_than_an_integer_counts(positives: int, negatives: int) -> None:
    """Half of the positives outrank all, half are outranked by all: one half, whatever the numbers."""
    assert auc_of_groups(np.array([positives, 0, positives]), np.array([0, negatives, 0])) == 0.5


@pytest.mark.system
def test_metrics_do_not_load_tensorflow() -> None:
    code = "import sys, coterie.metrics.binary, coterie.metrics.histogram; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
