"""Curves of counted scores hold the counts."""

from __future__ import annotations

import numpy as np
import pytest

from coterie.models.metrics import ScoreHistogram
from coterie.report import quality
from tests.report.runs import scores

HISTOGRAM = ScoreHistogram.count(*scores())


def test_the_roc_curve_has_the_auc_of_the_counts() -> None:
    false_k, true_k = quality.roc_points(HISTOGRAM)
    assert (false_k[0], true_k[0], false_k[-1], true_k[-1]) == (0, 0, 1, 1)
    assert len(false_k) <= 202
    auc = HISTOGRAM.metrics().auc
    assert np.trapezoid(true_k, false_k) == pytest.approx(auc, abs=2e-3)


def test_calibration_groups_hold_every_example_once() -> None:
    groups = quality.calibration_groups(HISTOGRAM)
    logits, labels = scores()
    assert len(groups) == 10
    assert sum(group.examples for group in groups) == len(labels)
    assert max(g.examples for g in groups) - min(g.examples for g in groups) < 40
    observed = sum(group.examples * group.observed for group in groups)
    predicted = sum(group.examples * group.predicted for group in groups)
    assert observed == pytest.approx(labels.sum())
    assert predicted == pytest.approx(HISTOGRAM.prediction_sum, rel=1e-3)
    assert [g.predicted for g in groups] == sorted(g.predicted for g in groups)
    assert quality.calibration_groups(ScoreHistogram.empty()) == []
    assert len(quality.calibration_groups(ScoreHistogram.count(logits[:3], labels[:3]))) == 3
