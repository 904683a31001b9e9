"""Counted scores in a file: the same counts again, without empty ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.models.metrics import HISTOGRAM_BINS, ScoreHistogram
from coterie.ps.evaluation import SplitCounts
from coterie.ps.outcome import RunEnd, RunOutcome
from coterie.training.scores import CountedScores, Evaluation


def same(one: ScoreHistogram, other: ScoreHistogram) -> bool:
    (counts, sums), (others, other_sums) = one.to_arrays(), other.to_arrays()
    return bool((counts == others).all() and (sums == other_sums).all())


@given(st.lists(st.tuples(st.floats(-40, 40), st.booleans()), max_size=30))
def test_counts_come_back_as_they_were(examples: list[tuple[float, bool]]) -> None:
    logits = np.array([logit for logit, _ in examples], np.float64)
    labels = np.array([label for _, label in examples], np.float64)
    histogram = ScoreHistogram.count(logits, labels)
    counted = CountedScores.model_validate_json(CountedScores.of(histogram).model_dump_json())
    assert same(counted.histogram(), histogram)


def test_empty_ends_are_left_out() -> None:
    histogram = ScoreHistogram.count(np.array([-0.01, 0.01]), np.array([1.0, 0.0]))
    counted = CountedScores.of(histogram)
    assert counted.first == HISTOGRAM_BINS // 2 - 3
    assert len(counted.positives) == 6


@pytest.mark.parametrize("splits", [(), ("test",), ("validation", "test")])
def test_a_file_holds_the_released_splits(splits: tuple[str, ...], tmp_path: Path) -> None:
    assert Evaluation.read(tmp_path) is None
    histogram = ScoreHistogram.count(np.linspace(-3, 3, 50), (np.arange(50) % 2).astype(float))
    outcome = RunOutcome(
        steps=1,
        examples=2,
        seconds=1.0,
        train_loss=0.5,
        totals=tuple(SplitCounts(split, histogram) for split in splits),
        model_digest=bytes(32),
        end=RunEnd("5e" * 32, "c4" * 32),
    )
    Evaluation.of(outcome).write(tmp_path)
    found = Evaluation.read(tmp_path)
    assert found is not None
    for name, counts in (("validation", found.validation), ("test", found.test)):
        assert (counts is not None) == (name in splits)
        assert counts is None or same(counts.histogram(), histogram)
