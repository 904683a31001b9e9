"""Flushes: no worker keeps anything back where a checkpoint may be made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coterie.contract import Contract
from coterie.ps.core.flushes import FlushPlan, flushes
from coterie.ps.core.schedule import Schedule


def plan(contract: Contract, examples: tuple[int, ...] = (40, 40)) -> tuple[FlushPlan, Schedule]:
    schedule = Schedule.of(contract, examples)
    return FlushPlan.of(contract, schedule.steps_per_epoch), schedule


def test_checkpoints_epochs_and_validations_find_no_remainder(
    make_contract: Callable[..., Contract],
) -> None:
    contract = make_contract(
        batch=4, epochs=2, checkpoint_steps=4, exchange="int8", validation={"every_steps": 7}
    )
    settled, schedule = plan(contract)
    assert schedule.steps == 20
    found = [step for step in range(21) if settled.settled(step) == step]
    assert found == [0, 4, 7, 8, 10, 12, 14, 16, 20]


def test_the_push_before_each_of_them_is_a_flush(make_contract: Callable[..., Contract]) -> None:
    contract = make_contract(batch=4, checkpoint_steps=4, exchange="int8")
    settled, schedule = plan(contract)
    (lane, _) = schedule.lanes
    assert [step for step in range(10) if settled.flushes(lane, step)] == [3, 7, 9]
    assert [step for step in range(11) if settled.remains(lane, step)] == [1, 2, 3, 5, 6, 7, 9]


def test_a_worker_that_has_no_part_in_the_step_before_flushes_in_its_last_one(
    make_contract: Callable[..., Contract],
) -> None:
    """A party with few rows takes part in some steps only."""
    contract = make_contract(workers=3, batch=64, checkpoint_steps=3, exchange="int8")
    settled, schedule = plan(contract, (1200, 1200, 150))
    lane = schedule.lanes[2]
    own = [step for step in range(schedule.steps) if len(lane.span(step))]
    assert len(own) < schedule.steps
    for step, following in zip(own, [*own[1:], schedule.steps], strict=True):
        between = any(settled.settled(at) == at for at in range(step + 1, following + 1))
        assert settled.flushes(lane, step) == between


@pytest.mark.parametrize("exchange", ["float32", "bfloat16"])
def test_without_error_feedback_there_are_no_flushes(
    make_contract: Callable[..., Contract], exchange: str
) -> None:
    contract = make_contract(batch=4, checkpoint_steps=1, exchange=exchange)
    _, schedule = plan(contract)
    assert not any(flushes(contract, schedule.lanes[0], step) for step in range(schedule.steps))
