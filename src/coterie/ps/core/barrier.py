"""A shard's step barrier: a pure state machine that makes every update take effect exactly once.

    push for the open step, first time   -> STAGED: nothing is applied yet
    push for the open step, once more    -> STAGED (the first one counts)
    push for the step applied last       -> APPLIED: answered again, never applied again
    anything else                        -> refused

Staged pushes are applied when all shards hold the step: ps/core/coordinator.py decides, and
``take`` hands them out. Pushes are keyed by (worker, step); the calls key them by server
incarnation too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from coterie.errors import StepRefused
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.schedule import Schedule


class Offer(Enum):
    """The effect of a push."""

    TAKEN = "taken"
    STAGED = "staged"
    APPLIED = "applied"


class StepBarrier:
    """Collects the pushes of the open step.

    Args:
        schedule: Which workers push in which steps.
        step: The open step.
        absent: Workers that the step does not wait for.
    """

    def __init__(self, schedule: Schedule, step: int, absent: Iterable[int] = ()) -> None:
        self.schedule = schedule
        self.step = step
        self.absent = frozenset(absent)
        self._staged: dict[int, Gradients] = {}
        self._of_step: tuple[int, tuple[int, ...]] = (-1, ())

    @property
    def participants(self) -> tuple[int, ...]:
        """Workers that have examples in the open step; none after the last step."""
        if self.step >= self.schedule.steps:
            return ()
        if self._of_step[0] != self.step:
            self._of_step = (self.step, self.schedule.participants(self.step))
        return self._of_step[1]

    @property
    def missing(self) -> tuple[int, ...]:
        """Workers whose push the open step still waits for."""
        return tuple(w for w in self.participants if w not in self._staged and w not in self.absent)

    @property
    def staged(self) -> tuple[int, ...]:
        """Workers whose push of the open step is staged, ascending."""
        return tuple(sorted(self._staged))

    def gradients(self, worker: int) -> Gradients:
        """The staged push of a worker."""
        return self._staged[worker]

    def admits(self, worker: int, step: int) -> Offer:
        """The effect that a push would have, before it is decoded.

        Raises:
            StepRefused: The step is neither open nor the one applied last, or not this worker's.
        """
        if step < self.schedule.steps and len(self.schedule.lanes[worker].span(step)):
            if step == self.step:
                return Offer.STAGED if worker in self._staged else Offer.TAKEN
            if step == self.step - 1:
                return Offer.APPLIED
        raise StepRefused(
            f"a push for step {step} is outside of the step window",
            expected=f"step {self.step}, or {self.step - 1} once more, by a worker with examples",
            seen=f"step {step} by worker {worker}",
        )

    def offer(self, worker: int, step: int, gradients: Gradients) -> Offer:
        """Takes a push.

        Returns:
            Its effect.

        Raises:
            StepRefused: As ``admits``.
        """
        admitted = self.admits(worker, step)
        if admitted is Offer.TAKEN:
            self._staged[worker] = gradients
        return admitted

    def take(self, contributors: Sequence[int], absent: Iterable[int]) -> list[Gradients]:
        """Hands out the decided pushes in worker order and opens the next step.

        Args:
            contributors: Workers whose push is applied, ascending; all of them are staged.
            absent: Workers that the next step does not wait for.
        """
        pushes = [self._staged[worker] for worker in contributors]
        self._staged.clear()
        self.step += 1
        self.absent = frozenset(absent)
        return pushes
