"""The schedule: every example of every worker exactly once per epoch, whoever has how many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coterie.ps.schedule import Schedule

SCHEDULES = st.builds(
    Schedule,
    examples=st.lists(st.integers(1, 40), min_size=1, max_size=5).map(tuple),
    batch=st.integers(1, 16),
    epochs=st.integers(1, 3),
)


@given(SCHEDULES)
def test_every_epoch_trains_each_example_once_in_order(schedule: Schedule) -> None:
    for worker, examples in enumerate(schedule.examples):
        lane = schedule.lane(worker)
        for epoch in range(schedule.epochs):
            first = epoch * schedule.steps_per_epoch
            spans = [lane.span(first + i) for i in range(schedule.steps_per_epoch)]
            trained = [i for span in spans for i in range(span.start, span.stop)]
            assert trained == list(range(examples))
            assert max(map(len, spans)) <= schedule.batch


@given(SCHEDULES)
def test_no_step_is_without_participants(schedule: Schedule) -> None:
    assert schedule.steps == schedule.epochs * schedule.steps_per_epoch
    for step in range(schedule.steps):
        participants = schedule.participants(step)
        assert participants
        assert list(participants) == sorted(participants)
        for worker in range(len(schedule.examples)):
            assert (worker in participants) == bool(len(schedule.lane(worker).span(step)))


@given(SCHEDULES)
def test_next_step_is_the_first_one_that_has_examples(schedule: Schedule) -> None:
    for worker in range(len(schedule.examples)):
        lane = schedule.lane(worker)
        for step in range(schedule.steps + 1):
            following = [s for s in range(step, schedule.steps) if len(lane.span(s))]
            assert lane.next_step(step) == (following[0] if following else schedule.steps)


def test_a_party_whose_rows_are_used_up_leaves_the_epochs_later_steps_to_the_others() -> None:
    schedule = Schedule((10, 3), batch=4, epochs=2)
    assert [schedule.participants(s) for s in range(6)] == [(0, 1), (0,), (0,)] * 2
    assert [len(schedule.lane(0).span(s)) for s in range(3)] == [4, 4, 2]
