"""What shard 0 does beyond any shard: it decides steps, names common checkpoints, ends the run.

A life of the whole server: every shard enlists -> all restore the newest checkpoint that all hold
-> steps are decided one by one -> the last is applied, digests and reports come in -> the outcome
is kept durably -> every node leaves. A shard that enlists in the middle has lost its state: all go
back and begin anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from coterie.errors import CoterieError, MessageRefused, NodeMissing, StepRefused
from coterie.ps.caller import Caller
from coterie.ps.checkpoints import DurableCheckpoint
from coterie.ps.checkpoints.common_checkpoints import CommonCheckpoints
from coterie.ps.checkpoints.lineage import Lineage
from coterie.ps.completion import Completion
from coterie.ps.core.coordinator import Coordinator, Decision
from coterie.ps.core.validator import Validator
from coterie.ps.run import Run
from coterie.ps.shard import Shard, other_run
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.shard_messages import checkpoint_from_wire, decision_to_wire, staged_from_wire
from coterie.runs import events
from coterie.runs.outcome import RunOutcome


class Leader:
    """Shard 0's duties. What is named ``locked_...`` wants the shard's lock held.

    Args:
        shard: The shard.

    Attributes:
        ending: How the run ends.
        validator: Validates the model while it is trained.
    """

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._servers = [node.name for node in shard.contract.by_role("ps")]
        self._incarnation = shard.incarnation - 1  # the first life has the process's own
        self._enlisted: dict[int, tuple[DurableCheckpoint, ...]] = {}
        self._attempts: dict[int, tuple[int, int]] = {}
        self._ledger = CommonCheckpoints(len(self._servers))
        self._writing: set[int] = set()
        self._replies: pb.CommitReply | None = None
        self._checkpoint_due = False
        self._begun = self._wanted = 0
        self._times: tuple[events.ServerTimes, ...] = ()
        self.ending = Completion(shard)
        self.validator = Validator(shard)
        shard.on_durable = self._own_durable

    @property
    def enlisted(self) -> set[str]:
        """Names of the other shards that take part."""
        return {self._servers[index] for index in self._enlisted}

    @property
    def outcome(self) -> RunOutcome | None:
        """The run's outcome, once it is kept."""
        return self.ending.outcome

    # --- calls by the other shards -------------------------------------------------------------

    def enlist(self, caller: Caller, request: pb.EnlistRequest) -> pb.EnlistReply:
        """Notes a shard that comes (back); answers once all have and the state is restored."""
        shard = self._shard
        available = tuple(checkpoint_from_wire(message) for message in request.available)
        with shard.changed:
            shard.locked_raise_failure()
            index = self._index(caller)
            self._check_run(caller, request.run_id)
            if self.outcome is not None:
                return pb.EnlistReply(
                    finished=True,
                    step=self.outcome.steps,
                    model_step=self.outcome.model_step,
                    excused=sorted(self.ending.excused),
                    run_id=self.outcome.end.run_id,
                )
            attempt = (caller.incarnation, request.attempt)
            known = self._attempts.get(index, (0, 0))
            if attempt < known:
                raise _out_of_step(0, 0)
            if attempt > known:
                self._attempts[index] = attempt
                if shard.run is not None:  # the shard has lost its state, and all go back
                    shard.run = None
                    self._enlisted.clear()
                self._enlisted[index] = available
                shard.changed.notify_all()
            if not shard.locked_wait(lambda: shard.run is not None):
                return pb.EnlistReply(pending=True)
            run = shard.locked_running()
            return pb.EnlistReply(
                ps_incarnation=run.incarnation,
                restores=run.step > 0,
                step=run.step,
                run_id=shard.checkpoints.run_id,
            )

    def commit(self, caller: Caller, request: pb.CommitRequest) -> pb.CommitReply:
        """Takes note of what a shard has staged; answers with the decision."""
        shard = self._shard
        with shard.changed:
            run = self._check(caller, request.ps_incarnation)
            index = self._index(caller)
            self._note_durable(index, request.durable)
            (self._writing.add if request.writing else self._writing.discard)(index)
            if run.council is not None and request.step == run.step and not run.steps_done:
                staged = staged_from_wire(
                    request,
                    workers=len(run.membership.workers),
                    with_norms=run.contract.training.update_norm is not None,
                )
                run.council.report(index, staged)
                self.locked_advance()
            if not shard.locked_wait(
                lambda: shard.run is not run or run.step > request.step or run.trained,
                seconds=None if request.waits else 0.0,
            ):
                return pb.CommitReply(pending=True)
            self._check(caller, request.ps_incarnation)
            if run.trained and request.step == run.step:
                return pb.CommitReply(ended=True, kept_step=run.validations.kept_step)
            reply, last = self._replies, self._locked_council(run).last
            if reply is None or last is None or last.step != request.step:
                raise _out_of_step(request.step, run.step)
            return reply

    def conclude(self, caller: Caller, request: pb.ConcludeRequest) -> pb.ConcludeReply:
        """Takes a shard's part of the model's digest; answers when the run's outcome is kept."""
        shard = self._shard
        with shard.changed:
            run = self._check(caller, request.ps_incarnation)
            if not run.trained:
                raise _out_of_step(run.step, run.step)
            index = self._index(caller)
            self._note_durable(index, request.durable)
            self.ending.locked_digests(index, request.slice_digests, request.state_digests)
            if not shard.locked_wait(lambda: shard.run is not run or self.outcome is not None):
                return pb.ConcludeReply(pending=True)
            if self.outcome is None:
                self._check(caller, request.ps_incarnation)
            return pb.ConcludeReply(excused=sorted(self.ending.excused))

    # --- what the shard's own calls need -------------------------------------------------------

    def locked_awaited(self) -> tuple[str, ...]:
        """Whom the run waits for at present."""
        run = self._shard.run
        if run is None:
            return tuple(
                name for i, name in enumerate(self._servers) if i and i not in self._enlisted
            )
        if run.validates:
            return self.validator.locked_missing(run)
        return self.ending.missing if run.trained else run.awaited()

    def locked_advance(self) -> None:
        """Decides and applies the open step, and steps that nobody has a part in."""
        shard = self._shard
        while (run := shard.run) is not None and run.begun and not run.trained:
            if shard.standstill.trouble is not None:
                return  # what is learned now could not be kept
            if run.validates:
                if not self.validator.locked_conclude(run):
                    return
                continue
            if run.keeps_checkpoint(run.step + 1) and self._locked_behind():
                return  # until it is durable: else copies of the model would pile up
            grace_over = run.grace_over()
            if run.barrier is not None and (grace_over or not run.barrier.missing):
                self._locked_council(run).report(0, run.staged_report())
            decision = self._locked_council(run).decide(grace_over=grace_over)
            if decision is None:
                return
            try:
                self._apply(run, decision)
            except CoterieError as error:
                shard.fail(error)
                raise

    # --- the run as a whole, on the server's main thread ---------------------------------------

    def drive(self, on_outcome: Callable[[RunOutcome], None]) -> RunOutcome:
        """Leads the run to its end.

        Args:
            on_outcome: Hears of the outcome when it is kept, before anybody is waited for to leave.

        Raises:
            NodeMissing: A node did not come, or stayed away, longer than the contract allows.
            CoterieError: The run failed.
        """
        if self.outcome is not None:
            self._shard.resume_end(self.outcome.steps, self.outcome.end)
        while (outcome := self.outcome) is None:
            self._gather()
            step, run_id = self._agree()
            self._shard.restore(step, self._incarnation, run_id)
            self._watch()
        on_outcome(outcome)
        self._shard.restore_final(outcome.model_step)
        with self._shard.changed:
            if not self._shard.concluded:  # it came back, and nobody comes for the model any more
                self._shard.locked_conclude(None)
        return self.ending.see_off(outcome, self._times)

    def _gather(self) -> None:
        """Waits until every other shard has enlisted."""
        shard = self._shard
        limit = shard.contract.limits.join_seconds
        others = set(range(1, len(self._servers)))
        with shard.changed:
            since, left = shard.monotonic(), limit
            while not others <= self._enlisted.keys():
                names = tuple(self._servers[i] for i in sorted(others - self._enlisted.keys()))
                look = min(left, shard.standstill.say(names, since, left))
                if shard.locked_wait(lambda: others <= self._enlisted.keys(), look):
                    break
                left -= look
                if left > 0:
                    continue
                error = NodeMissing(
                    f"the run waits in vain for {', '.join(names)} to come",
                    expected=f"within limits.join_seconds = {limit:g} s",
                    seen="nothing",
                    remedy="look at that node's log; start it again, or raise the limit",
                )
                shard.fail(error)
                raise error
        shard.checkpoints.settle()

    def _agree(self) -> tuple[int | None, str]:
        """Begins a new life at the newest checkpoint that all shards hold.

        Returns:
            Its step, None if there is none; and the run that it is of, or that begins.
        """
        own = self._shard.checkpoints.available()
        with self._shard.changed:
            self._incarnation += 1
            self._writing.clear()
            self._replies, self._checkpoint_due = None, False
            told = self._shard.announced
            common = self._ledger.begin({0: own, **self._enlisted})
            self._shard.lineage = self._lineage(common)
            self._begun = self._wanted = 0
            self.ending.begin_anew(common)
        if common is None:
            return None, self._shard.lineage.run_id
        if self._incarnation > self._shard.incarnation and common.step > (told.step if told else 0):
            # all held it when a shard was lost, and nobody had said so yet
            self._shard.on_event(events.CheckpointWritten(common.step, common.digest.hex()))
        return common.step, self._shard.checkpoints.run_id

    def _lineage(self, common: DurableCheckpoint | None) -> Lineage:
        shard = self._shard
        if common is not None:
            return Lineage.restored(shard.checkpoints.record(common.step), common, shard.consent)
        lineage = Lineage(shard.new_run_id())
        lineage.check_target(shard.consent)
        return lineage

    def _watch(self) -> None:
        """Watches over deadlines until the outcome is kept or the state is lost."""
        shard = self._shard
        with shard.changed:
            run = shard.run
            while run is not None and shard.run is run:
                shard.locked_begin(run)
                self.locked_advance()
                if run.trained and not run.settled:
                    self._settle(run)
                if run.settled:
                    self.ending.locked_conclude(run)
                    if self.outcome is not None:
                        held = self.outcome.totals.get("validation")
                        self.validator.locked_hear_end(
                            run, held.metrics().log_loss if held is not None else None
                        )
                if self.outcome is not None or shard.run is not run:
                    break
                shard.locked_raise_failure()  # perhaps while the lock was open
                left = run.seconds_left()
                if left <= 0:
                    shard.fail(
                        shard.standstill.trouble
                        or run.overdue(self.locked_awaited(), shard.standstill.reasons)
                    )
                else:
                    look = shard.standstill.say(
                        self.locked_awaited(), run.progress_at, run.last_seconds()
                    )
                    shard.changed.wait(min(left, look))
            if run is not None:
                self._times = (run.times.event(shard.node),)
                shard.on_event(*self._times)

    # --- inside the lock -----------------------------------------------------------------------

    def _settle(self, run: Run) -> None:
        """Reads the best model with the lock open."""
        self._shard.changed.release()
        try:
            self._shard.settle(run)
        finally:
            self._shard.changed.acquire()

    def _apply(self, run: Run, decision: Decision) -> None:
        shard = self._shard
        run.apply(decision)
        every = shard.contract.training.checkpoint_steps
        self._checkpoint_due |= bool(every) and run.step % every == 0
        busy = shard.checkpoints.writing or bool(self._writing)
        writes = run.keeps_checkpoint(run.step) or (self._checkpoint_due and not busy)
        if writes:
            self._checkpoint_due = False
            self._wanted = run.step if run.keeps_checkpoint(run.step) else self._wanted
            self._begun = run.step  # it holds which ones were announced: no older one will be
            shard.locked_save(run)
        self._replies = decision_to_wire(
            decision,
            checkpoint=writes,
            announced=shard.durable_message(),
            kept_step=run.validations.kept_step,
        )
        shard.changed.notify_all()

    def _locked_behind(self) -> bool:
        """Whether the last checkpoint that was wanted in any case is still being written."""
        checkpoints = self._shard.checkpoints
        if not self._wanted or not checkpoints.persistent:
            return False
        return all(found.step < self._wanted for found in checkpoints.available())

    def _index(self, caller: Caller) -> int:
        index = self._servers.index(caller.node) if caller.node in self._servers else 0
        if index == 0:
            raise MessageRefused(
                f"node {caller.node} called as a shard of the parameter server",
                expected="another node with role ps",
                seen=f"{caller.node}, role {caller.role}",
                remedy="run the same version of Coterie on all nodes",
            )
        return index

    def _check_run(self, caller: Caller, run_id: str) -> None:
        """Refuses a shard whose checkpoints are of another run than this one's."""
        checkpoints = self._shard.checkpoints
        if run_id and checkpoints.available() and run_id != checkpoints.run_id:
            raise other_run(caller.node, checkpoints.run_id, run_id)

    def _check(self, caller: Caller, ps_incarnation: int) -> Run:
        self._shard.locked_raise_failure()
        self._index(caller)
        run = self._shard.locked_running()
        if ps_incarnation != run.incarnation:
            raise StepRefused(
                f"shard {caller.node} is of another life of the server",
                expected=f"server incarnation {run.incarnation}",
                seen=f"server incarnation {ps_incarnation}",
                remedy="enlist again",
            )
        return run

    def _locked_council(self, run: Run) -> Coordinator:
        if run.council is None:
            raise _out_of_step(run.step, run.step)
        return run.council

    def _own_durable(self, durable: DurableCheckpoint) -> None:
        """Called by the checkpoint writer's thread."""
        with self._shard.changed:
            self._ledger.note(0, durable)
            self._announce()

    def _note_durable(self, index: int, messages: Iterable[pb.Checkpoint]) -> None:
        for message in messages:
            self._ledger.note(index, checkpoint_from_wire(message))
        self._announce()

    def _announce(self) -> None:
        """Announces the newest checkpoint that all shards hold."""
        shard = self._shard
        announced = shard.announced.step if shard.announced else -1
        newest = self._ledger.newest(after=max(announced, self._begun - 1))
        if newest is not None:
            shard.lineage = shard.lineage.announce(newest)
            shard.checkpoints.retire(newest.step)
            shard.on_event(events.CheckpointWritten(newest.step, newest.digest.hex()))
            shard.changed.notify_all()


def _out_of_step(asked: int, step: int) -> StepRefused:
    return StepRefused(
        "the shard is out of step with shard 0",
        expected=f"a call about step {step}",
        seen=f"a call about step {asked}",
        remedy="enlist again",
    )
