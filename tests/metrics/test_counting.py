"""Scores that come in batches are counted as if they had come at once."""

from __future__ import annotations

import numpy as np
import pytest

from coterie.errors import DataError
from coterie.metrics.counting import ScoreCounter
from coterie.metrics.histogram import ScoreHistogram
from tests.metrics.test_histogram import clicks, same


def counted(counter: ScoreCounter, size: int, examples: int = 30_000) -> ScoreHistogram:
    logits, labels = clicks(examples, 5)
    for start in range(0, examples, size):
        counter.add(logits[start : start + size], labels[start : start + size])
    return counter.histogram()


@pytest.mark.parametrize("groups", [None, 3_000])
def test_the_size_of_batches_changes_no_bit(groups: int | None) -> None:
    found = [counted(ScoreCounter(groups, together=10_000), size) for size in (64, 9_999, 30_000)]
    assert same(found[0], found[1])
    assert same(found[0], found[2])
    assert found[0].examples == 30_000


def test_what_is_not_to_be_coarsened_is_counted_at_once() -> None:
    whole = ScoreHistogram.count(*clicks(30_000, 5))
    assert same(counted(ScoreCounter(groups=None, together=1_000), 512), whole)


def test_memory_is_bounded_and_so_is_the_error() -> None:
    found = counted(ScoreCounter(3_000, together=10_000), 512)
    assert len(found.starts) <= 3_000
    exact = ScoreHistogram.count(*clicks(30_000, 5)).metrics().auc
    assert found.metrics().auc == pytest.approx(exact, abs=found.auc_error)
    assert 0 < found.auc_error < 1e-3


def test_no_batch_at_all_is_no_example() -> None:
    assert ScoreCounter().histogram().examples == 0


def test_a_diverged_model_is_told_of() -> None:
    counter = ScoreCounter()
    counter.add(np.array([np.nan], np.float32), np.array([0.0], np.float32))
    with pytest.raises(DataError, match="not finite"):
        counter.histogram()
