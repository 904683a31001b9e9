"""Which examples a worker trains in which step: pure functions of row counts, batch and epochs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Examples ``start`` (included) to ``stop`` (excluded) of a worker's training shard."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Lane:
    """One worker's part of a run.

    A party whose rows are used up leaves the epoch's later steps to the others.

    Attributes:
        examples: The worker's training examples.
        batch: Examples per worker and step.
        steps_per_epoch: Steps until the worker with the most examples has used them up.
        steps: Steps of the whole run.
    """

    examples: int
    batch: int
    steps_per_epoch: int
    steps: int

    def span(self, step: int) -> Span:
        """The examples that this worker trains in a step; empty where its rows are used up."""
        start = min((step % self.steps_per_epoch) * self.batch, self.examples)
        return Span(start, min(start + self.batch, self.examples))

    def next_step(self, step: int) -> int:
        """The first step from ``step`` on in which this worker trains; ``steps`` if none is left."""
        if step < self.steps and not len(self.span(step)):
            step += self.steps_per_epoch - step % self.steps_per_epoch
        return min(step, self.steps)


@dataclass(frozen=True)
class Schedule:
    """The whole run's steps.

    Attributes:
        examples: Training examples of each worker, in worker order.
        batch: Examples per worker and step.
        epochs: Passes over the data.
    """

    examples: tuple[int, ...]
    batch: int
    epochs: int

    @property
    def steps_per_epoch(self) -> int:
        """Steps until the worker with the most examples has used them up."""
        return -(-max(self.examples) // self.batch)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.epochs

    def lane(self, worker: int) -> Lane:
        """One worker's part."""
        return Lane(self.examples[worker], self.batch, self.steps_per_epoch, self.steps)

    def participants(self, step: int) -> tuple[int, ...]:
        """The workers that push in a step, in worker order."""
        return tuple(w for w in range(len(self.examples)) if len(self.lane(w).span(step)))
