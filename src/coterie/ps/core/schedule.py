"""The schedule of a run: each worker's examples in each step, from row counts, batch and epochs.

Every worker's share of a step is proportional to its examples, so that all end an epoch together.
With equal batches, the end of an epoch would belong to the largest party alone, whose data the
model would learn last. A worker with few examples takes part only in some steps, evenly spread, so
that a push is never over a handful of examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from coterie.contract import MAX_STEP_BYTES, Contract, TrainingSection
from coterie.errors import DataError

TURN_EXAMPLES = 32
"""A worker takes at most one turn per so many examples, or per batch if smaller. So a push is
over at least half as many examples, or over all of the worker's."""


@dataclass(frozen=True)
class Span:
    """Examples ``start`` (included) to ``stop`` (excluded) of a worker's training examples."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Lane:
    """One worker's part of a run.

    Attributes:
        examples: The worker's training examples.
        turns: Steps of an epoch that it takes part in.
        steps_per_epoch: Steps in which every worker trains its examples once.
        steps: Steps of the whole run.
    """

    examples: int
    turns: int
    steps_per_epoch: int
    steps: int

    @classmethod
    def of(
        cls, training: TrainingSection, examples: int, *, steps_per_epoch: int, steps: int
    ) -> Self:
        """The part of a worker with ``examples`` examples; the chief has none."""
        turns = min(steps_per_epoch, _most_turns(training, examples))
        return cls(examples, turns, steps_per_epoch, steps)

    def taken(self, done: int) -> int:
        """Examples that are trained in the first ``done`` steps of an epoch."""
        return self.examples * self._turns_in(done) // self.turns if self.turns else 0

    def span(self, step: int) -> Span:
        """The examples that this worker trains in a step; empty if it has no turn."""
        done = step % self.steps_per_epoch
        return Span(self.taken(done), self.taken(done + 1))

    def next_step(self, step: int) -> int:
        """The first step from ``step`` on in which this worker trains; ``steps`` if none is left."""
        if not self.turns or step >= self.steps:
            return self.steps
        epoch, done = divmod(step, self.steps_per_epoch)
        turn = self._turns_in(done) + 1
        if turn > self.turns:
            epoch, turn = epoch + 1, 1
        # _turns_in(x) >= turn from this x on.
        reached = -(-self.steps_per_epoch * (2 * turn - 1) // (2 * self.turns))
        return min(epoch * self.steps_per_epoch + reached - 1, self.steps)

    def _turns_in(self, done: int) -> int:
        """Turns in the first steps of an epoch; rounded, so that a single turn is in the middle."""
        return (2 * self.turns * done + self.steps_per_epoch) // (2 * self.steps_per_epoch)


@dataclass(frozen=True)
class Schedule:
    """The whole run's steps.

    Attributes:
        lanes: Each worker's part, in worker order.
        steps_per_epoch: Steps in which every worker trains its examples once.
        steps: Steps of the whole run.
    """

    lanes: tuple[Lane, ...]
    steps_per_epoch: int
    steps: int

    @classmethod
    def of(cls, contract: Contract, examples: Sequence[int]) -> Self:
        """The schedule of a run: steps of ``training.step_examples`` per worker on average.

        If several parties own data, no worker is alone in a step: there are no more steps than
        turns of the party with the second most examples.

        Args:
            contract: Gives batch, epochs and mode.
            examples: Training examples of each worker, in worker order.

        Raises:
            DataError: One worker has so many examples that it would be alone in some steps.
        """
        training = contract.training
        steps = -(-sum(examples) // (training.step_examples * len(examples)))
        if len(contract.data_owners()) > 1:
            steps = min(steps, _most_turns(training, sorted(examples)[-2]))
        _check_shares(contract, examples, steps)
        lanes = tuple(
            Lane.of(training, own, steps_per_epoch=steps, steps=steps * training.epochs)
            for own in examples
        )
        return cls(lanes, steps, steps * training.epochs)

    @property
    def examples(self) -> tuple[int, ...]:
        """Training examples of each worker, in worker order."""
        return tuple(lane.examples for lane in self.lanes)

    def trained(self, steps: int) -> int:
        """Examples that all workers train in the first ``steps`` steps."""
        epochs, rest = divmod(steps, self.steps_per_epoch)
        return sum(epochs * lane.examples + lane.taken(rest) for lane in self.lanes)

    def ended(self, step: int) -> Self:
        """The same schedule, ended after a step."""
        lanes = tuple(replace(lane, steps=step) for lane in self.lanes)
        return replace(self, lanes=lanes, steps=step)

    def participants(self, step: int) -> tuple[int, ...]:
        """The workers that push in a step, in worker order."""
        return tuple(w for w, lane in enumerate(self.lanes) if len(lane.span(step)))


def _most_turns(training: TrainingSection, examples: int) -> int:
    return -(-examples // min(TURN_EXAMPLES, training.step_examples))


def _check_shares(contract: Contract, examples: Sequence[int], steps: int) -> None:
    largest = max(examples)
    share, most = -(-largest // steps), contract.most_step_examples
    if share <= most and contract.step_bytes(share) <= MAX_STEP_BYTES:
        return
    name = contract.by_role("worker")[list(examples).index(largest)].name
    raise DataError(
        f"worker {name} has so many more training examples than any other that it would be alone in "
        "some steps",
        expected=f"shares of at most {most:,} examples and {MAX_STEP_BYTES:,} bytes of a step, and "
        "two parties in each",
        seen=f"examples per worker: {', '.join(f'{own:,}' for own in examples)}"[:300],
        remedy="let the other parties bring more rows, set data.row_limit, or raise training.batch in "
        "the contract",
    )
