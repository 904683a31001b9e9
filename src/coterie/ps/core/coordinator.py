"""Shard 0's decisions for all shards: a pure state machine, one decision per step.

    every shard has reported, and all the workers that the step waits for are staged on all of them
        -> the step is applied with exactly those that are staged on all
    else, after the grace period, if the present workers are a quorum
    -> likewise; workers with examples that are not staged everywhere are left out from now on
    else -> wait

The run does not wait for a worker that was left out until it calls again; its pushes are applied as
soon as they reach every shard in time. Each shard applies a step when it receives the decision,
with the weights in the decision. So all shards apply the same workers' pushes with the same
weights.
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
    """The decision on a step.

    Attributes:
        step: The step.
        weights: Per worker, the factor of its push; 0 for workers without a part.
        contributors: Workers whose push is applied, ascending.
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
    """One shard's report on the open step.

    Attributes:
        workers: Workers whose pushes it holds, ascending.
        squares: Per worker, sums of squares of its gradients, float64 [1 + slices]: of the dense
            parameters, then of the rows of each slice. Empty if the contract sets no bound.
    """

    workers: tuple[int, ...]
    squares: Mapping[int, Float64Array]


class Coordinator:
    """Decides step after step.

    Args:
        contract: Gives quorum, bounds and the number of shards.
        schedule: Which workers push in which steps.
        step: The open step.
        absences: The run's absences so far.
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
        """Workers that are left out at present."""
        return frozenset(a.worker for a in self.absences if a.stop is None)

    @property
    def absent(self) -> frozenset[int]:
        """Workers that the open step does not wait for."""
        return self.out - self._heard_of

    @property
    def silent(self) -> tuple[int, ...]:
        """Shards that have not reported on the open step yet."""
        return tuple(shard for shard in range(self._shards) if shard not in self._reports)

    def hear_of(self, worker: int) -> None:
        """Records that a worker called again: later steps wait for it."""
        if worker in self.out:
            self._heard_of.add(worker)

    def begin_with(self, present: Iterable[int]) -> tuple[int, ...]:
        """Starts without some workers, for a run that resumes after its grace period.

        Returns:
            Workers that are newly left out.
        """
        gone = sorted(set(range(self._workers)) - set(present) - self.out)
        self.absences += [Absence(worker, self.step) for worker in gone]
        return tuple(gone)

    def report(self, shard: int, staged: StagedReport) -> None:
        """Takes a shard's report on the open step."""
        self._reports[shard] = staged

    def decide(self, *, grace_over: bool) -> Decision | None:
        """Decides the open step, if possible, and opens the next.

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
        """Adds the shards' sums; each element is non-zero on one shard only, so that is exact."""
        parts = np.stack([self._reports[s].squares[worker] for s in sorted(self._reports)])
        total = 0.0
        for square in parts.sum(axis=0).tolist():
            total += square
        return total
