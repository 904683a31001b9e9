"""The step barrier: a pure state machine that makes every update take effect exactly once.

    push for the open step, first time   -> STAGED, or COMPLETE if it was the last one missing
    push for the open step, once more    -> STAGED (the first one counts)
    push for the step applied last       -> APPLIED: answered again, never applied again
    anything else                        -> refused

Pushes are keyed by (worker, step); the service keys them by server incarnation too.
"""

from __future__ import annotations

from enum import Enum

from coterie.errors import StepRefused
from coterie.ps.aggregation import Gradients
from coterie.ps.schedule import Schedule


class Offer(Enum):
    """What became of a push."""

    STAGED = "staged"
    COMPLETE = "complete"
    APPLIED = "applied"


class StepBarrier:
    """Collects the pushes of the open step.

    Args:
        schedule: Who pushes when.
        step: The open step.
    """

    def __init__(self, schedule: Schedule, step: int) -> None:
        self._schedule = schedule
        self.step = step
        self._staged: dict[int, Gradients] = {}

    @property
    def missing(self) -> tuple[int, ...]:
        """Workers whose push the open step still lacks."""
        if self.step >= self._schedule.steps:
            return ()
        return tuple(w for w in self._schedule.participants(self.step) if w not in self._staged)

    def admits(self, worker: int, step: int) -> Offer:
        """Tells what would become of a push, before it is decoded.

        Returns:
            COMPLETE where it would be taken in, else STAGED or APPLIED.

        Raises:
            StepRefused: The step is neither open nor the one applied last, or not this worker's.
        """
        if step < self._schedule.steps and worker in self._schedule.participants(step):
            if step == self.step:
                return Offer.STAGED if worker in self._staged else Offer.COMPLETE
            if step == self.step - 1:
                return Offer.APPLIED
        raise StepRefused(
            f"a push for step {step} is outside of the step window",
            expected=f"step {self.step}, or {self.step - 1} once more, by a worker with examples",
            seen=f"step {step} by worker {worker}",
            remedy="join again: the reply names the open step",
        )

    def offer(self, worker: int, step: int, gradients: Gradients) -> Offer:
        """Takes a push.

        Returns:
            What became of it.

        Raises:
            StepRefused: As ``admits``.
        """
        admitted = self.admits(worker, step)
        if admitted is not Offer.COMPLETE:
            return admitted
        self._staged[worker] = gradients
        return Offer.STAGED if self.missing else Offer.COMPLETE

    def take(self) -> list[Gradients]:
        """Hands out the complete step's pushes in worker order and opens the next step."""
        if self.missing:
            raise AssertionError
        pushes = [self._staged[worker] for worker in sorted(self._staged)]
        self._staged.clear()
        self.step += 1
        return pushes
