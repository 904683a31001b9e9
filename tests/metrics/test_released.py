"""Released bins: each over enough examples and parties, near each other's size, with their error."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.metrics.binary import roc_auc
from coterie.metrics.histogram import ScoreHistogram
from coterie.metrics.ordered import keys_of
from coterie.metrics.released import MAX_BINS, ReleasedScores
from coterie.ps.core.disclosure import Disclosure


def draw(random: np.random.Generator, size: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    labels = (random.random(size) < 0.25).astype(np.float64)
    logits = spread * (random.standard_normal(size) + labels - 1.4)
    return logits.astype(np.float32), labels


def of_parties(
    seed: int, sizes: list[int], spread: float = 1.0
) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [draw(random, size, spread) for size in sizes]


def counted(
    scores: list[tuple[np.ndarray, np.ndarray]], groups: int | None = None
) -> list[ScoreHistogram]:
    parts = [ScoreHistogram.count(*own) for own in scores]
    return parts if groups is None else [part.coarsened(groups) for part in parts]


def parties(seed: int, sizes: list[int]) -> list[ScoreHistogram]:
    return counted(of_parties(seed, sizes))


SEEDS = st.integers(0, 2**32)
SIZES = st.lists(st.integers(0, 400), min_size=1, max_size=4)
SPREADS = st.sampled_from([1e-7, 1e-3, 0.1, 1.0, 10.0, 1e30])


@given(SEEDS, SIZES, SPREADS, st.integers(1, 60), st.integers(1, 2))
def test_every_bin_holds_enough_of_enough_parties(
    seed: int, sizes: list[int], spread: float, examples: int, least: int
) -> None:
    scores, rule = of_parties(seed, sizes, spread), Disclosure(examples, least)
    if not rule.allows(sizes):
        return  # not released at all
    released = ReleasedScores.of(counted(scores), rule.allows)
    lines = keys_of(np.array(released.edges, np.float32))
    assert np.array_equal(np.array(released.edges, np.float32), np.array(released.edges))
    keys = [keys_of(logits) for logits, _ in scores]

    def examples_in(low: int, high: int) -> list[int]:
        return [int(((low <= own) & (own < high)).sum()) for own in keys]

    bounds = [0, *lines.tolist(), 2**32]
    found = [examples_in(low, high) for low, high in itertools.pairwise(bounds)]
    assert [sum(held) for held in found] == np.add(released.positives, released.negatives).tolist()
    assert rule.allows(np.array(found).T).all()
    # and so does everything that the place of a line tells of: the halves on both of its sides
    for line in lines.tolist():
        width = line & -line
        assert rule.allows(examples_in(line - width, line))
        assert rule.allows(examples_in(line, line + width))


@given(
    SEEDS,
    st.lists(st.integers(100, 400), min_size=1, max_size=4),
    SPREADS,
    st.integers(1, 60),
    st.sampled_from([None, 1, 7, 64]),
)
def test_every_error_is_within_its_bound(
    seed: int, sizes: list[int], spread: float, minimum: int, groups: int | None
) -> None:
    scores = of_parties(seed, sizes, spread)
    logits, labels = (np.concatenate(parts) for parts in zip(*scores, strict=True))
    released = ReleasedScores.of(counted(scores, groups))
    exact = roc_auc(logits, labels)
    assert exact is not None
    assert released.auc is not None
    assert released.auc_error is not None
    assert abs(released.auc - exact) <= released.auc_error + 1e-12
    assert released.auc_error == 0 or groups is not None
    merged = ReleasedScores.of(counted(scores), Disclosure(minimum, 1).allows)
    wide = np.stack([merged.positives, merged.negatives]).astype(float)
    below = np.cumsum(wide[1]) - wide[1]
    drawn = (wide[0] * (below + wide[1] / 2)).sum() / wide.sum(axis=1).prod()
    assert abs(drawn - exact) <= merged.curve_error + 1e-12
    # mean predictions of each bin
    bins = np.searchsorted(merged.edges, logits.astype(np.float64), side="right")
    predictions = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -700, 700)))
    means = np.bincount(bins, predictions) / np.bincount(bins)
    assert merged.predictions == pytest.approx(means, abs=1e-9)


@given(SEEDS, st.lists(st.integers(100, 400), min_size=1, max_size=3))
def test_metrics_are_those_of_all_counts(seed: int, sizes: list[int]) -> None:
    parts = parties(seed, sizes)
    total = ScoreHistogram.merged(parts)
    released = ReleasedScores.of(parts, Disclosure(10, 1).allows)
    found, exactly = released.metrics(), total.metrics()
    assert (found.auc_low, found.auc_high) == pytest.approx((exactly.auc_low, exactly.auc_high))
    for field in ("auc", "auc_error", "log_loss", "accuracy", "calibration", "examples"):
        assert getattr(found, field) == getattr(exactly, field)


def test_scattered_scores_are_no_single_ones_any_more() -> None:
    """Of 280 groups each holds one score: as they are, they would be told."""
    (part,) = parties(1, [280])
    assert (part.positives + part.negatives == 1).sum() == 280
    released = ReleasedScores.of([part], Disclosure(25, 1).allows)
    assert len(released.positives) > 3
    assert min(np.add(released.positives, released.negatives)) >= 25


@pytest.mark.parametrize("spread", [1e-6, 2**-9, 1.0, 50.0])
def test_bins_follow_the_scores_and_fill_alike(spread: float) -> None:
    """However near each other scores lie: equal bins of logits would hold all of them in one."""
    scores = of_parties(2, [30_000, 30_000], spread)
    released = ReleasedScores.of(counted(scores), Disclosure(100, 2).allows)
    filled = np.add(released.positives, released.negatives)
    assert 250 < len(filled) <= MAX_BINS
    assert filled.min() >= 100
    assert np.median(filled) < 200
    assert released.curve_error < 2e-3


def test_bins_are_few_however_many_examples_there_are() -> None:
    (part,) = parties(4, [200_000])
    released = ReleasedScores.of([part], Disclosure(1, 1).allows)
    filled = np.add(released.positives, released.negatives)
    assert MAX_BINS / 2 < len(filled) <= MAX_BINS
    assert filled.min() >= 200_000 / MAX_BINS
    assert len(released.model_dump_json()) < 64 << 10


def test_scores_that_many_examples_share_have_bins_of_their_own() -> None:
    logits = np.repeat(np.array([-1.0, -1.0 + 2**-20, 0.5], np.float32), 100)
    part = ScoreHistogram.count(logits, np.arange(300) % 2.0)
    released = ReleasedScores.of([part], Disclosure(100, 1).allows)
    assert np.add(released.positives, released.negatives).tolist() == [100, 100, 100]
    below, above = released.edges
    assert -1.0 < below <= -1.0 + 2**-20 < above <= 0.5
    assert released.predictions == pytest.approx([1 / (1 + np.exp(-x)) for x in logits[::100]])


@pytest.mark.parametrize(("positives", "told"), [(0, False), (1, False), (19, False), (20, True)])
def test_an_auc_needs_enough_examples_of_each_class(positives: int, told: bool) -> None:
    """That of a single positive example would be its rank."""
    labels = (np.arange(200) < positives).astype(np.float64)
    for flipped, name in ((labels, "positive"), (1 - labels, "negative")):
        part = ScoreHistogram.count(np.linspace(-2, 2, 200), flipped)
        released = ReleasedScores.of([part], Disclosure(20, 1).allows)
        assert (released.auc is not None) == (released.interval() is not None) == told
        metrics = released.metrics()
        assert (metrics.auc_error is not None) == (metrics.auc_low is not None) == told
        assert (f"{name} example" in metrics.note) == (not told)
        withheld = "no AUC is told" in metrics.note and "limits.evaluation_minimum" in metrics.note
        assert withheld == (0 < positives < 20)


def test_what_may_be_shown_whole_has_a_bin_for_every_score() -> None:
    (part,) = parties(2, [50])
    exact = ReleasedScores.of([part])
    assert exact.positives == tuple(part.positives.tolist())
    assert exact.metrics() == part.metrics()
    none = ReleasedScores.of([ScoreHistogram.merged([])])
    assert none.metrics() == ScoreHistogram.merged([]).metrics()
    assert (none.edges, none.positives) == ((), (0,))


def test_it_survives_its_file() -> None:
    released = ReleasedScores.of(parties(3, [200, 100]), Disclosure(20, 2).allows)
    assert ReleasedScores.model_validate_json(released.model_dump_json()) == released


def test_one_crowded_score_is_one_bin() -> None:
    part = ScoreHistogram.count(np.zeros(1000), np.arange(1000) % 2.0)
    assert ReleasedScores.of([part], Disclosure(10, 1).allows).edges == ()
