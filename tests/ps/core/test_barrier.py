"""The barrier: in any interleaving of pushes, repeats and strays, each step is applied once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coterie.errors import StepRefused
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.barrier import Offer, StepBarrier
from tests.ps.schedules import schedule_of


def push(worker: int, attempt: int = 0) -> Gradients:
    """A push that says in its loss who sent it and at which attempt."""
    return Gradients(
        1,
        float(1000 * attempt + worker),
        np.zeros(1, np.float32),
        np.zeros(0, np.int32),
        np.zeros((0, 1), np.float32),
    )


def senders(pushes: list[Gradients]) -> list[tuple[int, int]]:
    """(worker, attempt) of each push."""
    return [(int(p.loss_sum) % 1000, int(p.loss_sum) // 1000) for p in pushes]


class Interleavings(RuleBasedStateMachine):
    """Any order of pushes; the model is who was staged first, per step."""

    @initialize(
        examples=st.lists(st.integers(1, 5), min_size=1, max_size=4),
        batch=st.integers(1, 3),
        epochs=st.integers(1, 2),
        start=st.integers(0, 3),
    )
    def begin(self, examples: list[int], batch: int, epochs: int, start: int) -> None:
        self.schedule = schedule_of(examples, batch, epochs)
        self.open = min(start, self.schedule.steps)
        self.barrier = StepBarrier(self.schedule, self.open)
        self.staged: dict[int, int] = {}
        self.applied: list[int] = []
        self.attempt = 0

    def expected(self, worker: int, step: int) -> Offer | None:
        """What must become of a push; None where it must be refused."""
        if step >= self.schedule.steps or not len(self.schedule.lanes[worker].span(step)):
            return None
        if step == self.open - 1:
            return Offer.APPLIED
        if step != self.open:
            return None
        return Offer.STAGED if worker in self.staged else Offer.TAKEN

    @rule(data=st.data(), distance=st.integers(-3, 3))
    def push(self, data: st.DataObject, distance: int) -> None:
        worker = data.draw(st.integers(0, len(self.schedule.examples) - 1))
        step = max(0, self.open + distance)
        expected = self.expected(worker, step)
        self.attempt += 1
        if expected is None:
            with pytest.raises(StepRefused):
                self.barrier.admits(worker, step)
            with pytest.raises(StepRefused):
                self.barrier.offer(worker, step, push(worker, self.attempt))
            return
        assert self.barrier.offer(worker, step, push(worker, self.attempt)) is expected
        if step != self.open:
            return
        self.staged.setdefault(worker, self.attempt)

    @precondition(lambda self: self.open < self.schedule.steps)
    @rule(data=st.data())
    def decide(self, data: st.DataObject) -> None:
        """The council may decide for any of those that are staged."""
        chosen = sorted(
            data.draw(st.sets(st.sampled_from(sorted(self.staged)))) if self.staged else []
        )
        taken = self.barrier.take(chosen, ())
        assert senders(taken) == [(worker, self.staged[worker]) for worker in chosen]
        self.applied.append(self.open)
        self.open += 1
        self.staged.clear()

    @invariant()
    def position_is_the_models(self) -> None:
        assert self.barrier.step == self.open
        assert self.applied == sorted(set(self.applied))
        if self.open < self.schedule.steps:
            wanted = set(self.schedule.participants(self.open)) - set(self.staged)
            assert self.barrier.missing == tuple(sorted(wanted))
        else:
            assert self.barrier.missing == ()


TestInterleavings = Interleavings.TestCase


@given(st.permutations(range(5)))
def test_pushes_are_handed_out_in_worker_order_whatever_order_they_came_in(
    order: list[int],
) -> None:
    barrier = StepBarrier(schedule_of((1,) * 5, 1, 1), 0)
    offers = [barrier.offer(worker, 0, push(worker)) for worker in order]
    assert offers == [Offer.TAKEN] * 5
    assert barrier.missing == ()
    assert [worker for worker, _ in senders(barrier.take(barrier.staged, ()))] == [0, 1, 2, 3, 4]


def test_the_first_of_two_pushes_counts() -> None:
    barrier = StepBarrier(schedule_of((1, 1), 1, 1), 0)
    barrier.offer(0, 0, push(0, attempt=1))
    assert barrier.admits(0, 0) is Offer.STAGED
    assert barrier.offer(0, 0, push(0, attempt=2)) is Offer.STAGED
    barrier.offer(1, 0, push(1))
    assert senders(barrier.take((0, 1), ())) == [(0, 1), (1, 0)]


def test_asking_changes_nothing() -> None:
    barrier = StepBarrier(schedule_of((1,), 1, 1), 0)
    assert barrier.admits(0, 0) is Offer.TAKEN
    assert barrier.missing == (0,)


def test_a_refusal_says_which_step_is_open() -> None:
    barrier = StepBarrier(schedule_of((9,), 1, 1), 4)
    with pytest.raises(StepRefused) as refused:
        barrier.admits(0, 7)
    assert refused.value.what == "a push for step 7 is outside of the step window"
    assert refused.value.expected == "step 4, or 3 once more, by a worker with examples"
    assert refused.value.seen == "step 7 by worker 0"
    assert refused.value.remedy


# "expected: step 1, or 0 once more; seen: step 1" does not say what is wrong.
def test_a_push_by_a_worker_without_examples_in_the_step_is_refused_as_that() -> None:
    barrier = StepBarrier(schedule_of((4, 2), 2, 1), 1)
    with pytest.raises(StepRefused) as refused:
        barrier.admits(1, 1)
    assert "examples" in str(refused.value)


def test_absent_workers_are_not_missed_but_their_pushes_are_taken() -> None:
    barrier = StepBarrier(schedule_of((2, 2, 2), 1, 1), 0, absent=(1,))
    barrier.offer(0, 0, push(0))
    assert barrier.missing == (2,)
    assert barrier.offer(1, 0, push(1)) is Offer.TAKEN
    barrier.offer(2, 0, push(2))
    assert barrier.staged == (0, 1, 2)
    barrier.take((0, 2), absent=())
    assert set(barrier.missing) == {0, 1, 2}


def test_a_push_that_came_too_late_is_answered_like_one_that_was_applied() -> None:
    barrier = StepBarrier(schedule_of((2, 2), 1, 1), 0)
    barrier.offer(0, 0, push(0))
    barrier.take((0,), absent=(1,))
    assert barrier.offer(1, 0, push(1)) is Offer.APPLIED
    assert barrier.staged == ()
