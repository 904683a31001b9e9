"""What a worker tells its own host of its own steps."""

from __future__ import annotations

import numpy as np

from coterie.ps.core.aggregation import Gradients
from coterie.runs.events import WorkerProgress
from coterie.training.step_reports import EVERY_SECONDS, OwnSteps


def pushed(examples: int, loss: float) -> Gradients:
    none = np.zeros(0, np.float32)
    return Gradients(examples, examples * loss, none, np.zeros(0, np.int32), none.reshape(0, 4))


def test_steps_are_told_together_after_a_while_and_at_the_end() -> None:
    own = OwnSteps("w0", 100, began=50.0)
    assert own.add(1, 4, pushed(100, 0.75), 51.0) is None
    told = own.add(2, 4, pushed(300, 0.25), 50.0 + EVERY_SECONDS)
    assert told == WorkerProgress("w0", 2, 4, 0.375, 400 / EVERY_SECONDS)
    assert own.add(3, 4, pushed(100, 0.5), 61.0) is None
    assert own.add(4, 4, pushed(100, 1.0), 62.0) == WorkerProgress("w0", 4, 4, 0.75, 100)


def test_a_loss_is_told_over_enough_examples_only() -> None:
    own = OwnSteps("w0", 100, began=0.0)
    assert own.add(1, 4, pushed(60, 0.5), 10.0) == WorkerProgress("w0", 1, 4, None, 6)
    assert own.add(2, 4, pushed(60, 1.0), 20.0) == WorkerProgress("w0", 2, 4, 0.75, 6)
    assert own.add(4, 4, pushed(99, 1.0), 30.0) == WorkerProgress("w0", 4, 4, None, 9.9)


def test_a_host_that_owns_no_data_is_told_no_loss() -> None:
    own = OwnSteps("w0", None, began=0.0)
    assert own.add(4, 4, pushed(1000, 0.5), 10.0) == WorkerProgress("w0", 4, 4, None, 100)


def test_no_speed_is_told_where_no_time_has_passed() -> None:
    own = OwnSteps("w0", 1, began=5.0)
    assert own.add(1, 1, pushed(10, 0.5), 5.0) == WorkerProgress("w0", 1, 1, 0.5, None)
