"""A run's outcome is kept as it is; what another version kept is refused in words."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from coterie.errors import CheckpointDamaged
from coterie.metrics.histogram import ScoreHistogram
from coterie.metrics.released import ReleasedScores
from coterie.runs.outcome import RunEnd, RunOutcome
from coterie.runs.records import WorkerAbsence

COUNTS = ScoreHistogram.count(np.linspace(-3, 3, 40), (np.arange(40) % 2).astype(np.float64))
OUTCOME = RunOutcome(
    steps=3,
    model_step=3,
    examples=12,
    seconds=1.5,
    train_loss=0.5,
    totals={"test": ReleasedScores.of([COUNTS])},
    model_digest=bytes(range(32)),
    end=RunEnd("5e" * 32, "c4" * 32),
    absences=(WorkerAbsence(worker="w0", start=1, stop=None),),
)


@pytest.mark.parametrize("outcome", [OUTCOME, replace(OUTCOME, train_loss=None, totals={})])
def test_an_outcome_comes_back_as_it_was_kept(outcome: RunOutcome) -> None:
    assert RunOutcome.from_json(outcome.to_json()) == outcome


def test_what_another_version_kept_is_refused() -> None:
    kept = {**json.loads(OUTCOME.to_json()), "totals": "0a0b"}
    with pytest.raises(CheckpointDamaged) as refused:
        RunOutcome.from_json(json.dumps(kept).encode())
    assert refused.value.what == "the kept outcome of the run is none of this version"
    assert "0a0b" not in refused.value.seen, "what was kept is not told"
