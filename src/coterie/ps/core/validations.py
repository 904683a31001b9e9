"""Validation during training: when it is due, which was best, and whether it ends training.

Pure functions of the contract, the schedule and the validations so far. So every node knows when a
validation is due, and a restarted server comes to the same decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from coterie.contract import Contract, ValidationSection
from coterie.runs.records import Validated

MOST_VALIDATIONS = 4096
"""Largest number in a run, since every checkpoint holds all; with more, the interval grows."""


@dataclass(frozen=True)
class ValidationPlan:
    """The steps after which the model is validated.

    Attributes:
        every: Steps between two validations; 0: not by steps.
        epoch: Steps of an epoch, after each of which a validation is due; 0: not by epochs.
        last: Steps of the whole schedule.
        at_end: Whether one is due after the last step too, where the final evaluation follows
            anyway.
    """

    every: int
    epoch: int
    last: int
    at_end: bool

    @classmethod
    def of(cls, contract: Contract, steps_per_epoch: int) -> Self:
        """The plan of a run with so many steps per epoch."""
        section, epochs = contract.training.validation, contract.training.epochs
        last = steps_per_epoch * epochs
        fewest = -(-last // MOST_VALIDATIONS)
        return cls(
            every=max(section.every_steps, fewest) if section.every_steps else 0,
            epoch=steps_per_epoch * -(-2 * epochs // MOST_VALIDATIONS) if section.each_epoch else 0,
            last=last,
            at_end=section.keep == "best",
        )

    def due(self, step: int) -> bool:
        """Whether a validation is due after ``step`` steps."""
        if step == self.last:
            return self.at_end
        return 0 < step < self.last and any(
            interval and step % interval == 0 for interval in (self.every, self.epoch)
        )

    def between(self, after: int, upto: int) -> Iterator[int]:
        """The steps after ``after`` and up to ``upto`` with a validation."""
        return (step for step in range(after + 1, min(upto, self.last) + 1) if self.due(step))


class Validations:
    """A run's finished validations and their consequences; other shards take shard 0's reports.

    Args:
        section: The contract's section.
        leads: Whether this is shard 0, which decides.
        done: Validations in the checkpoint, oldest first.

    Attributes:
        plan: When they are due; None until the schedule is known.
        done: The finished validations, on shard 0.
        decide: Whether they decide when training ends, or which model the run produces.
    """

    def __init__(
        self, section: ValidationSection, *, leads: bool, done: Sequence[Validated] = ()
    ) -> None:
        self._section = section
        self._leads = leads
        self._told_step, self._told_end = 0, False
        self.plan: ValidationPlan | None = None
        self.done = list(done)
        self.decide = section.patience is not None or section.keep == "best"

    def due(self, step: int) -> bool:
        """Whether a validation is due after ``step`` steps."""
        return self.plan is not None and self.plan.due(step)

    @property
    def newest(self) -> int:
        """The step of the last finished validation; 0 before the first."""
        return self.done[-1].step if self.done else 0

    def open(self, step: int) -> bool:
        """Whether training waits for the validation after ``step`` steps."""
        return self.due(step) and self.newest < step

    def over(self, step: int) -> bool:
        """Whether the run's model is decided, if no step follows."""
        return not self.open(step) if self._leads or not self.decide else self._told_end

    @property
    def best_step(self) -> int:
        """The step of the best model; 0 if there is none."""
        best, _ = self._judged(self.done)
        return best.step if best is not None else 0

    @property
    def kept_step(self) -> int:
        """The step of the best model, if the contract keeps it; 0 if there is none."""
        if not self._leads:
            return self._told_step
        return self.best_step if self._section.keep == "best" else 0

    def is_best(self, validated: Validated) -> bool:
        """Whether a validation is better than all finished ones."""
        return self._judged([*self.done, validated])[0] is validated

    def stop_with(self, validated: Validated | None = None) -> bool:
        """Whether training ends after the finished validations, or after one more."""
        every = self.done if validated is None else [*self.done, validated]
        patience = self._section.patience
        return patience is not None and self._judged(every)[1] >= patience

    def hear(self, kept_step: int, *, ended: bool) -> None:
        """Takes shard 0's report."""
        self._told_step, self._told_end = kept_step, ended

    def _judged(self, validations: Sequence[Validated]) -> tuple[Validated | None, int]:
        """The best validation, the first of equal ones, and the number of those after it."""
        best: Validated | None = None
        bar, since = float("inf"), 0
        for one in validations:
            value = one.log_loss if self._section.metric == "log_loss" else one.auc
            if value is None:
                continue
            loss = value if self._section.metric == "log_loss" else -value
            if best is None or loss < bar - self._section.least_gain:
                best, bar, since = one, loss, 0
            else:
                since += 1
        return best, since


def steps_after(
    contract: Contract, steps_per_epoch: int, validations: Sequence[Validated]
) -> tuple[int, int] | None:
    """The number of a run's steps by its validations, and the step of its model.

    Returns:
        None if they are not those of the contract's plan, up to the end of training.
    """
    plan = ValidationPlan.of(contract, steps_per_epoch)
    followed = Validations(contract.training.validation, leads=True)
    due = plan.between(0, plan.last)
    for validated in validations:
        if followed.stop_with() or validated.step != next(due, 0):
            return None
        followed.done.append(validated)
    if not followed.stop_with() and next(due, 0):
        return None
    steps = followed.newest if followed.stop_with() else plan.last
    return steps, followed.kept_step or steps


def overfits(losses: Sequence[tuple[float | None, float | None]]) -> bool:
    """Whether the training loss falls while the validation loss rises.

    Args:
        losses: At each validation, the mean training loss since the one before, and the validation
            loss; None if not disclosed.
    """
    told = [(train, held) for train, held in losses if train is not None and held is not None]
    if len(told) < 2:
        return False
    train, held = told[-1]
    best_train, best_held = min(told, key=lambda pair: pair[1])
    return held > best_held and train < best_train
