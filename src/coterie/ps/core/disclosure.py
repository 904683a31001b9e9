"""What may leave the server's TEE: nothing over few examples, nor over one party's alone.

A number is told only if it is a sum or mean over at least ``limits.evaluation_minimum`` examples and,
where several parties bring data, over more than one party's. The loss of a step is told for windows
of steps: each is as short as that allows, no two share a step, and together they are the epoch.

Where windows end follows from the schedule alone, and a window in which anybody was missing is not
told. So whatever a host does, kill, restart, cut somebody off and let steps be trained again, each
number that it gets is over one of the same sets of examples: no two of them differ by a few.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from coterie.arrays import BoolArray
from coterie.contract import Contract
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.schedule import Schedule


@dataclass(frozen=True)
class Disclosure:
    """How much a number must be over before it leaves the server's TEE.

    Attributes:
        examples: At least so many.
        parties: Of at least so many parties.
        exact: Nothing is withheld, and scores are counted one by one however many they are: for runs
            in one process, of data that all lie on one machine.
    """

    examples: int
    parties: int
    exact: bool = False

    @classmethod
    def of(cls, contract: Contract) -> Self:
        """The contract's rule: two parties' examples wherever more than one owns data."""
        owners = {node.party for node in contract.data_owners()}
        return cls(contract.limits.evaluation_minimum, min(2, len(owners)))

    def allows(self, counts: npt.ArrayLike) -> BoolArray:
        """Whether what is over so many examples may be told.

        Args:
            counts: Examples by party (of SDT's workers, all are one party's), [parties, ...].

        Returns:
            bool [...].
        """
        of_party = np.asarray(counts, np.int64)
        enough: BoolArray = np.asarray(
            (of_party.sum(axis=0) >= self.examples) & ((of_party > 0).sum(axis=0) >= self.parties)
        )
        return enough


EVERYTHING = Disclosure(1, 1, exact=True)


@dataclass(frozen=True)
class Window:
    """Consecutive steps whose loss may be told.

    Attributes:
        steps: How many.
        examples: Trained in them.
        loss: Mean over these.
        accuracy: Share of them that was predicted right before its update.
    """

    steps: int
    examples: int
    loss: float
    accuracy: float


class StepWindows:
    """Puts steps together until what they tell may be told.

    A window ends once it holds enough and the rest of its epoch would be enough too; the last one of
    an epoch takes what is left. Shares of a step differ by little, so windows are of one length but for
    the last and where the next steps hold less than the first.

    Args:
        disclosure: The rule.
        schedule: Who trains how much in which step.
        step: The first that this life of the server applies. A window that began before is lost.
    """

    def __init__(self, disclosure: Disclosure, schedule: Schedule, step: int) -> None:
        self._rule = disclosure
        self._schedule = schedule
        self._epoch = schedule.steps_per_epoch
        length = 1 + bisect_left(
            range(1, self._epoch + 1), 1, key=lambda n: int(disclosure.allows(self._of(0, n)))
        )
        self._length = length if length <= self._epoch else 0  # a whole epoch is too little
        self._whole = self._ends_after(step)
        self._steps = self._examples = self._correct = 0
        self._loss = 0.0

    @property
    def tells(self) -> bool:
        """Whether an epoch holds enough to tell anything of it."""
        return self._length > 0

    def add(self, step: int, pushes: Sequence[Gradients], *, complete: bool) -> Window | None:
        """Takes an applied step.

        Args:
            step: Its number, from 0.
            pushes: What was applied in it.
            complete: Whether everybody who has examples in it took part.

        Returns:
            The window that ends with it, if it may be told.
        """
        self._steps += 1
        self._examples += sum(push.examples for push in pushes)
        self._loss += sum(push.loss_sum for push in pushes)
        self._correct += sum(push.correct for push in pushes)
        self._whole &= complete or self._rule.exact
        if not self._ends_after(step + 1):
            return None
        window = None
        if self._whole and self._examples:
            window = Window(
                self._steps,
                self._examples,
                self._loss / self._examples,
                self._correct / self._examples,
            )
        self._steps = self._examples = self._correct = 0
        self._loss, self._whole = 0.0, True
        return window

    def _ends_after(self, steps: int) -> bool:
        """Whether a window ends, and the next begins, after so many steps of the run."""
        done = steps % self._epoch
        if not self._length or done % self._length:
            return False
        if not done:
            return True
        last, rest = self._of(done - self._length, done), self._of(done, self._epoch)
        return bool(self._rule.allows(last) and self._rule.allows(rest))

    def _of(self, start: int, stop: int) -> list[int]:
        """Each worker's examples in steps ``start`` to ``stop`` (excluded) of an epoch."""
        return [lane.taken(stop) - lane.taken(start) for lane in self._schedule.lanes]
