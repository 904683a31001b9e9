"""The calls of nodes: each is a procedure that advances the shard's run.

Calls wait for others (joins, steps, reports) until the driver ends the wait, and then answer
``pending``. The caller repeats the same message, which is safe because repeated messages take
effect once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coterie.arrays import FloatArray, IdArray
from coterie.errors import MessageRefused, StepRefused, TrainingDiverged, TrustError
from coterie.ps.caller import Caller
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.barrier import Offer
from coterie.ps.core.divergence import diverged
from coterie.ps.core.evaluation import SplitCounts
from coterie.ps.core.flushes import flushes
from coterie.ps.core.follower import Follower
from coterie.ps.core.leader import Leader
from coterie.ps.core.procedures import Steps, compute, until
from coterie.ps.core.run import Run
from coterie.ps.core.schedule import Schedule
from coterie.ps.core.shard import ShardCore
from coterie.ps.core.state import ModelState
from coterie.ps.model_download import check_not_left
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.checkpoint_messages import check_remembered
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest, Push, octets_of
from coterie.runs import events
from coterie.runs.outcome import RunOutcome

Decode = Callable[[Push, int, bool], Gradients]
"""Decodes and bounds a push, given how many examples its worker has in its step, and whether it is a flush."""

_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class GivenModel:
    """A model for download.

    Attributes:
        state: The final state, which does not change any more.
        model_digest: Digest of the whole model; empty except on shard 0.
        optimizer_digest: Digest of its optimizers' state, likewise.
        run_id: Name of its run.
    """

    state: ModelState
    model_digest: bytes
    optimizer_digest: bytes
    run_id: str


class NodeCalls:
    """A shard's calls.

    Args:
        core: The shard.
        decode: Decodes pushes.

    Attributes:
        leader: Shard 0's duties; None on other shards.
        follower: Another shard's.
    """

    def __init__(self, core: ShardCore, decode: Decode) -> None:
        self._core = core
        self._decode = decode
        self.leader = Leader(core) if core.place.leads else None
        self.follower = None if core.place.leads else Follower(core)

    @property
    def outcome(self) -> RunOutcome | None:
        """The run's outcome, once it is kept; on shard 0 only."""
        return self.leader.outcome if self.leader is not None else None

    @property
    def over(self) -> bool:
        """Whether this shard knows that the run's outcome is made."""
        return self._core.concluded or self.outcome is not None

    def join(self, caller: Caller, request: pb.JoinRequest) -> Steps[pb.JoinReply]:
        """Registers a node; answers once all nodes have joined and the model is initialized."""
        core = self._core
        core.raise_failure()
        if self.outcome is not None:
            if not (yield from until(lambda: bool(core.lineage.run_id))):
                return pb.JoinReply(pending=True)
            self._check_remembered(caller, request)
            steps = self.outcome.steps
            return pb.JoinReply(
                step=steps,
                steps=steps,
                steps_per_epoch=steps,
                finished=True,
                lineage=core.lineage_message(),
            )
        self._check_remembered(caller, request)
        wanted = request.ps_incarnation
        if not (yield from until(lambda: core.run is not None and core.run.incarnation >= wanted)):
            return pb.JoinReply(pending=True)
        run = core.running()
        if wanted and run.incarnation != wanted:
            raise _refused_life(wanted, run.incarnation)
        core.standstill.forget(caller.node)
        lost = self.leader is not None and self.leader.remainder_lost(run, caller)
        if run.membership.join(caller, request.train_examples, request.data_set_digest):
            run.membership.left.pop(caller.node, None)
            core.tell(
                events.Joined(
                    caller.node,
                    run.membership.missing,
                    incarnation=caller.incarnation,
                    examples=request.train_examples,
                    data_set=request.data_set_digest.hex(),
                )
            )
        self._hear_of(run, caller)
        core.begin(run)
        core.notify()
        if lost:
            self.leading("a join").go_back()
        if not (
            yield from until(
                lambda: core.run is not run or (run.begun and run.step >= request.step)
            )
        ):
            return pb.JoinReply(pending=True, ps_incarnation=run.incarnation)
        if core.run is not run:
            return pb.JoinReply(pending=True)
        schedule, _ = run.running()
        return pb.JoinReply(
            ps_incarnation=run.incarnation,
            step=run.step,
            steps=schedule.steps,
            steps_per_epoch=schedule.steps_per_epoch,
            shard=core.place.shard,
            shards=core.place.shards,
            lineage=core.lineage_message(),
            validated=run.validations.newest,
        )

    def initialize(self, dense: FloatArray) -> Steps[pb.InitializeReply]:
        """Takes the chief's initial dense parameters, before the first step only.

        Raises:
            MessageRefused: The contract has a start in their place.
        """
        core = self._core
        if self.outcome is not None:
            return pb.InitializeReply()
        yield from until(lambda: core.run is not None)
        run = core.running()
        if not run.initialized:
            run.state.dense[:] = dense
            run.initialized = True
            core.begin(run)
            core.notify()
        return pb.InitializeReply()

    def exchange(
        self, caller: Caller, request: ExchangeRequest, next_ids: IdArray
    ) -> Steps[ExchangeReply]:
        """Takes a push, waits for the step, answers with the state after it."""
        core = self._core
        pushes = request.push is not None
        if request.push is not None:
            yield from self._take_push(caller, request, request.push)
        run = self._joined(caller, request.ps_incarnation)
        self._hear_of(run, caller)
        core.standstill.forget(caller.node)
        wanted = request.step + 1 if pushes else request.step
        schedule, _ = run.running()
        check_wanted(run, schedule, wanted)
        waits_from = core.now
        if not (
            yield from until(
                lambda: (
                    core.run is not run
                    or core.told(run, wanted)
                    or (pushes and run.step == wanted and run.validates)
                    or run.ends_before(wanted)
                )
            )
        ):
            return ExchangeReply(step=run.step, pending=True)
        self._joined(caller, request.ps_incarnation)
        check_wanted(run, run.running()[0], wanted)  # training may have ended during the wait
        waited = core.now - waits_from
        run.times.waited(waited)
        with run.times.reading():
            rows = octets_of(run.state.table.read_for_training(next_ids))
        pulled = run.pulled_dense
        differences = pulled.for_holder_of(request.held_step)
        return ExchangeReply(
            step=run.step,
            dense_parameters=pulled.whole if differences is None else differences,
            differences=differences is not None,
            rows=rows,
            durable=core.durable_message(),
            waited_seconds=waited,
        )

    def lookup(
        self, caller: Caller, request: pb.LookupRequest, ids: IdArray
    ) -> Steps[pb.LookupReply]:
        """Reads rows of the trained model, or of the one due for validation."""
        core = self._core
        run = self._joined(caller, request.ps_incarnation)
        wanted = request.validates
        if not (
            yield from until(
                lambda: (
                    core.run is not run
                    or (run.step >= wanted or run.ends_before(wanted) if wanted else run.settled)
                )
            )
        ):
            if not wanted:
                run.check_trained()
            return pb.LookupReply(pending=True)
        self._joined(caller, request.ps_incarnation)
        if wanted:
            run.check_validates(wanted)
        run.progress_at = core.now
        table = run.state.table
        return pb.LookupReply(
            dense_parameters=run.state.dense.tobytes() if request.dense else b"",
            rows=table.read(ids).tobytes(),
            trained=table.trained(ids).astype(np.uint8).tobytes(),
        )

    def report(
        self, caller: Caller, request: pb.ReportRequest, counts: tuple[SplitCounts, ...]
    ) -> Steps[pb.ReportReply]:
        """Adds a data owner's counts; answers once all have reported, for a validation at once."""
        core, leader = self._core, self.leading("a report")
        if leader.outcome is None:
            run = self._joined(caller, request.ps_incarnation)
            if request.validates:
                leader.validator.report(run, caller.node, request.validates, counts)
                yield from leader.advance()
                return pb.ReportReply()
            run.check_trained()
            if not (yield from until(lambda: core.run is not run or core.ended(run))):
                return pb.ReportReply(pending=True)
            self._joined(caller, request.ps_incarnation)
            if not (yield from leader.completion.report(caller.node, counts)):
                yield from until(lambda: False, _AGAIN_SECONDS)
                return pb.ReportReply(pending=True)  # the node sends it again
            run.progress_at = core.now
            if not (yield from until(lambda: core.run is not run or leader.outcome is not None)):
                return pb.ReportReply(pending=True)
        if leader.outcome is None:
            self._joined(caller, request.ps_incarnation)
            return pb.ReportReply(pending=True)
        return pb.ReportReply(model_digest=leader.outcome.model_digest)

    def leave(self, caller: Caller, times: events.WorkerTimes | None) -> Steps[pb.LeaveReply]:
        """Records that a node no longer needs this shard."""
        core = self._core
        core.raise_failure()
        core.membership.check_incarnation(caller)
        run = core.run
        if not self.over and (run is None or not run.trained):
            raise StepRefused(
                f"node {caller.node} leaves before the last step",
                expected="training to the end",
                seen="a call to leave",
            )
        if run is not None:
            yield from until(lambda: core.run is not run or core.concluded or core.ended(run))
            if not core.concluded and (core.run is not run or not core.ended(run)):
                raise _not_durable(caller)
        if times is not None:
            core.worker_times[caller.node] = times
        yield from core.leave(caller.node, caller.incarnation)
        return pb.LeaveReply()

    def download(self, caller: Caller) -> Steps[GivenModel | None]:
        """Waits for the run's outcome; None if it was not made in time.

        Raises:
            CallRefused: This process has left.
        """
        core = self._core
        core.membership.check_incarnation(caller)
        check_not_left(core.membership, caller)
        yield from until(lambda: core.final is not None)
        if core.final is None:
            return None
        outcome = self.outcome
        return GivenModel(
            core.final,
            outcome.model_digest if outcome else b"",
            (outcome and outcome.optimizer_state) or b"",
            core.disk.run_id,
        )

    def sent(self, caller: Caller, parts: int) -> None:
        """Records the number of sent parts of a download.

        Raises:
            CallRefused: The caller has left meanwhile.
        """
        core = self._core
        check_not_left(core.membership, caller)
        if caller.node in core.membership.remaining:
            core.departures.sent(caller.node, parts)

    def status(self) -> pb.StatusReply:
        """Reads the state of the run."""
        core, run = self._core, self._core.run
        return pb.StatusReply(
            ps_incarnation=run.incarnation if run else 0,
            step=run.step if run else 0,
            steps=run.schedule.steps if run and run.schedule else 0,
            joined=core.membership.joined,
            missing=core.membership.missing,
            lineage=core.lineage_message(),
            waits_for=self.awaited(),
            reason=core.standstill.reason_of(self.awaited()),
        )

    def said(self, caller: Caller, request: pb.TellRequest) -> pb.TellReply:
        """Records why a node ends, and reports it to those who wait for it."""
        core = self._core
        core.membership.check_incarnation(caller)
        core.standstill.hear(caller.node, request)
        run = core.run
        diverges = request.error == TrainingDiverged.__name__ and caller.role == "worker"
        # With a quorum the others may go on without it, as without an absent worker.
        if diverges and run is not None and core.contract.limits.quorum is None:
            seen = core.standstill.reason_of((caller.node,))
            core.fail(diverged(run.step, seen, run.losses))
        core.notify()
        return pb.TellReply()

    def awaited(self) -> tuple[str, ...]:
        """The nodes that the run waits for at present."""
        if self.leader is not None:
            return self.leader.awaited()
        run = self._core.run
        return run.awaited() if run is not None else ()

    def leading(self, what: str) -> Leader:
        """Shard 0's duties.

        Raises:
            MessageRefused: This is another shard.
        """
        if self.leader is None:
            raise MessageRefused(
                f"{what} came to another shard than the first",
                expected="a call to shard 0",
                seen=f"shard {self._core.place.shard}",
            )
        return self.leader

    def _take_push(self, caller: Caller, request: ExchangeRequest, push: Push) -> Steps[None]:
        core = self._core
        run = self._joined(caller, request.ps_incarnation)
        schedule, barrier = run.running()
        worker = run.membership.index_of(caller)
        if barrier.admits(worker, request.step) is not Offer.TAKEN:
            return
        lane = schedule.lanes[worker]
        examples = len(lane.span(request.step))
        flush = flushes(core.contract, lane, request.step)

        def decode() -> Gradients:
            with run.times.decoding():
                return self._decode(push, examples, flush)

        gradients = yield from compute(decode)
        if self._joined(caller, request.ps_incarnation) is not run:
            return
        if barrier.offer(worker, request.step, gradients) is Offer.TAKEN:
            if self.leader is not None:
                yield from self.leader.advance()
            elif not barrier.missing:
                core.notify()

    def _joined(self, caller: Caller, ps_incarnation: int) -> Run:
        run = self._core.running()
        run.check_caller(caller, ps_incarnation)
        return run

    def _hear_of(self, run: Run, caller: Caller) -> None:
        if run.coordinator is not None and caller.role == "worker":
            run.coordinator.hear_of(run.membership.index_of(caller))

    def _check_remembered(self, caller: Caller, request: pb.JoinRequest) -> None:
        """Ends the run if a node remembers what this server's state contradicts."""
        core = self._core
        if self.leader is None or (core.run is None and self.outcome is None):
            return
        try:
            check_remembered(caller.node, request.remembered, core.lineage, core.outside.receipt)
        except TrustError as error:
            core.fail(error)
            raise


def check_wanted(run: Run, schedule: Schedule, wanted: int) -> None:
    """Refuses calls for a state that is gone or will not exist.

    Raises:
        StepRefused: The call is for such a state.
    """
    if not run.step <= wanted <= schedule.steps:
        raise StepRefused(
            f"there is no state after {wanted} updates (any more)",
            expected=f"{run.step} to {schedule.steps} updates",
            seen=f"a call for {wanted}",
        )


def _not_durable(caller: Caller) -> StepRefused:
    return StepRefused(
        f"node {caller.node} leaves before the last step is durable",
        expected="its checkpoint on the disk",
        seen="a call to leave",
        remedy="join again: the reply comes when it is",
    )


def _refused_life(wanted: int, seen: int) -> StepRefused:
    return StepRefused(
        "this shard is in another incarnation of the server",
        expected=f"server incarnation {wanted}",
        seen=f"server incarnation {seen}",
    )
