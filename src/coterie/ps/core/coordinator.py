"""What shard 0 decides for all shards: a pure state machine, one decision per step.

    every shard has reported, and all the workers that the step waits for are staged on all of them
        -> the step is applied with exactly those that are staged on all
    else, past the grace period, if the workers present are a quorum
        -> likewise; whoever has examples but is not staged everywhere is left out from now on
    else -> wait

A worker that was left out is not waited for until it is heard of again; its pushes count as soon as
they reach every shard in time. A step is applied by each shard when it hears the decision, with the
weights that the decision gives: so all shards apply the same workers' pushes, scaled alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from coterie.arrays import Float64Array
from coterie.contract import Contract
from coterie.ps.core.aggregation import push_weights
from coterie.ps.core.schedule import Schedule


@dataclass(frozen=True)
class Absence:
    """A worker did not take part from ``start`` (included) to ``stop`` (excluded; None: yet)."""

    worker: int
    start: int
    stop: int | None = None


@dataclass(frozen=True)
class Decision:
    """How a step is applied.

    Attributes:
        step: The step.
        weights: Per worker, the factor of its push; 0 for whoever has no part.
        contributors: Workers whose push counts, ascending.
        absent: Workers that the next step does not wait for.
        left_out: Workers that are left out from this step on.
        returned: Workers that take part again from this step on.
    """

    step: int
    weights: tuple[float, ...]
    contributors: tuple[int, ...]
    absent: frozenset[int]
    left_out: tuple[int, ...] = ()
    returned: tuple[int, ...] = ()


@dataclass(frozen=True)
class StagedReport:
    """What one shard holds of the open step.

    Attributes:
        workers: Whose pushes, ascending.
        squares: Per worker, sums of squares of its gradients, float64 [1 + slices]: of the dense
            parameters, then of the rows of each slice. Empty where the contract sets no bound.
    """

    workers: tuple[int, ...]
    squares: Mapping[int, Float64Array]


class Coordinator:
    """Decides step after step.

    Args:
        contract: Gives quorum, bounds and the number of shards.
        schedule: Who pushes when.
        step: The open step.
        absences: The run's membership so far.
    """

    def __init__(
        self, contract: Contract, schedule: Schedule, step: int, absences: Iterable[Absence] = ()
    ) -> None:
        self._contract = contract
        self.schedule = schedule
        self._shards = len(contract.by_role("ps"))
        self._workers = len(schedule.examples)
        self._reports: dict[int, StagedReport] = {}
        self._heard_of: set[int] = set()
        self.step = step
        self.absences = list(absences)
        self.last: Decision | None = None

    @property
    def out(self) -> frozenset[int]:
        """Workers that are left out at the moment."""
        return frozenset(a.worker for a in self.absences if a.stop is None)

    @property
    def absent(self) -> frozenset[int]:
        """Workers that the open step does not wait for."""
        return self.out - self._heard_of

    @property
    def silent(self) -> tuple[int, ...]:
        """Shards that have not told yet what they hold of the open step."""
        return tuple(shard for shard in range(self._shards) if shard not in self._reports)

    def hear_of(self, worker: int) -> None:
        """Notes a sign of life: steps decided from now on wait for this worker again."""
        if worker in self.out:
            self._heard_of.add(worker)

    def begin_with(self, present: Iterable[int]) -> tuple[int, ...]:
        """Starts without some workers: a run that is resumed past its grace period.

        Returns:
            Those that are left out and were not before.
        """
        gone = sorted(set(range(self._workers)) - set(present) - self.out)
        self.absences += [Absence(worker, self.step) for worker in gone]
        return tuple(gone)

    def report(self, shard: int, staged: StagedReport) -> None:
        """Takes note of what a shard holds of the open step."""
        self._reports[shard] = staged

    def decide(self, *, grace_over: bool) -> Decision | None:
        """Decides the open step, if it can be, and opens the next.

        Args:
            grace_over: Whether the step has waited for the contract's grace period.
        """
        if self.step >= self.schedule.steps or len(self._reports) < self._shards:
            return None
        participants = set(self.schedule.participants(self.step))
        held = participants.intersection(*(r.workers for r in self._reports.values()))
        if not participants - self.absent <= held and not (grace_over and self._quorate(held)):
            return None
        decision = self._decision(participants, held)
        self._reports.clear()
        self.step += 1
        self.last = decision
        return decision

    def _quorate(self, held: set[int]) -> bool:
        quorum = self._contract.limits.quorum
        participants = set(self.schedule.participants(self.step))
        gone = (participants - held) | (self.out - held)
        return quorum is not None and self._workers - len(gone) >= quorum

    def _decision(self, participants: set[int], held: set[int]) -> Decision:
        returned = tuple(sorted(held & self.out))
        left_out = tuple(sorted(participants - held - self.out))
        self.absences = [
            Absence(a.worker, a.start, self.step) if a.stop is None and a.worker in returned else a
            for a in self.absences
        ] + [Absence(worker, self.step) for worker in left_out]
        self._heard_of -= held | set(left_out)
        contributors = tuple(sorted(held))
        return Decision(
            step=self.step,
            weights=self._weights(contributors),
            contributors=contributors,
            absent=self.absent,
            left_out=left_out,
            returned=returned,
        )

    def _weights(self, contributors: tuple[int, ...]) -> tuple[float, ...]:
        weights = [0.0] * self._workers
        if not contributors:
            return tuple(weights)
        training = self._contract.training
        squares = None
        if training.update_norm is not None:
            squares = [self._squares_of(worker) for worker in contributors]
        examples = [len(self.schedule.lanes[w].span(self.step)) for w in contributors]
        for worker, weight in zip(
            contributors,
            push_weights(
                examples,
                squares,
                update_norm=training.update_norm,
                party_weight=training.party_weight,
            ),
            strict=True,
        ):
            weights[worker] = weight
        return tuple(weights)

    def _squares_of(self, worker: int) -> float:
        """Every element is one shard's alone, so that adding the others' zeros changes no bit."""
        parts = np.stack([self._reports[s].squares[worker] for s in sorted(self._reports)])
        total = 0.0
        for square in parts.sum(axis=0).tolist():
            total += square
        return total
