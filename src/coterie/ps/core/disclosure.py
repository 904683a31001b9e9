"""The rule of what may leave the server's TEE: no number over few examples or a single party's.

A number is disclosed only if it is a sum or mean over at least ``limits.evaluation_minimum``
examples and, if several parties own data, over more than one party's. Losses are disclosed for
windows of steps. Each window is as short as the rule allows, no two share a step, and together they
are the epoch.

The windows' ends follow from the schedule alone, and a window with a missing worker is not
disclosed. A host may kill or restart nodes, cut them off, and have steps trained again. Still,
every number that it gets is over one of the same sets of examples, so no two numbers differ by only
a few examples.
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
    """The smallest sets of examples and parties behind a disclosed number.

    Attributes:
        examples: Smallest number of examples.
        parties: Smallest number of parties.
        exact: Whether nothing is withheld and all scores are counted one by one, for runs in one
            process, whose data are all on one machine.
    """

    examples: int
    parties: int
    exact: bool = False

    @classmethod
    def of(cls, contract: Contract) -> Self:
        """The contract's rule: examples of two parties if more than one owns data."""
        owners = {node.party for node in contract.data_owners()}
        return cls(contract.limits.evaluation_minimum, min(2, len(owners)))

    def allows(self, counts: npt.ArrayLike) -> BoolArray:
        """Whether a number over these examples may be disclosed.

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
    """Consecutive steps whose mean loss may be disclosed.

    Attributes:
        steps: Number of steps.
        examples: Number of examples trained in them.
        loss: Mean loss over these examples.
        accuracy: Share of them that was predicted right before its update.
    """

    steps: int
    examples: int
    loss: float
    accuracy: float


class StepWindows:
    """Groups steps into windows that may be disclosed.

    A window ends once it holds enough and the rest of its epoch would be enough too; the last
    window of an epoch takes the rest. Shares of a step differ little, so windows have one length,
    except the last and windows whose steps hold fewer examples.

    Args:
        disclosure: The rule.
        schedule: Examples of each worker in each step.
        step: The first step that this incarnation applies; a window that began before is lost.
    """

    def __init__(self, disclosure: Disclosure, schedule: Schedule, step: int) -> None:
        self._rule = disclosure
        self._schedule = schedule
        self._epoch = schedule.steps_per_epoch
        length = 1 + bisect_left(
            range(1, self._epoch + 1), 1, key=lambda n: int(disclosure.allows(self._of(0, n)))
        )
        self._length = length if length <= self._epoch else 0  # a whole epoch is too small
        self._whole = self._ends_after(step)
        self._steps = self._examples = self._correct = 0
        self._loss = 0.0

    @property
    def tells(self) -> bool:
        """Whether an epoch holds enough examples to disclose anything."""
        return self._length > 0

    def add(self, step: int, pushes: Sequence[Gradients], *, complete: bool) -> Window | None:
        """Takes an applied step.

        Args:
            step: Its number, from 0.
            pushes: The pushes applied in it.
            complete: Whether all workers with examples in it took part.

        Returns:
            The window that ends with it, if it may be disclosed.
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
