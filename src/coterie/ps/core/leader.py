"""Shard 0's additional duties: decides steps, names common checkpoints, ends the run.

An incarnation of the whole server: every shard enlists -> all restore the newest checkpoint that
all hold
-> steps are decided one by one -> the last is applied, digests and reports are collected -> the
outcome is kept durably -> every node leaves. A shard that enlists in between has lost its state:
all shards go back and begin a new incarnation.
"""

from __future__ import annotations

from collections.abc import Iterable

from coterie.errors import CoterieError, MessageRefused, NodeMissing, StepRefused
from coterie.ps.caller import Caller
from coterie.ps.checkpoints.common_checkpoints import CommonCheckpoints
from coterie.ps.checkpoints.lineage import Lineage
from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.core.completion import Completion
from coterie.ps.core.coordinator import Coordinator, Decision
from coterie.ps.core.effects import ReadRecord, Settle
from coterie.ps.core.flushes import FlushPlan
from coterie.ps.core.procedures import Steps, Task, next_change, perform, until
from coterie.ps.core.run import Run
from coterie.ps.core.shard import ShardCore, other_run
from coterie.ps.core.validator import Validator
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.shard_messages import checkpoint_from_wire, decision_to_wire, staged_from_wire
from coterie.runs import events
from coterie.runs.outcome import RunOutcome


class Publish(Task[None]):
    """The outcome is kept: reports it to those who wait for it, before nodes have left."""

    def __init__(self, kept: RunOutcome) -> None:
        self.kept = kept


