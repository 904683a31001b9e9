"""The schedule: every example of every worker exactly once per epoch, in shares that follow the rows."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import Contract
from coterie.errors import DataError
from coterie.ps.core.schedule import TURN_EXAMPLES, Schedule
from tests.ps.conftest import small_contract

ROWS = st.lists(st.integers(1, 4000), min_size=2, max_size=5)
SHAPES = st.tuples(st.integers(1, 64), st.integers(1, 3), st.integers(1, 3))


def hfl_contract(workers: int, *, batch: int, epochs: int = 1, local_steps: int = 1) -> Contract:
    """So many companies."""
    if local_steps == 1:
        return small_contract("hfl", workers, batch=batch, epochs=epochs)
    return small_contract(
        "hfl",
        workers,
        batch=batch,
        epochs=epochs,
        local_steps=local_steps,
        local_learning_rate=0.1,
    )


def schedule_of(
    examples: Sequence[int], batch: int, epochs: int = 1, local_steps: int = 1
) -> Schedule | None:
    """An HFL run's schedule; None where the data are refused as too uneven."""
    contract = hfl_contract(len(examples), batch=batch, epochs=epochs, local_steps=local_steps)
    try:
        return Schedule.of(contract, examples)
    except DataError:
        most = contract.most_step_examples
        turns = -(-sorted(examples)[-2] // min(TURN_EXAMPLES, contract.training.step_examples))
        assert max(examples) > most * turns, "no share would have been too large"
        return None


@given(ROWS, SHAPES)
def test_every_epoch_trains_each_example_once_in_order(
    examples: list[int], shape: tuple[int, int, int]
) -> None:
    schedule = schedule_of(examples, *shape)
    if schedule is None:
        return
    for own, lane in zip(examples, schedule.lanes, strict=True):
        for epoch in range(shape[1]):
            first = epoch * schedule.steps_per_epoch
            spans = [lane.span(first + i) for i in range(schedule.steps_per_epoch)]
            trained = [i for span in spans for i in range(span.start, span.stop)]
            assert trained == list(range(own))


@given(ROWS, SHAPES)
def test_all_parties_are_as_far_as_each_other_after_every_step(
    examples: list[int], shape: tuple[int, int, int]
) -> None:
    """The reference: exact fractions. Nobody is more than a turn away from its part of the epoch."""
    schedule = schedule_of(examples, *shape)
    if schedule is None:
        return
    for own, lane in zip(examples, schedule.lanes, strict=True):
        turn = Fraction(own, lane.turns)
        for done in range(schedule.steps_per_epoch + 1):
            exact = Fraction(own * done, schedule.steps_per_epoch)
            assert abs(lane.taken(done) - exact) <= turn / 2 + 1


@given(ROWS, SHAPES)
def test_nobody_is_alone_in_a_step_and_no_push_is_over_a_handful(
    examples: list[int], shape: tuple[int, int, int]
) -> None:
    schedule = schedule_of(examples, *shape)
    if schedule is None:
        return
    batch, _, local_steps = shape
    least = min(TURN_EXAMPLES, batch * local_steps) // 2
    for step in range(schedule.steps):
        participants = schedule.participants(step)
        assert list(participants) == sorted(participants)
        assert len(participants) >= 2
        for worker in participants:
            assert len(schedule.lanes[worker].span(step)) >= min(least, examples[worker])


@given(st.integers(1, 3000), st.integers(1, 5), st.integers(1, 64))
def test_equal_parties_have_equal_shares_of_at_most_a_batch(
    rows: int, workers: int, batch: int
) -> None:
    contract = hfl_contract(workers, batch=batch)
    schedule = Schedule.of(contract, (rows,) * workers)
    assert len(set(schedule.lanes)) == 1
    lane = schedule.lanes[0]
    assert schedule.steps_per_epoch == -(-rows // batch)
    assert max(len(lane.span(step)) for step in range(schedule.steps)) <= batch


@given(st.integers(1, 3000), st.integers(1, 5), st.integers(1, 64))
def test_dealt_rows_have_shares_of_at_most_a_batch(rows: int, workers: int, batch: int) -> None:
    dealt = [len(range(i, rows + workers, workers)) for i in range(workers)]
    schedule = Schedule.of(small_contract("sdt", workers, batch=batch), dealt)
    assert schedule.steps_per_epoch == -(-sum(dealt) // (workers * batch))
    for lane in schedule.lanes:
        assert max(len(lane.span(step)) for step in range(schedule.steps)) <= batch


@given(ROWS, SHAPES)
def test_next_step_is_the_first_one_that_has_examples(
    examples: list[int], shape: tuple[int, int, int]
) -> None:
    schedule = schedule_of(examples, *shape)
    if schedule is None:
        return
    for lane in schedule.lanes:
        following = schedule.steps
        assert lane.next_step(schedule.steps) == schedule.steps
        for step in reversed(range(schedule.steps)):
            following = step if len(lane.span(step)) else following
            assert lane.next_step(step) == following


def test_four_uneven_companies_end_an_epoch_together() -> None:
    companies = (30_000, 25_000, 26_000, 36_000)
    schedule = Schedule.of(hfl_contract(4, batch=128), companies)
    assert schedule.steps_per_epoch == 229
    shares = [{len(lane.span(step)) for step in range(229)} for lane in schedule.lanes]
    assert shares == [{131, 132}, {109, 110}, {113, 114}, {157, 158}]


def test_a_party_with_few_rows_takes_evenly_spread_turns() -> None:
    schedule = Schedule.of(hfl_contract(3, batch=128), (20_000, 20_000, 40))
    turns = [step for step in range(schedule.steps) if 2 in schedule.participants(step)]
    assert schedule.steps == 105
    assert turns == [26, 78]
    assert [len(schedule.lanes[2].span(step)) for step in turns] == [20, 20]


def test_steps_grow_rather_than_leave_one_party_alone() -> None:
    schedule = Schedule.of(hfl_contract(2, batch=128), (20_000, 320))
    assert schedule.steps == 320 // TURN_EXAMPLES
    assert all(schedule.participants(step) == (0, 1) for step in range(schedule.steps))


def test_a_party_that_would_be_alone_all_the_same_is_refused() -> None:
    with pytest.raises(DataError) as refusal:
        Schedule.of(hfl_contract(2, batch=128), (200_000, 320))
    assert str(refusal.value) == (
        "worker w0 has so many more training examples than any other that it would be alone in some "
        "steps; expected: shares of at most 2,048 examples and 2,145,386,496 bytes of a step, and two "
        "parties in each; seen: examples per worker: 200,000, 320; remedy: let the other parties bring "
        "more rows, set data.row_limit, or raise training.batch in the contract"
    )


def test_a_share_that_no_message_holds_is_refused() -> None:
    small = small_contract("hfl", 2, batch=65_536)
    wide = small.model.model_copy(update={"embedding_dim": 1024, "bottom": (1024,)})
    data = small.data.model_copy(update={"column_rows": {}, "rows": 10**8})
    contract = small.model_copy(update={"model": wide, "data": data})
    assert Schedule.of(contract, (400_000, 400_000)).steps == 7
    with pytest.raises(DataError):
        Schedule.of(contract, (400_000, 32))


def test_workers_of_one_owner_may_be_alone() -> None:
    assert Schedule.of(small_contract("sdt", 2, batch=1), (2, 1)).steps == 2
