"""Merged bins: each over enough examples and parties, and metrics that do not suffer from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.models.intervals import auc_interval
from coterie.models.metrics import HISTOGRAM_BINS, ScoreHistogram
from coterie.models.released import ReleasedScores, merged_edges
from coterie.ps.disclosure import Disclosure


def count(logits: np.ndarray, labels: np.ndarray) -> ScoreHistogram:
    return ScoreHistogram.count(logits, labels.astype(np.float64))


def parties(seed: int, sizes: list[int], spread: float = 1.0) -> list[ScoreHistogram]:
    random = np.random.default_rng(seed)
    parts = []
    for size in sizes:
        labels = random.random(size) < 0.25
        parts.append(count(spread * (random.standard_normal(size) + labels - 1.4), labels))
    return parts


def of_party(parts: list[ScoreHistogram]) -> np.ndarray:
    return np.stack([part.positives + part.negatives for part in parts])


SIZES = st.lists(st.integers(0, 400), min_size=1, max_size=4)


@given(
    st.integers(0, 2**32),
    SIZES,
    st.sampled_from([0.001, 0.1, 1.0, 10.0]),
    st.integers(1, 60),
    st.integers(1, 2),
)
def test_every_bin_holds_enough_of_enough_parties(
    seed: int, sizes: list[int], spread: float, examples: int, least: int
) -> None:
    parts, rule = parties(seed, sizes, spread), Disclosure(examples, least)
    counts = of_party(parts)
    if not rule.allows(counts.sum(axis=1)):
        return  # not released at all
    released = ReleasedScores.of(parts, rule.allows)
    edges = np.array(released.edges)
    assert (edges[0], edges[-1]) == (0, HISTOGRAM_BINS)
    assert rule.allows(np.add.reduceat(counts, edges[:-1], axis=1)).all()
    assert released.examples == sum(sizes)
    # and so does everything that the place of a line tells of: the halves on both of its sides
    for edge in edges[1:-1]:
        width = edge & -edge
        for start in (edge - width, edge):
            assert rule.allows(counts[:, start : start + width].sum(axis=1))


def test_scattered_scores_are_no_single_ones_any_more() -> None:
    """Of 239 bins that are not empty 200 hold one score: as they were, they would be told."""
    (part,) = parties(1, [280])
    filled = part.positives + part.negatives
    assert (filled == 1).sum() > 100
    released = ReleasedScores.of([part], Disclosure(25, 1).allows)
    assert len(released.positives) > 3
    assert min(np.add(released.positives, released.negatives)) >= 25


def test_bins_that_many_examples_share_stay_as_narrow_as_they_are() -> None:
    logits = np.repeat([-1.0, -1.0 + 2**-8, 0.5], 100)
    released = ReleasedScores.of([count(logits, np.arange(300) % 2)], Disclosure(100, 1).allows)
    assert np.add(released.positives, released.negatives).tolist() == [100, 100, 100]
    assert (-1.0 + 2**-8 + 16) * 256 in released.edges


@given(st.integers(0, 2**32), st.lists(st.integers(100, 400), min_size=1, max_size=3))
def test_metrics_are_those_of_all_counts_and_the_curves_error_is_bounded(
    seed: int, sizes: list[int]
) -> None:
    parts = parties(seed, sizes)
    total = sum(parts, ScoreHistogram.empty())
    released = ReleasedScores.of(parts, Disclosure(10, 1).allows)
    assert released.metrics() == total.metrics()
    interval, exactly = released.interval(), auc_interval(total)
    assert interval is not None
    assert exactly is not None
    assert [interval.low, interval.high] == pytest.approx([exactly.low, exactly.high])
    merged = ReleasedScores.of(parts, Disclosure(60, 1).allows)
    wide = np.stack([merged.positives, merged.negatives]).astype(float)
    below = np.cumsum(wide[1]) - wide[1]
    drawn = (wide[0] * (below + wide[1] / 2)).sum() / wide.sum(axis=1).prod()
    exact = total.metrics().auc
    assert exact is not None
    assert abs(drawn - exact) <= merged.auc_error + 1e-12
    predicted = np.add(merged.positives, merged.negatives) * np.array(merged.predictions)
    assert predicted.sum() == pytest.approx(total.prediction_sum, abs=5e-4 * total.examples)


@pytest.mark.parametrize(("positives", "told"), [(0, False), (1, False), (19, False), (20, True)])
def test_an_auc_needs_enough_examples_of_each_class(positives: int, told: bool) -> None:
    """That of a single positive example would be its rank."""
    labels = np.arange(200) < positives
    for flipped in (labels, ~labels):
        released = ReleasedScores.of(
            [count(np.linspace(-2, 2, 200), flipped)], Disclosure(20, 1).allows
        )
        assert (released.auc is not None) == (released.interval() is not None) == told


def test_what_may_be_shown_whole_keeps_its_narrow_bins() -> None:
    (part,) = parties(2, [50])
    exact = ReleasedScores.of([part])
    filled = np.flatnonzero(part.positives + part.negatives)
    assert exact.edges == tuple(range(int(filled[0]), int(filled[-1]) + 2))
    assert exact.positives == tuple(part.positives[filled[0] : filled[-1] + 1].tolist())
    assert exact.metrics() == part.metrics()
    assert ReleasedScores.of([ScoreHistogram.empty()]).metrics() == ScoreHistogram.empty().metrics()


def test_it_survives_its_file() -> None:
    released = ReleasedScores.of(parties(3, [200, 100]), Disclosure(20, 2).allows)
    assert ReleasedScores.model_validate_json(released.model_dump_json()) == released


def test_one_crowded_bin_is_one_bin() -> None:
    counts = np.zeros((1, HISTOGRAM_BINS), np.int64)
    counts[0, 4000] = 1000
    assert merged_edges(counts, Disclosure(10, 1).allows).tolist() == [0, HISTOGRAM_BINS]
