"""One incarnation of a shard's state, from a checkpoint or the beginning to the end of the run.

When any shard loses its state, all go back to a common checkpoint and begin a new ``Run`` with a
larger incarnation. Nothing here waits: ``calls.py``, ``leader.py`` and ``follower.py`` do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from coterie.contract import Contract
from coterie.errors import CoterieError, NodeMissing, StepRefused
from coterie.ps.caller import Caller
from coterie.ps.core.aggregation import Gradients, dense_norm, slice_norms
from coterie.ps.core.barrier import StepBarrier
from coterie.ps.core.coordinator import Absence, Coordinator, Decision, StagedReport
from coterie.ps.core.disclosure import Disclosure, StepWindows
from coterie.ps.core.divergence import diverged
from coterie.ps.core.membership import Membership
from coterie.ps.core.pulled_dense import PulledDense
from coterie.ps.core.schedule import Schedule
from coterie.ps.core.state import ModelState, Snapshot
from coterie.ps.core.validations import ValidationPlan, Validations
from coterie.runs import events
from coterie.runs.records import Validated, WorkerAbsence

_TOLD_LOSSES = 5


class Stopwatch(Protocol):
    """Adds up the seconds of a run's kinds of work; it has a clock, and the core never reads it."""

    def decoding(self) -> AbstractContextManager[None]:
        """Time that decoding and bounding a push takes."""
        ...

    def applying(self) -> AbstractContextManager[None]:
        """Time that a step's aggregation and update take."""
        ...

    def reading(self) -> AbstractContextManager[None]:
        """Time that gathering rows for a reply takes."""
        ...

    def waited(self, seconds: float) -> None:
        """Adds what a caller waited for others."""
        ...

    def event(self, node: str) -> events.ServerTimes:
        """The sums so far."""
        ...


@dataclass(frozen=True)
class ShardPlace:
    """A shard's number, and the number of shards."""

    shard: int
    shards: int

    @property
    def leads(self) -> bool:
        """Whether this is shard 0, which decides for all."""
        return self.shard == 0


