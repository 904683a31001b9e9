"""A parameter server shard's calls: each becomes a move of the shard's run, under one lock.

Calls wait for others (joins, steps, reports) at most ``poll_seconds`` and then answer ``pending``;
the caller repeats the same message, which is safe because repeated messages take effect once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from coterie.errors import CoterieError, MessageRefused, RollbackRefused, StepRefused
from coterie.ps import events
from coterie.ps.barrier import Offer
from coterie.ps.download import check_not_left, check_recipient, model_parts
from coterie.ps.evaluation import SplitCounts
from coterie.ps.follower import Follower
from coterie.ps.lead import Lead
from coterie.ps.messages import EVALUATION_BATCH, MessageBounds
from coterie.ps.outcome import RunOutcome
from coterie.ps.overview import Overview, overview_of
from coterie.ps.ports import Caller, ParameterServerPort
from coterie.ps.run import Run
from coterie.ps.shard import Shard
from coterie.ps.times import times_from_wire
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest, octets_of


class ParameterService:
    """One parameter server shard, whatever transport its calls come over.

    Args:
        shard: Its state.
        connect: Dials shard 0; only shards after the first do.
    """

    def __init__(
        self, shard: Shard, connect: Callable[[], ParameterServerPort] | None = None
    ) -> None:
        self._shard = shard
        self._connect = connect
        self._lead = Lead(shard) if shard.place.leads else None
        self._bounds = MessageBounds(shard.contract, dense=shard.place.leads)

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
            if self._connect is None:
                raise AssertionError
            Follower(self._shard, self._connect).drive()
        except CoterieError as error:
            self._shard.fail(error)
            raise
        finally:
            self._shard.checkpoints.close()
        return None

    def fail(self, error: CoterieError) -> None:
        """Ends the run: every waiting and later call raises ``error``."""
        self._shard.fail(error)

    # --- calls ---------------------------------------------------------------------------------

    def join(self, caller: Caller, request: pb.JoinRequest) -> pb.JoinReply:
        """Notes a node; answers once everybody has come and the model is initialized."""
        shard = self._shard
        with shard.changed:
            shard.locked_raise_failure()
            self._check_remembered(caller, request)
            if self._lead is not None and self._lead.outcome is not None:
                steps = self._lead.outcome.steps
                return pb.JoinReply(step=steps, steps=steps, steps_per_epoch=steps, finished=True)
            wanted = request.ps_incarnation
            if not shard.locked_wait(
                lambda: shard.run is not None and shard.run.incarnation >= wanted
            ):
                return pb.JoinReply(pending=True)
            run = shard.locked_running()
            if wanted and run.incarnation != wanted:
                raise _refused_life(wanted, run.incarnation)
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
            run.begin_if_complete()
            shard.changed.notify_all()
            if not shard.locked_wait(
                lambda: shard.run is not run or (run.begun and run.state.step >= request.step)
            ):
                return pb.JoinReply(pending=True, ps_incarnation=run.incarnation)
            if shard.run is not run:
                return pb.JoinReply(pending=True)
            schedule, _ = run.running()
            return pb.JoinReply(
                ps_incarnation=run.incarnation,
                step=run.state.step,
                steps=schedule.steps,
                steps_per_epoch=schedule.steps_per_epoch,
                shard=shard.place.shard,
                shards=shard.place.shards,
                durable=shard.durable_message(),
                rollback=shard.rollback_message(),
            )

    def initialize(self, _caller: Caller, request: pb.InitializeRequest) -> pb.InitializeReply:
        """Takes the chief's initial dense parameters, before the first step only."""
        shard = self._shard
        dense = self._bounds.dense(request.dense_parameters, name="dense_parameters")
        with shard.changed:
            if self._lead is not None and self._lead.outcome is not None:
                return pb.InitializeReply()
            shard.locked_wait(lambda: shard.run is not None)
            run = shard.locked_running()
            if not run.initialized:
                run.state.dense[:] = dense
                run.initialized = True
                run.begin_if_complete()
                shard.changed.notify_all()
        return pb.InitializeReply()

    def exchange(self, caller: Caller, request: ExchangeRequest) -> ExchangeReply:
        """Takes a push, waits for the step, answers with the state after it."""
        shard = self._shard
        arrived = shard.monotonic()
        next_ids = self._bounds.row_ids(
            request.next_row_ids,
            examples=shard.contract.training.step_examples,
            name="next_row_ids",
        )
        if request.push is not None:
            self._take_push(caller, request)
        with shard.changed:
            run = self._joined(caller, request.ps_incarnation)
            self._hear_of(run, caller)
            wanted = request.step + 1 if request.push is not None else request.step
            schedule, _ = run.running()
            if not run.state.step <= wanted <= schedule.steps:
                raise StepRefused(
                    f"there is no state after {wanted} updates (any more)",
                    expected=f"{run.state.step} to {schedule.steps} updates",
                    seen=f"a call for {wanted}",
                    remedy="join again: the reply names the open step",
                )
            waits_from = shard.monotonic()
            if not shard.locked_wait(
                lambda: shard.run is not run or shard.locked_told(run, wanted)
            ):
                return ExchangeReply(step=run.state.step, pending=True)
            self._joined(caller, request.ps_incarnation)
            waited = shard.monotonic() - waits_from
            run.times.waited(waited)
            with run.times.reading():
                rows = octets_of(run.state.table.read(next_ids))
            return ExchangeReply(
                step=run.state.step,
                dense_parameters=run.dense_octets,
                rows=rows,
                durable=shard.durable_message(),
                served_seconds=shard.monotonic() - arrived,
                waited_seconds=waited,
            )

    def lookup(self, caller: Caller, request: pb.LookupRequest) -> pb.LookupReply:
        """Reads rows for evaluation, once training has ended."""
        ids = self._bounds.row_ids(request.row_ids, examples=EVALUATION_BATCH + 1, name="row_ids")
        shard = self._shard
        with shard.changed:
            run = self._joined(caller, request.ps_incarnation)
            run.check_trained()
            run.progress_at = shard.monotonic()
            table = run.state.table
            return pb.LookupReply(
                dense_parameters=run.dense_octets if request.dense else b"",
                rows=table.read(ids).tobytes(),
                trained=table.trained(ids).astype(np.uint8).tobytes(),
            )

    def report(self, caller: Caller, request: pb.ReportRequest) -> pb.ReportReply:
        """Adds a data owner's counts; answers once all have reported."""
        counts = tuple(SplitCounts.from_wire(count) for count in request.counts)
        shard = self._shard
        lead = self._leading("a report")
        with shard.changed:
            if lead.outcome is None:
                run = self._joined(caller, request.ps_incarnation)
                run.check_trained()
                if not shard.locked_wait(lambda: shard.run is not run or shard.locked_ended(run)):
                    return pb.ReportReply(pending=True)
                self._joined(caller, request.ps_incarnation)
                lead.ending.locked_report(caller.node, counts)
                run.progress_at = shard.monotonic()
                if not shard.locked_wait(lambda: shard.run is not run or lead.outcome is not None):
                    return pb.ReportReply(pending=True)
            if lead.outcome is None:
                self._joined(caller, request.ps_incarnation)
                return pb.ReportReply(pending=True)
            return pb.ReportReply(model_digest=lead.outcome.model_digest)

    def leave(self, caller: Caller, request: pb.LeaveRequest) -> pb.LeaveReply:
        """Notes that a node needs this shard no more."""
        shard = self._shard
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

    def download(self, caller: Caller, _request: pb.DownloadRequest) -> Iterator[pb.DownloadPart]:
        """Streams the trained model to a node that gets it, once the run's outcome is made.

        Raises:
            CallRefused: The contract does not name this node's party, or names another node of it;
                or this process has left.
        """
        shard = self._shard
        check_recipient(shard.contract, caller)
        with shard.changed:  # never held while a part is on its way: others may send it
            shard.membership.check_incarnation(caller)
            check_not_left(shard.membership, caller)
            shard.locked_wait(lambda: shard.final is not None)
            final = shard.final
            digest = self._lead.outcome.model_digest if self._lead and self._lead.outcome else b""
        if final is None:
            yield pb.DownloadPart(pending=True)
            return
        for sent, part in enumerate(model_parts(final, digest), 1):
            yield part
            with shard.changed:
                check_not_left(shard.membership, caller)
                if caller.node in shard.membership.remaining:
                    shard.departures.sent(caller.node, sent)

    def status(self, _caller: Caller, _request: pb.StatusRequest) -> pb.StatusReply:
        """Reads the state of the run."""
        shard = self._shard
        with shard.changed:
            run = shard.run
            return pb.StatusReply(
                ps_incarnation=run.incarnation if run else 0,
                step=run.state.step if run else 0,
                steps=run.schedule.steps if run and run.schedule else 0,
                joined=shard.membership.joined,
                missing=shard.membership.missing,
                durable=shard.durable_message(),
            )

    def overview(self) -> Overview:
        """What an operator may see."""
        return overview_of(self._shard, self._lead)

    def enlist(self, caller: Caller, request: pb.EnlistRequest) -> pb.EnlistReply:
        """See ``Lead.enlist``."""
        return self._leading("an enlisting shard").enlist(caller, request)

    def commit(self, caller: Caller, request: pb.CommitRequest) -> pb.CommitReply:
        """See ``Lead.commit``."""
        return self._leading("a commit").commit(caller, request)

    def conclude(self, caller: Caller, request: pb.ConcludeRequest) -> pb.ConcludeReply:
        """See ``Lead.conclude``."""
        return self._leading("a conclusion").conclude(caller, request)

    # --- inside the lock -----------------------------------------------------------------------

    def _take_push(self, caller: Caller, request: ExchangeRequest) -> None:
        shard = self._shard
        with shard.changed:
            run = self._joined(caller, request.ps_incarnation)
            schedule, barrier = run.running()
            worker = run.membership.index_of(caller)
            if barrier.admits(worker, request.step) is not Offer.TAKEN:
                return
            examples = len(schedule.lane(worker).span(request.step))
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
        run = self._shard.locked_running()
        run.check_caller(caller, ps_incarnation)
        return run

    def _hear_of(self, run: Run, caller: Caller) -> None:
        if run.council is not None and caller.role == "worker":
            run.council.hear_of(run.membership.index_of(caller))

    def _check_remembered(self, caller: Caller, request: pb.JoinRequest) -> None:
        """Whoever remembers a newer checkpoint than this server holds, stops the run."""
        shard = self._shard
        remembered = request.remembered
        if not remembered.digest or self._lead is None or shard.run is None:
            return
        announced = shard.announced.step if shard.announced else 0
        if remembered.step <= announced or shard.consent is not None:
            return  # the node itself checks digests, and that a consent names what it is offered
        error = RollbackRefused(
            f"node {caller.node} remembers a newer checkpoint than this server was restored from",
            expected=f"step {remembered.step} or later (SHA-256 {remembered.digest.hex()[:64]})",
            seen=f"step {announced}",
            remedy="restore the server's newest checkpoint; if it is lost, all parties may agree "
            "to go on from this one: coterie contract rollback",
        )
        shard.fail(error)
        raise error

    def _leading(self, what: str) -> Lead:
        if self._lead is None:
            raise MessageRefused(
                f"{what} came to another shard than the first",
                expected="a call to shard 0",
                seen=f"shard {self._shard.place.shard}",
                remedy="run the same version of Coterie on all nodes",
            )
        return self._lead


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
