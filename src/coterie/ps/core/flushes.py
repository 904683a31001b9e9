"""Which pushes are flushes: after them, a worker keeps nothing back that its coding took away.

With ``exchange = "int8"`` or ``"top-k"`` a worker adds to each push what its coding took away from the
push before (error feedback; Seide et al., 2014; Stich et al., 2018). That remainder is in the worker's
memory only. So that a run can go on from a checkpoint as if nothing had happened, every remainder is
zero there: a worker's last push before a checkpoint may be made is a flush, which sends everything as
int8 and drops what rounding takes away.

Worker and server know the steps from the contract and the schedule alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from coterie.contract import Contract
from coterie.ps.core.schedule import Lane
from coterie.ps.core.validations import ValidationPlan


@dataclass(frozen=True)
class FlushPlan:
    """The steps after which no worker has a remainder.

    Attributes:
        intervals: Multiples of any of these are such steps; none is 0.
        last: So is the last step of the schedule.
    """

    intervals: tuple[int, ...]
    last: int

    @classmethod
    def of(cls, contract: Contract, steps_per_epoch: int) -> Self:
        """The plan of a run with so many steps per epoch: its checkpoints, epochs and validations."""
        plan = ValidationPlan.of(contract, steps_per_epoch)
        intervals = (contract.training.checkpoint_steps, steps_per_epoch, plan.every)
        return cls(tuple(i for i in intervals if i), plan.last)

    def settled(self, step: int) -> int:
        """The last step up to ``step`` after which no worker has a remainder; 0 is one."""
        return self.last if step >= self.last else max(step // i * i for i in self.intervals)

    def flushes(self, lane: Lane, step: int) -> bool:
        """Whether a worker's push of a step is its last before such a step."""
        following = lane.next_step(step + 1)
        return self.settled(following) > step

    def remains(self, lane: Lane, step: int) -> bool:
        """Whether a worker that has pushed all steps before ``step`` may have a remainder."""
        return lane.next_step(self.settled(step)) < step


def flushes(contract: Contract, lane: Lane, step: int) -> bool:
    """Whether a worker's push of a step is a flush, under a contract with or without error feedback."""
    if not contract.training.error_feedback:
        return False
    return FlushPlan.of(contract, lane.steps_per_epoch).flushes(lane, step)
