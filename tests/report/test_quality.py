"""Curves of counted scores hold the counts."""

from __future__ import annotations

import numpy as np
import pytest

from coterie.metrics.histogram import ScoreHistogram
from coterie.metrics.released import ReleasedScores
from coterie.report import quality
from tests.report.runs import released, scores

EXACT = ReleasedScores.of([ScoreHistogram.count(*scores())])
MERGED = released()


def counted(rows: int) -> ReleasedScores:
    logits, labels = scores()
    return ReleasedScores.of([ScoreHistogram.count(logits[:rows], labels[:rows])])


@pytest.mark.parametrize(("counts", "thinned"), [(EXACT, 2e-3), (MERGED, 0.0)])
def test_the_roc_curve_has_the_auc_but_for_what_merging_costs(
    counts: ReleasedScores, thinned: float
) -> None:
    false_k, true_k = quality.roc_points(counts)
    assert (false_k[0], true_k[0], false_k[-1], true_k[-1]) == (0, 0, 1, 1)
    assert len(false_k) <= 202
    assert counts.auc == EXACT.auc
    assert np.trapezoid(true_k, false_k) == pytest.approx(
        EXACT.auc, abs=counts.curve_error + thinned
    )


def test_the_figures_say_what_merging_costs() -> None:
    drawing = quality.roc_figure([("one", MERGED)])
    assert drawing is not None
    assert f"in {len(MERGED.positives)} bins" in drawing.caption
    assert f"within {MERGED.curve_error:.4f} of the AUC" in drawing.caption


def test_calibration_groups_hold_every_example_once() -> None:
    groups = quality.calibration_groups(EXACT)
    _, labels = scores()
    assert len(groups) == 10
    assert sum(group.examples for group in groups) == len(labels)
    assert max(g.examples for g in groups) - min(g.examples for g in groups) < 40
    observed = sum(group.examples * group.observed for group in groups)
    predicted = sum(group.examples * group.predicted for group in groups)
    assert observed == pytest.approx(labels.sum())
    assert predicted == pytest.approx(EXACT.prediction_sum, rel=1e-3)
    assert [g.predicted for g in groups] == sorted(g.predicted for g in groups)
    assert quality.calibration_groups(counted(0)) == []
    assert len(quality.calibration_groups(counted(3))) == 3


def test_calibration_of_merged_bins_is_as_good_as_it_says() -> None:
    groups = quality.calibration_groups(MERGED)
    logits, labels = scores()
    assert sum(group.examples for group in groups) == len(labels)
    order = np.argsort(logits)
    start = 0
    for group in groups:
        inside = order[start : start + group.examples]
        assert group.predicted == pytest.approx(
            (1 / (1 + np.exp(-logits[inside]))).mean(), abs=5e-4
        )
        assert group.observed == pytest.approx(labels[inside].mean())
        start += group.examples
