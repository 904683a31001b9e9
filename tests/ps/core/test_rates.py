"""The learning rates' factor: against formulas, and against Keras."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from coterie.contract import RateSchedule
from coterie.models.backend import configure_tensorflow
from coterie.ps.core.rates import rate_factor


def test_without_a_schedule_the_rate_is_constant() -> None:
    assert [rate_factor(RateSchedule(), step) for step in (0, 1, 10**9)] == [1.0, 1.0, 1.0]


def test_the_warm_up_is_linear_and_ends_at_one() -> None:
    schedule = RateSchedule(warmup_steps=4)
    assert [rate_factor(schedule, step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


@pytest.mark.tensorflow
@pytest.mark.parametrize(("power", "final"), [(1.0, 0.0), (2.0, 0.1), (0.5, 0.5)])
def test_the_decay_is_keras_polynomial_decay(power: float, final: float) -> None:
    configure_tensorflow(1)
    import keras

    schedule = RateSchedule(decay_start=10, decay_steps=50, power=power, final=final)
    theirs = keras.optimizers.schedules.PolynomialDecay(
        1.0, 50, end_learning_rate=final, power=power
    )
    for step in range(70):
        expected = float(theirs(max(0, step - 10)))
        assert rate_factor(schedule, step) == pytest.approx(expected, abs=1e-6)


def test_a_decay_before_the_warm_ups_end_is_refused() -> None:
    with pytest.raises(
        ValidationError, match=r"decay_start \(3\) is before the warm-up's end \(5\)"
    ):
        RateSchedule(warmup_steps=5, decay_start=3, decay_steps=10)
