"""The parameter server: turns calls into moves of the step barrier, under one lock.

Calls wait for others (joins, steps, reports) at most ``poll_seconds`` and then answer ``pending``;
the caller repeats the same message, which is safe because repeated messages take effect once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from coterie.contract import Contract
from coterie.errors import (
    CoterieError,
    EnvironmentUnfit,
    MessageRefused,
    PeerUnreachable,
    StepRefused,
)
from coterie.ps import events
from coterie.ps.aggregation import is_finite, mean_gradients
from coterie.ps.barrier import Offer, StepBarrier
from coterie.ps.checkpoint import Checkpoints, DurableCheckpoint
from coterie.ps.evaluation import EvaluationTotals, SplitCounts
from coterie.ps.membership import Membership
from coterie.ps.messages import EVALUATION_BATCH, MessageBounds
from coterie.ps.outcome import RunOutcome
from coterie.ps.ports import Caller
from coterie.ps.schedule import Schedule
from coterie.ps.state import ModelState
from coterie.ps.wire import ps_pb2 as pb


class ParameterService:
    """One parameter server shard, whatever transport its calls come over.

    Args:
        contract: What is trained, by whom.
        incarnation: Of this process; larger than that of any earlier one.
        monotonic: Seconds of a clock that only goes forward.
        on_event: Hears what happens.
        checkpoints: Where state is kept.
        poll_seconds: How long a call waits before it answers ``pending``.
    """

    def __init__(
        self,
        contract: Contract,
        *,
        incarnation: int,
        monotonic: Callable[[], float],
        on_event: events.EventSink,
        checkpoints: Checkpoints,
        poll_seconds: float = 10.0,
    ) -> None:
        self._contract = contract
        self._incarnation = incarnation
        self._monotonic = monotonic
        self._on_event = on_event
        self._checkpoints = checkpoints
        self._poll_seconds = poll_seconds
        self._bounds = MessageBounds(contract)
        self._state = ModelState(contract)
        self._totals = EvaluationTotals(
            tuple(node.name for node in contract.data_owners()), contract.limits.evaluation_minimum
        )
        self._changed = threading.Condition()
        self._durable: DurableCheckpoint | None = None
        restored = checkpoints.restore_newest(self._state)
        if restored is not None:
            self._durable = restored[0]
            on_event(events.Resumed(restored[0].step, restored[0].digest.hex()))
        self._membership = Membership(contract, restored[1] if restored else {})
        self._initialized = contract.mode == "hfl" or restored is not None
        self._barrier: StepBarrier | None = None
        self._schedule: Schedule | None = None
        self._failure: CoterieError | None = None
        self._dense_octets = b""
        self._digest = b""
        self._done_with: set[str] = set()
        self._progress_at = self._training_began_at = self._training_ended_at = monotonic()

    # --- calls ---------------------------------------------------------------------------------

    def join(self, caller: Caller, request: pb.JoinRequest) -> pb.JoinReply:
        """Notes a node; answers once everybody has come and the model is initialized."""
        with self._changed:
            self._raise_failure()
            if self._membership.join(caller, request.train_examples, request.data_set_digest):
                self._done_with.discard(caller.node)
                self._on_event(events.Joined(caller.node, self._membership.missing))
            self._begin_if_complete()
            self._changed.notify_all()
            if not self._wait(lambda: self._barrier is not None):
                return pb.JoinReply(pending=True, ps_incarnation=self._incarnation)
            schedule, _ = self._running()
            return pb.JoinReply(
                ps_incarnation=self._incarnation,
                step=self._state.step,
                steps=schedule.steps,
                steps_per_epoch=schedule.steps_per_epoch,
                shards=1,
                durable=self._durable_message(),
            )

    def initialize(self, _caller: Caller, request: pb.InitializeRequest) -> pb.InitializeReply:
        """Takes the chief's initial dense parameters, before the first step only."""
        dense = self._bounds.dense(request.dense_parameters, name="dense_parameters")
        with self._changed:
            self._raise_failure()
            if not self._initialized:
                self._state.dense[:] = dense
                self._initialized = True
                self._begin_if_complete()
                self._changed.notify_all()
        return pb.InitializeReply()

    def exchange(self, caller: Caller, request: pb.ExchangeRequest) -> pb.ExchangeReply:
        """Takes a push, waits for the step, answers with the state after it."""
        next_ids = self._bounds.row_ids(
            request.next_row_ids, examples=self._contract.training.batch, name="next_row_ids"
        )
        pushes = request.HasField("push")
        if pushes:
            self._take_push(caller, request)
        with self._changed:
            self._check_caller(caller, request.ps_incarnation)
            wanted = request.step + 1 if pushes else request.step
            schedule, _ = self._running()
            if not self._state.step <= wanted <= schedule.steps:
                raise StepRefused(
                    f"there is no state after {wanted} updates (any more)",
                    expected=f"{self._state.step} to {schedule.steps} updates",
                    seen=f"a call for {wanted}",
                    remedy="join again: the reply names the open step",
                )
            if not self._wait(lambda: self._state.step >= wanted):
                return pb.ExchangeReply(pending=True, step=self._state.step, staged=pushes)
            self._check_caller(caller, request.ps_incarnation)
            if self._state.step >= schedule.steps:
                self._finished_with(caller.node, owners=False)
            return pb.ExchangeReply(
                step=self._state.step,
                dense_parameters=self._dense_octets,
                rows=self._state.table.read(next_ids).tobytes(),
                durable=self._durable_message(),
            )

    def lookup(self, caller: Caller, request: pb.LookupRequest) -> pb.LookupReply:
        """Reads rows for evaluation, once training has ended."""
        ids = self._bounds.row_ids(request.row_ids, examples=EVALUATION_BATCH, name="row_ids")
        with self._changed:
            self._check_caller(caller, request.ps_incarnation)
            self._check_trained()
            self._progress_at = self._monotonic()
            return pb.LookupReply(
                dense_parameters=self._dense_octets if request.dense else b"",
                rows=self._state.table.read_trained(ids).tobytes(),
            )

    def report(self, caller: Caller, request: pb.ReportRequest) -> pb.ReportReply:
        """Adds a data owner's counts; answers with the totals once all have reported."""
        counts = tuple(SplitCounts.from_wire(count) for count in request.counts)
        with self._changed:
            self._check_caller(caller, request.ps_incarnation)
            self._check_trained()
            self._totals.add(caller.node, counts)
            self._progress_at = self._monotonic()
            self._changed.notify_all()
            if not self._wait(lambda: not self._totals.missing):
                return pb.ReportReply(pending=True)
            self._finished_with(caller.node, owners=True)
            return pb.ReportReply(
                totals=[total.to_wire() for total in self._totals.released()],
                model_digest=self._digest,
            )

    def status(self, _caller: Caller, _request: pb.StatusRequest) -> pb.StatusReply:
        """Reads the state of the run."""
        with self._changed:
            return pb.StatusReply(
                ps_incarnation=self._incarnation,
                step=self._state.step,
                steps=self._schedule.steps if self._schedule else 0,
                joined=self._membership.joined,
                missing=self._membership.missing,
                durable=self._durable_message(),
            )

    # --- the run as a whole --------------------------------------------------------------------

    def fail(self, error: CoterieError) -> None:
        """Ends the run: every waiting and later call raises ``error``."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def wait_finished(self) -> RunOutcome:
        """Waits until everybody has trained, reported and heard of it.

        Raises:
            PeerUnreachable: A node did not come, or stayed away, longer than the contract allows.
            CoterieError: The run failed.
        """
        with self._changed:
            while not self._everybody_done():
                self._raise_failure()
                left = self._progress_at + self._patience() - self._monotonic()
                if left <= 0:
                    self._failure = self._overdue()
                    self._changed.notify_all()
                else:
                    self._changed.wait(left)
            schedule, _ = self._running()
            return RunOutcome(
                steps=self._state.step,
                examples=sum(schedule.examples) * schedule.epochs,
                seconds=self._training_ended_at - self._training_began_at,
                train_loss=self._state.epoch_loss / max(1, self._state.epoch_examples),
                totals=self._totals.released(),
                model_digest=self._digest,
            )

    # --- inside the lock -----------------------------------------------------------------------

    def _take_push(self, caller: Caller, request: pb.ExchangeRequest) -> None:
        with self._changed:
            self._check_caller(caller, request.ps_incarnation)
            schedule, barrier = self._running()
            worker = self._membership.index_of(caller)
            if barrier.admits(worker, request.step) is not Offer.COMPLETE:
                return
            examples = len(schedule.lane(worker).span(request.step))
        gradients = self._bounds.push(request.push, examples=examples)
        with self._changed:
            self._check_caller(caller, request.ps_incarnation)
            if barrier.offer(worker, request.step, gradients) is Offer.COMPLETE:
                self._apply_step(schedule, barrier)

    def _apply_step(self, schedule: Schedule, barrier: StepBarrier) -> None:
        gradients = mean_gradients(barrier.take())
        if not is_finite(gradients):
            self._failure = MessageRefused(
                f"the gradients of step {self._state.step} add up to values that are not finite",
                expected="finite float32 values",
                seen="an overflow in the sum over the workers",
                remedy="training diverged: lower the learning rate, or look at the workers' data",
            )
            self._changed.notify_all()
            raise self._failure
        first = self._state.step % schedule.steps_per_epoch == 0
        self._state.apply(gradients, first_of_epoch=first)
        self._dense_octets = self._state.dense.tobytes()
        self._progress_at = self._monotonic()
        last = self._state.step == schedule.steps
        every = self._contract.training.checkpoint_steps
        if last:
            self._training_ended_at = self._progress_at
            self._digest = self._state.digest()
        if last or (every and self._state.step % every == 0):
            self._checkpoint()
        self._changed.notify_all()
        self._on_event(
            events.StepDone(
                step=self._state.step,
                steps=schedule.steps,
                examples=gradients.examples,
                loss=gradients.loss_sum / gradients.examples,
                seconds=self._progress_at - self._training_began_at,
            )
        )

    def _checkpoint(self) -> None:
        try:
            saved = self._checkpoints.save(self._state, self._membership.data_sets)
        except OSError as error:
            self._failure = EnvironmentUnfit(
                f"the checkpoint of step {self._state.step} cannot be written",
                expected="a writable folder with room",
                seen=error.strerror or type(error).__name__,
                remedy="make room or mend the folder, then start the run again: it resumes",
            )
            self._changed.notify_all()
            raise self._failure from error
        if saved is not None:
            self._durable = saved
            self._on_event(events.CheckpointWritten(saved.step, saved.digest.hex()))

    def _begin_if_complete(self) -> None:
        if self._barrier is not None or self._membership.missing or not self._initialized:
            return
        data_sets = self._membership.data_sets
        training = self._contract.training
        self._schedule = Schedule(
            tuple(data_sets[worker].examples for worker in self._membership.workers),
            training.batch,
            training.epochs,
        )
        self._barrier = StepBarrier(self._schedule, self._state.step)
        self._dense_octets = self._state.dense.tobytes()
        if self._state.step >= self._schedule.steps:
            self._digest = self._state.digest()
        self._progress_at = self._training_began_at = self._training_ended_at = self._monotonic()

    def _running(self) -> tuple[Schedule, StepBarrier]:
        if self._schedule is None or self._barrier is None:
            raise StepRefused(
                "the run has not begun",
                expected="a join first",
                seen="another call",
                remedy="join: the reply comes when everybody has come",
            )
        return self._schedule, self._barrier

    def _check_caller(self, caller: Caller, ps_incarnation: int) -> None:
        self._raise_failure()
        self._membership.check_incarnation(caller)
        if ps_incarnation != self._incarnation or caller.node not in self._membership.joined:
            raise StepRefused(
                f"node {caller.node} has not joined this incarnation of the parameter server",
                expected=f"a join, and calls to server incarnation {self._incarnation}",
                seen=f"a call to server incarnation {ps_incarnation}",
                remedy="join again",
            )

    def _check_trained(self) -> None:
        schedule, _ = self._running()
        if self._state.step < schedule.steps:
            raise StepRefused(
                "the model can be evaluated only after training",
                expected=f"step {schedule.steps}",
                seen=f"step {self._state.step}",
                remedy="wait for the last step's reply",
            )

    def _finished_with(self, node: str, *, owners: bool) -> None:
        """Notes that a node has got its last reply."""
        if owners or node not in {owner.name for owner in self._contract.data_owners()}:
            self._done_with.add(node)
            self._changed.notify_all()

    def _everybody_done(self) -> bool:
        return self._barrier is not None and set(self._membership.joined) <= self._done_with

    def _patience(self) -> float:
        limits = self._contract.limits
        return limits.join_seconds if self._barrier is None else limits.step_seconds

    def _overdue(self) -> CoterieError:
        if self._barrier is None or self._schedule is None:
            names = self._membership.missing or ("the chief's initial parameters",)
            waited, key = "to join", "join_seconds"
        elif self._state.step < self._schedule.steps:
            names = tuple(self._membership.workers[w] for w in self._barrier.missing)
            waited, key = f"to push step {self._state.step}", "step_seconds"
        else:
            names = tuple(n for n in self._membership.joined if n not in self._done_with)
            waited, key = "to evaluate and report", "step_seconds"
        return PeerUnreachable(
            f"the run waits in vain for {', '.join(names)} {waited}",
            expected=f"within limits.{key} = {self._patience():g} s",
            seen="nothing",
            remedy="look at that node's log; start it again, or raise the limit in the contract",
        )

    def _wait(self, ready: Callable[[], bool]) -> bool:
        met = self._changed.wait_for(
            lambda: self._failure is not None or ready(), timeout=self._poll_seconds
        )
        self._raise_failure()
        return met

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _durable_message(self) -> pb.Checkpoint | None:
        if self._durable is None:
            return None
        return pb.Checkpoint(step=self._durable.step, digest=self._durable.digest)
