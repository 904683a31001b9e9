"""A parameter server shard's calls: each becomes a move of the shard's run, under one lock.

Calls wait for others (joins, steps, reports) at most ``poll_seconds`` and then answer ``pending``;
the caller repeats the same message, which is safe because repeated messages take effect once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import TypeVar

import numpy as np

from coterie.errors import (
    CoterieError,
    EnvironmentUnfit,
    MessageRefused,
    StepRefused,
    TrainingDiverged,
    TrustError,
)
from coterie.ps.caller import Caller
from coterie.ps.core.barrier import Offer
from coterie.ps.core.divergence import diverged
from coterie.ps.core.evaluation import SplitCounts
from coterie.ps.core.schedule import Schedule
from coterie.ps.download import (
    check_given_out,
    check_not_left,
    check_recipient,
    model_parts,
    part_count,
    state_parts,
)
from coterie.ps.follower import Follower
from coterie.ps.leader import Leader
from coterie.ps.ports import ParameterServerPort
from coterie.ps.progress import Progress, progress_of
from coterie.ps.run import Run
from coterie.ps.shard import Shard
from coterie.ps.start.inbox import StartInbox
from coterie.ps.times import times_from_wire
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.bounds import EVALUATION_BATCH, MessageBounds
from coterie.ps.wire.checkpoint_messages import check_remembered, keeps_receipt
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest, octets_of
from coterie.runs import events
from coterie.runs.outcome import RunOutcome

_AGAIN_SECONDS = 1.0
_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")
_Call = Callable[["ParameterService", Caller, _Request], _Reply]


def _heard(call: _Call[_Request, _Reply]) -> _Call[_Request, _Reply]:
    """A call that notes who calls, and who was answered with the error that ended the run."""

    @wraps(call)
    def answered(service: ParameterService, caller: Caller, request: _Request) -> _Reply:
        with service.shard.presence.calling(caller.node):
            try:
                return call(service, caller, request)
            except CoterieError:
                service.shard.heard(caller.node)
                raise

    return answered


class ParameterService:
    """One parameter server shard, whatever transport its calls come over.

    Args:
        shard: Its state.
        connect: Dials shard 0; only shards after the first do.

    Attributes:
        shard: Its state.
    """

    def __init__(
        self, shard: Shard, connect: Callable[[], ParameterServerPort] | None = None
    ) -> None:
        self.shard = shard
        self._connect = connect
        self._lead = Leader(shard) if shard.place.leads else None
        self._bounds = MessageBounds(shard.contract, dense=shard.place.leads)
        self._starting = StartInbox(
            shard, lambda: self._lead is not None and self._lead.outcome is not None
        )

    # --- the run as a whole --------------------------------------------------------------------

    def drive(self, on_outcome: Callable[[RunOutcome], None] = lambda _: None) -> RunOutcome | None:
        """Serves the run to its end; the outcome is shard 0's to tell.

        Args:
            on_outcome: Hears of it when it is kept; nodes may still be waited for to leave then.

        Raises:
            NodeMissing: A node did not come, or stayed away, longer than the contract allows.
            CoterieError: The run failed.
        """
        try:
            if self._lead is not None:
                return self._lead.drive(on_outcome)
            assert self._connect is not None
            Follower(self.shard, self._connect).drive()
        except CoterieError as error:
            self.shard.fail(error)
            raise
        except Exception as error:
            self.shard.fail(
                CoterieError(
                    f"the parameter server {self.shard.node} failed for an internal reason",
                    seen=type(error).__name__,
                    remedy="look at that node's log and report it",
                )
            )
            raise
        finally:
            self.shard.checkpoints.close()
        return None

    def see_off_failed(self, seconds: float) -> None:
        """After a failure: stays until everybody who takes part has heard of it, at most so long."""
        shard = self.shard
        with shard.changed:
            left = shard.membership.left
            nodes = {node for node in shard.membership.joined if node not in left}
            if self._lead is not None:
                nodes |= self._lead.enlisted
        shard.see_off_failed(nodes, seconds)

    def fail(self, error: CoterieError) -> None:
        """Ends the run: every waiting and later call raises ``error``."""
        self.shard.fail(error)

    # --- calls ---------------------------------------------------------------------------------

    @ParameterServerPort.join.serves
    @_heard
    def join(self, caller: Caller, request: pb.JoinRequest) -> pb.JoinReply:
        """Notes a node; answers once everybody has come and the model is initialized."""
        shard = self.shard
        with shard.changed:
            shard.locked_raise_failure()
            if self._lead is not None and self._lead.outcome is not None:
                if not shard.locked_wait(lambda: bool(shard.lineage.run_id)):
                    return pb.JoinReply(pending=True)
                self._check_remembered(caller, request)
                steps = self._lead.outcome.steps
                return pb.JoinReply(
                    step=steps,
                    steps=steps,
                    steps_per_epoch=steps,
                    finished=True,
                    lineage=shard.lineage_message(),
                    receipt=shard.receipt_message(),
                    receipt_kept=keeps_receipt(shard.receipt, request.remembered),
                )
            self._check_remembered(caller, request)
            wanted = request.ps_incarnation
            if not shard.locked_wait(
                lambda: shard.run is not None and shard.run.incarnation >= wanted
            ):
                return pb.JoinReply(pending=True)
            run = shard.locked_running()
            if wanted and run.incarnation != wanted:
                raise _refused_life(wanted, run.incarnation)
            shard.standstill.forget(caller.node)
            if run.membership.join(caller, request.train_examples, request.data_set_digest):
                run.membership.left.pop(caller.node, None)
                shard.on_event(
                    events.Joined(
                        caller.node,
                        run.membership.missing,
                        incarnation=caller.incarnation,
                        examples=request.train_examples,
                        data_set=request.data_set_digest.hex(),
                    )
                )
            self._hear_of(run, caller)
            shard.locked_begin(run)
            shard.changed.notify_all()
            if not shard.locked_wait(
                lambda: shard.run is not run or (run.begun and run.step >= request.step)
            ):
                return pb.JoinReply(pending=True, ps_incarnation=run.incarnation)
            if shard.run is not run:
                return pb.JoinReply(pending=True)
            schedule, _ = run.running()
            return pb.JoinReply(
                ps_incarnation=run.incarnation,
                step=run.step,
                steps=schedule.steps,
                steps_per_epoch=schedule.steps_per_epoch,
                shard=shard.place.shard,
                shards=shard.place.shards,
                lineage=shard.lineage_message(),
                receipt=shard.receipt_message(),
                receipt_kept=keeps_receipt(shard.receipt, request.remembered),
                validated=run.validations.newest,
            )

    @ParameterServerPort.initialize.serves
    @_heard
    def initialize(self, _caller: Caller, request: pb.InitializeRequest) -> pb.InitializeReply:
        """Takes the chief's initial dense parameters, before the first step only.

        Raises:
            MessageRefused: The contract has a start in their place.
        """
        shard = self.shard
        if shard.contract.start is not None:
            raise MessageRefused(
                "initial parameters came for a run that goes on from a model",
                expected="the start that the contract names",
                seen="a call to initialize",
                remedy="run the same version of Coterie on all nodes",
            )
        dense = self._bounds.dense(request.dense_parameters, name="dense_parameters")
        with shard.changed:
            if self._lead is not None and self._lead.outcome is not None:
                return pb.InitializeReply()
            shard.locked_wait(lambda: shard.run is not None)
            run = shard.locked_running()
            if not run.initialized:
                run.state.dense[:] = dense
                run.initialized = True
                shard.locked_begin(run)
                shard.changed.notify_all()
        return pb.InitializeReply()

    @ParameterServerPort.exchange.serves
    @_heard
    def exchange(self, caller: Caller, request: ExchangeRequest) -> ExchangeReply:
        """Takes a push, waits for the step, answers with the state after it."""
        shard = self.shard
        arrived = shard.monotonic()
        next_ids = self._bounds.row_ids(
            request.next_row_ids,
            examples=shard.contract.most_step_examples,
            name="next_row_ids",
        )
        if request.push is not None:
            self._take_push(caller, request)
        with shard.changed:
            run = self._joined(caller, request.ps_incarnation)
            self._hear_of(run, caller)
            shard.standstill.forget(caller.node)
            pushes = request.push is not None
            wanted = request.step + 1 if pushes else request.step
            schedule, _ = run.running()
            check_wanted(run, schedule, wanted)
            waits_from = shard.monotonic()
            if not shard.locked_wait(
                lambda: (
                    shard.run is not run
                    or shard.locked_told(run, wanted)
                    or (pushes and run.step == wanted and run.validates)
                    or run.ends_before(wanted)
                )
            ):
                return ExchangeReply(step=run.step, pending=True)
            self._joined(caller, request.ps_incarnation)
            check_wanted(run, run.running()[0], wanted)  # training may have ended meanwhile
            waited = shard.monotonic() - waits_from
            run.times.waited(waited)
            with run.times.reading():
                rows = octets_of(run.state.table.read_for_training(next_ids))
            return ExchangeReply(
                step=run.step,
                dense_parameters=run.dense_octets,
                rows=rows,
                durable=shard.durable_message(),
                receipt=shard.receipt_message(),
                served_seconds=shard.monotonic() - arrived,
                waited_seconds=waited,
            )

    @ParameterServerPort.lookup.serves
    @_heard
    def lookup(self, caller: Caller, request: pb.LookupRequest) -> pb.LookupReply:
        """Reads rows of the trained model, or of the one that is to be validated."""
        ids = self._bounds.row_ids(request.row_ids, examples=EVALUATION_BATCH + 1, name="row_ids")
        shard = self.shard
        with shard.changed:
            run = self._joined(caller, request.ps_incarnation)
            wanted = request.validates
            if not shard.locked_wait(
                lambda: (
                    shard.run is not run
                    or (run.step >= wanted or run.ends_before(wanted) if wanted else run.settled)
                )
            ):
                if not wanted:
                    run.check_trained()
                return pb.LookupReply(pending=True)
            self._joined(caller, request.ps_incarnation)
            if wanted:
                run.check_validates(wanted)
            run.progress_at = shard.monotonic()
            table = run.state.table
            return pb.LookupReply(
                dense_parameters=run.state.dense.tobytes() if request.dense else b"",
                rows=table.read(ids).tobytes(),
                trained=table.trained(ids).astype(np.uint8).tobytes(),
            )

    @ParameterServerPort.report.serves
    @_heard
    def report(self, caller: Caller, request: pb.ReportRequest) -> pb.ReportReply:
        """Adds a data owner's counts; answers once all have reported, of a validation at once."""
        shard = self.shard
        exact = shard.disclosure.exact
        counts = tuple(SplitCounts.from_wire(count, exact=exact) for count in request.counts)
        lead = self._leading("a report")
        with shard.changed:
            if lead.outcome is None:
                run = self._joined(caller, request.ps_incarnation)
                if request.validates:
                    lead.validator.locked_report(run, caller.node, request.validates, counts)
                    lead.locked_advance()
                    return pb.ReportReply()
                run.check_trained()
                if not shard.locked_wait(lambda: shard.run is not run or shard.locked_ended(run)):
                    return pb.ReportReply(pending=True)
                self._joined(caller, request.ps_incarnation)
                try:
                    lead.ending.locked_report(caller.node, counts)
                except EnvironmentUnfit:
                    shard.locked_wait(lambda: False, _AGAIN_SECONDS)
                    return pb.ReportReply(pending=True)  # and is sent again
                run.progress_at = shard.monotonic()
                if not shard.locked_wait(lambda: shard.run is not run or lead.outcome is not None):
                    return pb.ReportReply(pending=True)
            if lead.outcome is None:
                self._joined(caller, request.ps_incarnation)
                return pb.ReportReply(pending=True)
            return pb.ReportReply(model_digest=lead.outcome.model_digest)

    @ParameterServerPort.leave.serves
    @_heard
    def leave(self, caller: Caller, request: pb.LeaveRequest) -> pb.LeaveReply:
        """Notes that a node needs this shard no more."""
        shard = self.shard
        times = None
        if request.HasField("times") and caller.role == "worker":
            times = times_from_wire(caller.node, request.times)
        with shard.changed:
            shard.locked_raise_failure()
            shard.membership.check_incarnation(caller)
            run = shard.run
            over = self._lead is not None and self._lead.outcome is not None
            if not (over or shard.concluded) and (run is None or not run.trained):
                raise StepRefused(
                    f"node {caller.node} leaves before the last step",
                    expected="training to the end",
                    seen="a call to leave",
                    remedy="join again: the reply names the open step",
                )
            if run is not None:
                shard.locked_wait(
                    lambda: shard.run is not run or shard.concluded or shard.locked_ended(run)
                )
                if not shard.concluded and (shard.run is not run or not shard.locked_ended(run)):
                    raise _not_durable(caller)
            if times is not None:
                shard.worker_times[caller.node] = times
            shard.locked_leave(caller.node, caller.incarnation)
        return pb.LeaveReply()

    @ParameterServerPort.download.serves
    def download(self, caller: Caller, request: pb.DownloadRequest) -> Iterator[pb.DownloadPart]:
        """Streams the trained model, or its optimizers' state, once the run's outcome is made.

        Raises:
            CallRefused: The contract does not name this node's party, or names another node of it;
                or this process has left.
        """
        shard = self.shard
        check_recipient(shard.contract, caller)
        if request.optimizer_state:
            check_given_out(shard.contract)
        with shard.changed:  # never held while a part is on its way: others may send it
            shard.membership.check_incarnation(caller)
            check_not_left(shard.membership, caller)
            shard.locked_wait(lambda: shard.final is not None)
            final = shard.final
            outcome = self._lead.outcome if self._lead is not None else None
        if final is None:
            yield pb.DownloadPart(pending=True)
            return
        sent, run_id = 0, shard.checkpoints.run_id
        if request.optimizer_state:
            sent = part_count(final)  # the model's come before
            parts = state_parts(final, (outcome and outcome.optimizer_state) or b"", run_id)
        else:
            parts = model_parts(final, outcome.model_digest if outcome else b"", run_id)
        for part in parts:
            yield part
            sent += 1
            with shard.changed:
                check_not_left(shard.membership, caller)
                if caller.node in shard.membership.remaining:
                    shard.departures.sent(caller.node, sent)

    @ParameterServerPort.start.serves
    @_heard
    def start(self, caller: Caller, parts: Iterable[pb.StartPart]) -> pb.StartReply:
        """See ``StartInbox.take``."""
        return self._starting.take(caller, iter(parts))

    @ParameterServerPort.status.serves
    def status(self, _caller: Caller, _request: pb.StatusRequest) -> pb.StatusReply:
        """Reads the state of the run."""
        shard = self.shard
        with shard.changed:
            run = shard.run
            return pb.StatusReply(
                ps_incarnation=run.incarnation if run else 0,
                step=run.step if run else 0,
                steps=run.schedule.steps if run and run.schedule else 0,
                joined=shard.membership.joined,
                missing=shard.membership.missing,
                lineage=shard.lineage_message(),
                waits_for=self._locked_awaited(),
                reason=shard.standstill.reason_of(self._locked_awaited()),
            )

    @ParameterServerPort.tell.serves
    def tell(self, caller: Caller, request: pb.TellRequest) -> pb.TellReply:
        """Notes why a node ends; who waits for it hears that."""
        shard = self.shard
        with shard.changed:
            shard.membership.check_incarnation(caller)
            shard.standstill.hear(caller.node, request)
            run = shard.run
            diverges = request.error == TrainingDiverged.__name__ and caller.role == "worker"
            # With a quorum the others may go on without it, as without one that stays away.
            if diverges and run is not None and shard.contract.limits.quorum is None:
                seen = shard.standstill.reason_of((caller.node,))
                shard.fail(diverged(run.step, seen, run.losses))
            shard.changed.notify_all()
        return pb.TellReply()

    def overview(self) -> Progress:
        """What an operator may see."""
        return progress_of(self.shard, self._lead)

    @ParameterServerPort.enlist.serves
    @_heard
    def enlist(self, caller: Caller, request: pb.EnlistRequest) -> pb.EnlistReply:
        """See ``Leader.enlist``."""
        return self._leading("an enlisting shard").enlist(caller, request)

    @ParameterServerPort.commit.serves
    @_heard
    def commit(self, caller: Caller, request: pb.CommitRequest) -> pb.CommitReply:
        """See ``Leader.commit``."""
        return self._leading("a commit").commit(caller, request)

    @ParameterServerPort.conclude.serves
    @_heard
    def conclude(self, caller: Caller, request: pb.ConcludeRequest) -> pb.ConcludeReply:
        """See ``Leader.conclude``."""
        return self._leading("a conclusion").conclude(caller, request)

    # --- inside the lock -----------------------------------------------------------------------

    def _locked_awaited(self) -> tuple[str, ...]:
        if self._lead is not None:
            return self._lead.locked_awaited()
        run = self.shard.run
        return run.awaited() if run is not None else ()

    def _take_push(self, caller: Caller, request: ExchangeRequest) -> None:
        shard = self.shard
        with shard.changed:
            run = self._joined(caller, request.ps_incarnation)
            schedule, barrier = run.running()
            worker = run.membership.index_of(caller)
            if barrier.admits(worker, request.step) is not Offer.TAKEN:
                return
            examples = len(schedule.lanes[worker].span(request.step))
        if request.push is None:
            raise AssertionError
        with run.times.decoding():
            gradients = self._bounds.push(request.push, examples=examples)
        with shard.changed:
            if self._joined(caller, request.ps_incarnation) is not run:
                return
            if barrier.offer(worker, request.step, gradients) is Offer.TAKEN:
                if self._lead is not None:
                    self._lead.locked_advance()
                elif not barrier.missing:
                    shard.changed.notify_all()

    def _joined(self, caller: Caller, ps_incarnation: int) -> Run:
        run = self.shard.locked_running()
        run.check_caller(caller, ps_incarnation)
        return run

    def _hear_of(self, run: Run, caller: Caller) -> None:
        if run.council is not None and caller.role == "worker":
            run.council.hear_of(run.membership.index_of(caller))

    def _check_remembered(self, caller: Caller, request: pb.JoinRequest) -> None:
        """Whoever remembers otherwise than what this server goes on with stops the run."""
        shard = self.shard
        if self._lead is None or (shard.run is None and self._lead.outcome is None):
            return
        try:
            check_remembered(caller.node, request.remembered, shard.lineage, shard.receipt)
        except TrustError as error:
            shard.fail(error)
            raise

    def _leading(self, what: str) -> Leader:
        if self._lead is None:
            raise MessageRefused(
                f"{what} came to another shard than the first",
                expected="a call to shard 0",
                seen=f"shard {self.shard.place.shard}",
                remedy="run the same version of Coterie on all nodes",
            )
        return self._lead


def check_wanted(run: Run, schedule: Schedule, wanted: int) -> None:
    """Refuses calls for a state that is gone, or will not come.

    Raises:
        StepRefused: This is one.
    """
    if not run.step <= wanted <= schedule.steps:
        raise StepRefused(
            f"there is no state after {wanted} updates (any more)",
            expected=f"{run.step} to {schedule.steps} updates",
            seen=f"a call for {wanted}",
            remedy="join again: the reply names the open step",
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
        "this shard is in another life of the server",
        expected=f"server incarnation {wanted}",
        seen=f"server incarnation {seen}",
        remedy="join again",
    )
