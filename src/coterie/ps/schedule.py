"""Which examples a worker trains in which step: a pure function of row counts, batch and epochs."""

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
class Schedule:
    """The whole run's steps.

    A party whose rows are used up leaves the epoch's later steps to the others.

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

    def span(self, worker: int, step: int) -> Span:
        """The examples that a worker trains in a step; empty where its rows are used up."""
        start = min((step % self.steps_per_epoch) * self.batch, self.examples[worker])
        return Span(start, min(start + self.batch, self.examples[worker]))

    def participants(self, step: int) -> tuple[int, ...]:
        """The workers that push in a step, in worker order."""
        start = (step % self.steps_per_epoch) * self.batch
        return tuple(w for w, examples in enumerate(self.examples) if examples > start)
