"""AUC over owners whose groups lie in each other: within its bound, which wide groups hardly widen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.metrics.binary import roc_auc
from coterie.metrics.histogram import ScoreHistogram
from coterie.metrics.pooling import pooled_auc
from tests.metrics.test_histogram import SCORES, clicks, labels_for


@given(SCORES, st.integers(0, 2**32), st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_the_auc_is_within_its_bound_however_coarse_each_owner_is(
    scores: np.ndarray, seed: int, groups: list[int]
) -> None:
    labels = labels_for(scores, seed)
    owner_n = np.random.default_rng(seed + 1).integers(0, len(groups), len(scores))
    single = [
        ScoreHistogram.count(scores[owner_n == i], labels[owner_n == i]) for i in range(len(groups))
    ]
    parts = [part.coarsened(most) for part, most in zip(single, groups, strict=True)]
    exact, merged = roc_auc(scores, labels), ScoreHistogram.merged(parts)
    if exact is None:
        assert pooled_auc(parts) is None
        return
    assert pooled_auc(single) == (exact, 0)
    pooled = pooled_auc(parts)
    assert pooled is not None
    assert abs(pooled[0] - exact) <= pooled[1] + 1e-12
    assert pooled[1] <= merged.auc_error + 1e-12
    assert pooled_auc(parts[::-1]) == pytest.approx(pooled, abs=1e-12)


def test_wide_groups_of_one_owner_do_not_blur_the_scores_of_another() -> None:
    """One has many scores far apart; those of another lie near each other, where the first has few."""
    apart, near = clicks(40_000, 1), clicks(200_000, 2, 0.02)
    scores = [apart, (near[0] + np.float32(2.4), near[1])]
    parts = [ScoreHistogram.count(*own).coarsened() for own in scores]
    exact = roc_auc(*(np.concatenate(both) for both in zip(*scores, strict=True)))
    pooled = pooled_auc(parts)
    assert pooled is not None
    assert ScoreHistogram.merged(parts).auc_error > 1e-3
    assert pooled[1] < 4e-5
    assert pooled[0] == pytest.approx(exact, abs=1e-6)


def test_without_both_classes_there_is_none() -> None:
    assert pooled_auc([]) is None
    assert pooled_auc([ScoreHistogram.count(np.arange(3.0), np.ones(3))]) is None