class Leader:
    """Shard 0's duties.

    Args:
        core: The shard.

    Attributes:
        completion: The end of the run.
        validator: Validations during training.
    """

    def __init__(self, core: ShardCore) -> None:
        self._core = core
        self._servers = core.servers
        self._incarnation = core.incarnation - 1  # the first incarnation is the process's own
        self._enlisted: dict[int, tuple[DurableCheckpoint, ...]] = {}
        self._attempts: dict[int, tuple[int, int]] = {}
        self._common = CommonCheckpoints(len(self._servers))
        self._writing: set[int] = set()
        self._replies: pb.CommitReply | None = None
        self._checkpoint_due = False
        self._begun = self._wanted = 0
        self._times: tuple[events.ServerTimes, ...] = ()
        self.completion = Completion(core)
        self.validator = Validator(core)
        core.on_durable = self._own_durable

    @property
    def enlisted(self) -> set[str]:
        """Names of the other shards that take part."""
        return {self._servers[index] for index in self._enlisted}

    @property
    def outcome(self) -> RunOutcome | None:
        """The run's outcome, once it is kept."""
        return self.completion.outcome

    # --- calls by the other shards -------------------------------------------------------------

    def enlist(self, caller: Caller, request: pb.EnlistRequest) -> Steps[pb.EnlistReply]:
        """Registers a shard (again); answers once all have enlisted and the state is restored."""
        core = self._core
        available = tuple(checkpoint_from_wire(message) for message in request.available)
        core.raise_failure()
        index = self._index(caller)
        self._check_run(caller, request.run_id)
        if self.outcome is not None:
            return pb.EnlistReply(
                finished=True,
                step=self.outcome.steps,
                model_step=self.outcome.model_step,
                excused=sorted(self.completion.excused),
                run_id=self.outcome.end.run_id,
            )
        attempt = (caller.incarnation, request.attempt)
        known = self._attempts.get(index, (0, 0))
        if attempt < known:
            raise _out_of_step(0, 0)
        if attempt > known:
            self._attempts[index] = attempt
            if core.run is not None:  # the shard has lost its state
                self.go_back()
            self._enlisted[index] = available
            core.notify()
        if not (yield from until(lambda: core.run is not None)):
            return pb.EnlistReply(pending=True)
        run = core.running()
        return pb.EnlistReply(
            ps_incarnation=run.incarnation,
            restores=run.step > 0,
            step=run.step,
            run_id=core.disk.run_id,
        )

    def commit(self, caller: Caller, request: pb.CommitRequest) -> Steps[pb.CommitReply]:
        """Takes a shard's report on the open step; answers with the decision."""
        core = self._core
        run = self._check(caller, request.ps_incarnation)
        index = self._index(caller)
        self._note_durable(index, request.durable)
        (self._writing.add if request.writing else self._writing.discard)(index)
        if run.coordinator is not None and request.step == run.step and not run.steps_done:
            staged = staged_from_wire(
                request,
                workers=len(run.membership.workers),
                with_norms=run.contract.training.update_norm is not None,
            )
            run.coordinator.report(index, staged)
            yield from self.advance()
        if not (
            yield from until(
                lambda: core.run is not run or run.step > request.step or run.trained,
                None if request.waits else 0.0,
            )
        ):
            return pb.CommitReply(pending=True)
        self._check(caller, request.ps_incarnation)
        if run.trained and request.step == run.step:
            return pb.CommitReply(ended=True, kept_step=run.validations.kept_step)
        reply, last = self._replies, self._coordinator(run).last
        if reply is None or last is None or last.step != request.step:
            raise _out_of_step(request.step, run.step)
        return reply

    def conclude(self, caller: Caller, request: pb.ConcludeRequest) -> Steps[pb.ConcludeReply]:
        """Takes a shard's part of the model's digest; answers when the run's outcome is kept."""
        core = self._core
        run = self._check(caller, request.ps_incarnation)
        if not run.trained:
            raise _out_of_step(run.step, run.step)
        index = self._index(caller)
        self._note_durable(index, request.durable)
        self.completion.digests(index, request.slice_digests, request.state_digests)
        if not (yield from until(lambda: core.run is not run or self.outcome is not None)):
            return pb.ConcludeReply(pending=True)
        if self.outcome is None:
            self._check(caller, request.ps_incarnation)
        return pb.ConcludeReply(excused=sorted(self.completion.excused))

    # --- returns to a checkpoint ---------------------------------------------------------------

    def go_back(self) -> None:
        """Ends this incarnation: all shards return to the newest checkpoint that all hold."""
        self._core.run = None
        self._enlisted.clear()
        self._core.notify()

    def remainder_lost(self, run: Run, caller: Caller) -> bool:
        """Whether a worker's new process lacks what the one before it left away in its pushes.

        That is so, too, if the open step has a push of the one before: the step may be applied
        before the new process has made the same push.

        With a quorum the run goes on all the same, as it does without a worker: a party that
        restarts its worker again and again must not hold up the others.
        """
        contract = self._core.contract
        if not (contract.training.error_feedback and run.begun and caller.role == "worker"):
            return False
        if contract.limits.quorum is not None or not run.membership.replaces(caller):
            return False
        schedule, barrier = run.running()
        worker = run.membership.index_of(caller)
        lane = schedule.lanes[worker]
        return worker in barrier.staged or FlushPlan.of(contract, schedule.steps_per_epoch).remains(
            lane, run.step
        )

    # --- for the shard's own calls -------------------------------------------------------------

    def awaited(self) -> tuple[str, ...]:
        """The nodes that the run waits for at present."""
        run = self._core.run
        if run is None:
            return tuple(
                name for i, name in enumerate(self._servers) if i and i not in self._enlisted
            )
        if run.validates:
            return self.validator.missing(run)
        return self.completion.missing if run.trained else run.awaited()

    def advance(self) -> Steps[None]:
        """Decides and applies the open step, and following steps without participants."""
        core = self._core
        while (run := core.run) is not None and run.begun and not run.trained:
            if core.standstill.trouble is not None or core.disk.others:
                return  # what is learned now could not be kept
            if run.validates:
                if not (yield from self.validator.conclude(run)):
                    return
                continue
            if run.keeps_checkpoint(run.step + 1) and self._behind():
                return  # wait until it is durable, so that copies of the model do not accumulate
            grace_over = run.grace_over()
            if run.barrier is not None and (grace_over or not run.barrier.missing):
                self._coordinator(run).report(0, run.staged_report())
            decision = self._coordinator(run).decide(grace_over=grace_over)
            if decision is None:
                return
            try:
                self._apply(run, decision)
            except CoterieError as error:
                core.fail(error)
                raise

    # --- the run as a whole --------------------------------------------------------------------

    def drive(self) -> Steps[RunOutcome]:
        """Leads the run to its end.

        Raises:
            NodeMissing: A node did not come, or stayed away, longer than the contract allows.
            CoterieError: The run failed.
        """
        core = self._core
        if self.outcome is not None:
            yield from core.resume_end(self.outcome.steps, self.outcome.end)
        while (outcome := self.outcome) is None:
            yield from self._gather()
            step, run_id = yield from self._agree()
            yield from core.restore(step, self._incarnation, run_id)
            yield from self._watch()
        yield from perform(Publish(outcome))
        yield from core.restore_final(outcome.model_step)
        if not core.concluded:  # restarted after the end, and no node needs the model any more
            core.conclude(None)
        return (yield from self.completion.see_off(outcome, self._times))

    def _gather(self) -> Steps[None]:
        """Waits until every other shard has enlisted."""
        core = self._core
        limit = core.contract.limits.join_seconds
        others = set(range(1, len(self._servers)))
        since, left = core.now, limit
        while not others <= self._enlisted.keys():
            names = tuple(self._servers[i] for i in sorted(others - self._enlisted.keys()))
            look = min(left, core.standstill.say(names, since, left))
            if (yield from until(lambda: others <= self._enlisted.keys(), look)):
                break
            left -= look
            if left > 0:
                continue
            error = NodeMissing(
                f"the run waits in vain for {', '.join(names)} to come",
                expected=f"within limits.join_seconds = {limit:g} s",
                seen="nothing",
            )
            core.fail(error)
            raise error
        yield from perform(Settle())

    def _agree(self) -> Steps[tuple[int | None, str]]:
        """Begins a new incarnation at the newest checkpoint that all shards hold.

        Returns:
            Its step, None if there is none; and the name of its run, or of the new run.
        """
        core = self._core
        self._incarnation += 1
        self._writing.clear()
        self._replies, self._checkpoint_due = None, False
        told = core.announced
        common = self._common.begin({0: core.disk.available, **self._enlisted})
        core.lineage = yield from self._lineage(common)
        self._begun = self._wanted = 0
        self.completion.begin_again(common)
        if common is None:
            return None, core.lineage.run_id
        if self._incarnation > core.incarnation and common.step > (told.step if told else 0):
            # all shards held it when one was lost, but it was not announced yet
            core.tell(events.CheckpointWritten(common.step, common.digest.hex()))
        return common.step, core.disk.run_id

    def _lineage(self, common: DurableCheckpoint | None) -> Steps[Lineage]:
        core = self._core
        if common is not None:
            record = yield from perform(ReadRecord(common.step))
            return Lineage.restored(record, common, core.consent)
        lineage = Lineage(core.outside.new_run_id())
        lineage.check_target(core.consent)
        return lineage

    def _watch(self) -> Steps[None]:
        """Watches deadlines until the outcome is kept or the state is lost."""
        core = self._core
        run = core.run
        while run is not None and core.run is run:
            core.begin(run)
            yield from core.drop_others(run)
            yield from self.advance()
            yield from core.settle(run)
            if run.settled:
                yield from self.completion.conclude(run)
                if self.outcome is not None:
                    held = self.outcome.totals.get("validation")
                    self.validator.hear_end(
                        run, held.metrics().log_loss if held is not None else None
                    )
            if self.outcome is not None or core.run is not run:
                break
            core.raise_failure()  # perhaps during a computation
            left = run.seconds_left()
            if left <= 0:
                core.fail(
                    core.standstill.trouble or run.overdue(self.awaited(), core.standstill.reasons)
                )
            else:
                look = core.standstill.say(self.awaited(), run.progress_at, run.last_seconds())
                yield from next_change(min(left, look))
        if run is not None:
            self._times = (run.times.event(core.node),)
            core.tell(*self._times)

    # --- steps and checkpoints -----------------------------------------------------------------

    def _apply(self, run: Run, decision: Decision) -> None:
        core = self._core
        run.apply(decision)
        every = core.contract.training.checkpoint_steps
        due = bool(every) and run.step % every == 0
        # With error feedback only where no worker has a remainder; a late one waits for the next.
        waits = self._checkpoint_due and not core.contract.training.error_feedback
        self._checkpoint_due = due or waits
        busy = core.disk.writing or bool(self._writing)
        writes = run.keeps_checkpoint(run.step) or (self._checkpoint_due and not busy)
        if writes:
            self._checkpoint_due = False
            self._wanted = run.step if run.keeps_checkpoint(run.step) else self._wanted
            # It records the announced checkpoints, so no older one will be announced.
            self._begun = run.step
            core.save(run)
        self._replies = decision_to_wire(
            decision,
            checkpoint=writes,
            announced=core.durable_message(),
            kept_step=run.validations.kept_step,
        )
        core.notify()

    def _behind(self) -> bool:
        """Whether the last required checkpoint is still being written."""
        disk = self._core.disk
        if not self._wanted or not disk.persistent:
            return False
        return all(found.step < self._wanted for found in disk.available)

    def _index(self, caller: Caller) -> int:
        index = self._servers.index(caller.node) if caller.node in self._servers else 0
        if index == 0:
            raise MessageRefused(
                f"node {caller.node} called as a shard of the parameter server",
                expected="another node with role ps",
                seen=f"{caller.node}, role {caller.role}",
            )
        return index

    def _check_run(self, caller: Caller, run_id: str) -> None:
        """Refuses a shard with checkpoints of another run than this shard's."""
        disk = self._core.disk
        if run_id and disk.available and run_id != disk.run_id:
            raise other_run(caller.node, disk.run_id, run_id)

    def _check(self, caller: Caller, ps_incarnation: int) -> Run:
        self._core.raise_failure()
        self._index(caller)
        run = self._core.running()
        if ps_incarnation != run.incarnation:
            raise StepRefused(
                f"shard {caller.node} is of another incarnation of the server",
                expected=f"server incarnation {run.incarnation}",
                seen=f"server incarnation {ps_incarnation}",
                remedy="enlist again",
            )
        return run

    def _coordinator(self, run: Run) -> Coordinator:
        if run.coordinator is None:
            raise _out_of_step(run.step, run.step)
        return run.coordinator

    def _own_durable(self, durable: DurableCheckpoint) -> None:
        self._common.note(0, durable)
        self._announce()

    def _note_durable(self, index: int, messages: Iterable[pb.Checkpoint]) -> None:
        for message in messages:
            self._common.note(index, checkpoint_from_wire(message))
        self._announce()

    def _announce(self) -> None:
        """Announces the newest checkpoint that all shards hold."""
        core = self._core
        announced = core.announced.step if core.announced else -1
        newest = self._common.newest(after=max(announced, self._begun - 1))
        if newest is not None:
            core.lineage = core.lineage.announce(newest)
            core.retire(newest.step)
            core.tell(events.CheckpointWritten(newest.step, newest.digest.hex()))
            core.notify()


def _out_of_step(asked: int, step: int) -> StepRefused:
    return StepRefused(
        "the shard is out of step with shard 0",
        expected=f"a call about step {step}",
        seen=f"a call about step {asked}",
        remedy="enlist again",
    )
