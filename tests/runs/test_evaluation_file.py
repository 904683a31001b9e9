"""Counted scores in a file: the same again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coterie.metrics.histogram import ScoreHistogram
from coterie.metrics.released import ReleasedScores
from coterie.runs.evaluation_file import Evaluation
from coterie.runs.outcome import RunEnd, RunOutcome


@pytest.mark.parametrize("splits", [(), ("test",), ("validation", "test")])
def test_a_file_holds_the_released_splits(splits: tuple[str, ...], tmp_path: Path) -> None:
    assert Evaluation.read(tmp_path) is None
    histogram = ScoreHistogram.count(np.linspace(-3, 3, 50), (np.arange(50) % 2).astype(float))
    released = ReleasedScores.of([histogram])
    outcome = RunOutcome(
        steps=1,
        model_step=1,
        examples=2,
        seconds=1.0,
        train_loss=0.5,
        totals=dict.fromkeys(splits, released),
        model_digest=bytes(32),
        end=RunEnd("5e" * 32, "c4" * 32),
    )
    Evaluation.of(outcome).write(tmp_path)
    found = Evaluation.read(tmp_path)
    assert found is not None
    for name, counts in (("validation", found.validation), ("test", found.test)):
        assert counts == (released if name in splits else None)