class Run:
    """The state of a run on one shard.

    Args:
        contract: The contract.
        place: This shard's place.
        incarnation: Incarnation of all shards together; every call names it.
        state: The model, restored or new.
        membership: The run's members.
        absences: The absences so far.
        validations: Finished validations, on shard 0.
        seconds: Training time of the steps that the state holds.
        persistent: Whether checkpoints are kept; otherwise the best model is kept in memory.
        disclosure: The rule of disclosure.
        on_event: Receives events.
        monotonic: Monotonic clock, in seconds.
        times: Adds up the times by kind of work.
    """

    def __init__(
        self,
        contract: Contract,
        place: ShardPlace,
        incarnation: int,
        *,
        state: ModelState,
        membership: Membership,
        absences: Iterable[Absence],
        validations: Sequence[Validated] = (),
        seconds: float = 0.0,
        persistent: bool,
        disclosure: Disclosure,
        on_event: events.EventSink,
        monotonic: Callable[[], float],
        times: Stopwatch,
    ) -> None:
        self.contract = contract
        self.place = place
        self.incarnation = incarnation
        self.state = state
        self.membership = membership
        self.times = times
        self._absences = tuple(absences)
        self.validations = Validations(
            contract.training.validation, leads=place.leads, done=validations
        )
        self._persistent = persistent
        self._kept: Snapshot | None = None
        self._ended_at: int | None = None
        self._train_loss: float | None = None
        self._since = (0.0, 0)
        self._disclosure = disclosure
        self._windows: StepWindows | None = None
        self._on_event = on_event
        self._monotonic = monotonic
        self._seconds_before = seconds
        given = contract.start is not None or (contract.mode == "sdt" and place.leads)
        self.initialized = state.step > 0 or not given
        self.schedule: Schedule | None = None
        self.barrier: StepBarrier | None = None
        self.coordinator: Coordinator | None = None
        self.pulled_dense = PulledDense(state.step, b"")
        self.losses: deque[float] = deque(maxlen=_TOLD_LOSSES)
        self.progress_at = self._began_at = self._trained_at = monotonic()

    @property
    def seconds(self) -> float:
        """Training time of the applied steps, including earlier incarnations of the server."""
        return self._seconds_before + self._trained_at - self._began_at

    @property
    def begun(self) -> bool:
        """Whether all nodes have joined."""
        return self.barrier is not None

    @property
    def step(self) -> int:
        """Steps applied; the run's model may be that of an earlier step."""
        return self.state.step if self._ended_at is None else self._ended_at

    @property
    def steps_done(self) -> bool:
        """Whether no step follows."""
        return self.schedule is not None and self.step >= self.schedule.steps

    @property
    def trained(self) -> bool:
        """Whether no step follows and the run's model is decided."""
        return self.steps_done and self.validations.over(self.step)

    @property
    def settled(self) -> bool:
        """Whether the state is the run's model."""
        kept = self.validations.kept_step
        return self.trained and (self._ended_at is not None or kept in {0, self.step})

    @property
    def validates(self) -> bool:
        """Whether the present model must be validated before training goes on or ends."""
        return self.validations.open(self.step)

    def keeps_checkpoint(self, step: int) -> bool:
        """Whether the checkpoint of a step is required."""
        schedule, _ = self.running()
        return step >= schedule.steps or (self.validations.decide and self.validations.due(step))

    @property
    def absences(self) -> tuple[Absence, ...]:
        """The absences so far, as shard 0 knows them."""
        return tuple(self.coordinator.absences) if self.coordinator else self._absences

    def running(self) -> tuple[Schedule, StepBarrier]:
        """Schedule and barrier.

        Raises:
            StepRefused: Not all nodes have joined yet.
        """
        if self.schedule is None or self.barrier is None:
            raise StepRefused(
                "the run has not begun",
                expected="a join first",
                seen="another call",
                remedy="join: the reply comes when everybody has come",
            )
        return self.schedule, self.barrier

    def check_caller(self, caller: Caller, ps_incarnation: int) -> None:
        """Refuses nodes that have not joined this incarnation.

        Raises:
            StepRefused: The node has not joined, or was replaced.
        """
        self.membership.check_incarnation(caller)
        if ps_incarnation != self.incarnation or caller.node not in self.membership.joined:
            raise StepRefused(
                f"node {caller.node} has not joined this incarnation of the parameter server",
                expected=f"a join, and calls to server incarnation {self.incarnation}",
                seen=f"a call to server incarnation {ps_incarnation}",
            )

    def check_trained(self) -> None:
        """Refuses evaluation before the last step.

        Raises:
            StepRefused: Training goes on.
        """
        schedule, _ = self.running()
        if not self.trained:
            raise StepRefused(
                "the model can be evaluated only after training",
                expected=f"step {schedule.steps}",
                seen=f"step {self.step}",
                remedy="wait for the last step's reply",
            )

    def ends_before(self, step: int) -> bool:
        """Whether the run ends before ``step`` steps."""
        return self.schedule is not None and step > self.schedule.steps

    def check_validates(self, step: int) -> None:
        """Refuses calls about another model than the one due for validation.

        Raises:
            StepRefused: It is about another step, or none is due.
        """
        self.running()
        if step != self.step or not self.validations.due(step) or self._ended_at is not None:
            raise StepRefused(
                f"the model after {step} steps is not to be validated now",
                expected=f"the model after {self.step} steps, if the contract has it validated",
                seen=f"step {step}",
            )

    def judge(self, validated: Validated) -> None:
        """Adds a validation on shard 0; training may end with it."""
        self.validations.done.append(validated)
        self._keep_best()
        if self.validations.stop_with() and not self.steps_done:
            self._end_here()
        self.progress_at = self._monotonic()

    def hear(self, kept_step: int, *, ended: bool) -> None:
        """Takes shard 0's report: the best step, and whether training has ended."""
        self.validations.hear(kept_step, ended=ended)
        self._keep_best()
        if ended and not self.steps_done:
            self._end_here()

    @property
    def kept_best(self) -> Snapshot | None:
        """The best model, which replaces the last one, if no checkpoint holds it."""
        return self._kept

    def settle(self, best: ModelState) -> None:
        """Replaces the last model by the best one."""
        self._train_loss = self.train_loss()
        self._ended_at = self.state.step
        self.state, self._kept = best, None
        self.pulled_dense = PulledDense(self.step, best.dense_for_training())

    def loss_since_validation(self) -> float | None:
        """Mean disclosed loss of the steps since the last call; None if there is none."""
        (loss, examples), self._since = self._since, (0.0, 0)
        return loss / examples if examples else None

    def absent_workers(self) -> frozenset[str]:
        """Names of the workers that the run does not wait for at present."""
        absent = self.coordinator.absent if self.coordinator is not None else frozenset[int]()
        return frozenset(self.membership.workers[worker] for worker in absent)

    def _keep_best(self) -> None:
        """Copies the best model if no checkpoint holds it."""
        if self.validations.kept_step == self.step and not self._persistent:
            self._kept = self.state.snapshot(everything=True)

    def _end_here(self) -> None:
        schedule, barrier = self.running()
        self.schedule = barrier.schedule = schedule.ended(self.step)
        if self.coordinator is not None:
            self.coordinator.schedule = self.schedule
        self._trained_at = self._monotonic()

    def begin_if_complete(self) -> None:
        """Begins once all nodes have joined and the model is initialized.

        Raises:
            DataError: The parties' data are too uneven.
        """
        membership = self.membership
        if self.begun or not self.initialized or not membership.knows_all_data:
            return
        # Remaining workers evaluate later, so only a run of a trained model may go on without some.
        if membership.missing and not self._may_begin_without(membership.missing):
            return
        self._begin()

    def _may_begin_without(self, missing: tuple[str, ...]) -> bool:
        """Whether a resumed run may begin with a quorum, after its grace period."""
        limits = self.contract.limits
        return (
            limits.quorum is not None
            and limits.grace_seconds is not None
            and self.step > 0
            and self._monotonic() - self.progress_at >= limits.grace_seconds
            and len(self.membership.workers) - len(missing) >= limits.quorum
        )

    def _begin(self) -> None:
        data_sets = self.membership.data_sets.values()
        self.schedule = Schedule.of(self.contract, [one.examples for one in data_sets])
        self.validations.plan = ValidationPlan.of(self.contract, self.schedule.steps_per_epoch)
        if self.validations.stop_with():
            self.schedule = self.schedule.ended(self.validations.newest)
        step = self.step
        if self.place.leads:
            self.coordinator = Coordinator(self.contract, self.schedule, step, self._absences)
            self._windows = StepWindows(self._disclosure, self.schedule, step)
            workers = self.membership.workers
            present = [i for i, name in enumerate(workers) if name in self.membership.joined]
            if step < self.schedule.steps:
                for worker in self.coordinator.begin_with(present):
                    self._on_event(events.LeftOut(workers[worker], step))
        absent = self.coordinator.absent if self.coordinator else frozenset[int]()
        self.barrier = StepBarrier(self.schedule, step, absent)
        self.pulled_dense = PulledDense(step, self.state.dense_for_training())
        self.progress_at = self._began_at = self._trained_at = self._monotonic()

    def staged_report(self) -> StagedReport:
        """This shard's report on the open step."""
        _, barrier = self.running()
        squares = {}
        if self.contract.training.update_norm is not None:
            sizes = (self.state.dense.size, self.contract.model.embedding_dim)
            squares = {w: _squares(barrier.gradients(w), *sizes) for w in barrier.staged}
        return StagedReport(barrier.staged, squares)

    def apply(self, decision: Decision) -> None:
        """Applies the decision on the open step.

        Raises:
            TrainingDiverged: The sum of the gradients overflows.
        """
        schedule, barrier = self.running()
        pushes = barrier.take(decision.contributors, decision.absent)
        first = self.step % schedule.steps_per_epoch == 0
        with self.times.applying():
            if pushes:
                weights = [decision.weights[w] for w in decision.contributors]
                if not self.state.update(pushes, weights, first_of_epoch=first):
                    raise diverged(
                        self.step, "an overflow in the sum over the workers", self.losses
                    )
                self.pulled_dense = self.pulled_dense.followed_by(self.state.dense_for_training())
            else:
                self.state.skip(first_of_epoch=first)
                self.pulled_dense = PulledDense(self.step, self.pulled_dense.whole)
        self.progress_at = self._trained_at = self._monotonic()
        if self._windows is not None:
            self._tell(decision, schedule, pushes, self._windows)

    def train_loss(self) -> float | None:
        """Mean loss over the last epoch, if all its windows were disclosed."""
        schedule, _ = self.running()
        if self._ended_at is not None:
            return self._train_loss
        if schedule.steps % schedule.steps_per_epoch:
            return None  # not all windows of the last epoch were disclosed
        start = schedule.steps - schedule.steps_per_epoch
        missed = any(a.stop is None or a.stop > start for a in self.absences)
        if self._windows is None or not self._windows.tells or not self.state.epoch_examples:
            return None
        if missed and not self._disclosure.exact:
            return None
        return self.state.epoch_loss / self.state.epoch_examples

    def absences_by_name(self) -> tuple[WorkerAbsence, ...]:
        """The absences so far by name, for people and files."""
        workers = self.membership.workers
        return tuple(
            WorkerAbsence(worker=workers[a.worker], start=a.start, stop=a.stop)
            for a in self.absences
        )

    def overdue(self, names: Sequence[str], reasons: Mapping[str, str]) -> CoterieError:
        """The error of a run that waits in vain, which names the missing nodes.

        Args:
            names: The missing nodes.
            reasons: Reports of nodes that ended, by name.
        """
        said = "; ".join(f"{n} said: {reasons[n]}" for n in names if n in reasons)
        if not self.begun:
            waited, key = "to join", "join_seconds"
        elif self.validates:
            waited, key = f"to validate the model after {self.step} steps", "step_seconds"
        elif not self.trained:
            waited, key = f"to push step {self.step}", "step_seconds"
        else:
            waited, key = "to evaluate and report", "step_seconds"
        return NodeMissing(
            f"the run waits in vain for {', '.join(names)} {waited}",
            expected=f"within limits.{key} = {self.patience():g} s",
            seen=said or "nothing",
        )

    def awaited(self) -> tuple[str, ...]:
        """The nodes that the run waits for at present."""
        if self.barrier is None:
            giver = self.contract.start_giver()
            initial = f"the start by {giver.name}" if giver else "the chief's initial parameters"
            return self.membership.missing or (initial,)
        if self.trained:
            return self.membership.remaining
        workers = tuple(self.membership.workers[w] for w in self.barrier.missing)
        return workers or self._silent_shards()

    def _silent_shards(self) -> tuple[str, ...]:
        servers = [server.name for server in self.contract.by_role("ps")]
        return (
            tuple(servers[shard] for shard in self.coordinator.silent) if self.coordinator else ()
        )

    def patience(self) -> float:
        """Seconds for which the run waits without progress."""
        limits = self.contract.limits
        return limits.step_seconds if self.begun else limits.join_seconds

    def seconds_left(self) -> float:
        """Seconds to the next deadline without progress: of the grace period or of the run."""
        now = self._monotonic()
        grace = self.contract.limits.grace_seconds
        if grace is not None and now < self.progress_at + grace:
            return self.progress_at + grace - now
        return self.last_seconds()

    def last_seconds(self) -> float:
        """Seconds until the run ends if there is no progress."""
        return self.progress_at + self.patience() - self._monotonic()

    def grace_over(self) -> bool:
        """Whether the open step has waited for the contract's grace period."""
        grace = self.contract.limits.grace_seconds
        return grace is not None and self._monotonic() - self.progress_at >= grace

    def _tell(
        self, decision: Decision, schedule: Schedule, pushes: list[Gradients], windows: StepWindows
    ) -> None:
        workers = self.membership.workers
        for worker in decision.left_out:
            self._on_event(events.LeftOut(workers[worker], decision.step))
        for worker in decision.returned:
            self._on_event(events.Returned(workers[worker], decision.step))
        complete = tuple(decision.contributors) == schedule.participants(decision.step)
        window = windows.add(decision.step, pushes, complete=complete)
        if window is not None:
            self.losses.append(window.loss)
            loss, examples = self._since
            self._since = (loss + window.loss * window.examples, examples + window.examples)
        self._on_event(
            events.StepDone(
                step=self.step,
                steps=schedule.steps,
                examples=sum(push.examples for push in pushes),
                loss=window.loss if window else None,
                seconds=self.seconds,
                accuracy=window.accuracy if window else None,
                over_steps=window.steps if window else 0,
                over_examples=window.examples if window else 0,
            )
        )


def _squares(
    gradients: Gradients, dense: int, dim: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.concatenate(([dense_norm(gradients, dense)], slice_norms(gradients, dim)))
