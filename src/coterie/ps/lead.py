"""What shard 0 does beyond any shard: it decides steps, names common checkpoints, ends the run.

A life of the whole server: every shard enlists -> all restore the newest checkpoint that all hold
-> steps are decided one by one -> the last is applied, digests and reports come in -> the outcome
is kept durably -> every node leaves. A shard that enlists in the middle has lost its state: all go
back and begin anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from coterie.errors import CoterieError, MessageRefused, NodeMissing, StepRefused
from coterie.ps import events
from coterie.ps.checkpoints import DurableCheckpoint
from coterie.ps.council import Council, Decision, StagedReport
from coterie.ps.evaluation import EvaluationTotals, SplitCounts
from coterie.ps.outcome import RunOutcome
from coterie.ps.ports import Caller
from coterie.ps.run import Run
from coterie.ps.shard import Shard
from coterie.ps.slices import SLICES
from coterie.ps.state import model_digest
from coterie.ps.wire import ps_pb2 as pb

_REPORT = "report-"
_OUTCOME = "outcome"
_DIGEST_BYTES = 32


class Lead:
    """Shard 0's duties. What is named ``locked_...`` wants the shard's lock held.

    Args:
        shard: The shard.
    """

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        contract = shard.contract
        self._servers = [node.name for node in contract.by_role("ps")]
        self._owners = tuple(node.name for node in contract.data_owners())
        self._incarnation = shard.incarnation - 1  # the first life has the process's own
        self._enlisted: dict[int, tuple[DurableCheckpoint, ...]] = {}
        self._attempts: dict[int, tuple[int, int]] = {}
        self._durable: dict[int, dict[int, bytes]] = {}
        self._digests: dict[int, bytes] = {}
        self._writing: set[int] = set()
        self._replies: pb.CommitReply | None = None
        self._checkpoint_due = False
        self._totals = EvaluationTotals(self._owners, contract.limits.evaluation_minimum)
        self._excused: set[str] = set()
        self._times: tuple[events.ServerTimes, ...] = ()
        self.outcome: RunOutcome | None = None
        shard.on_durable = self._own_durable
        self._restore_notes(shard.checkpoints.notes())

    # --- calls by the other shards -------------------------------------------------------------

    def enlist(self, caller: Caller, request: pb.EnlistRequest) -> pb.EnlistReply:
        """Notes a shard that comes (back); answers once all have and the state is restored."""
        shard = self._shard
        available = tuple(_checkpoint(message) for message in request.available)
        with shard.changed:
            shard.locked_raise_failure()
            index = self._index(caller)
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
            return self._plan(shard.locked_running())

    def commit(self, caller: Caller, request: pb.CommitRequest) -> pb.CommitReply:
        """Takes note of what a shard has staged; answers with the decision."""
        shard = self._shard
        with shard.changed:
            run = self._check(caller, request.ps_incarnation)
            index = self._index(caller)
            self._note_durable(index, request.durable)
            (self._writing.add if request.writing else self._writing.discard)(index)
            if run.council is not None and request.step == run.state.step and not run.trained:
                run.council.report(index, _staged(run, request))
                self.locked_advance()
            if not shard.locked_wait(
                lambda: shard.run is not run or run.state.step > request.step,
                seconds=None if request.waits else 0.0,
            ):
                return pb.CommitReply(pending=True)
            self._check(caller, request.ps_incarnation)
            reply, last = self._replies, self._locked_council(run).last
            if reply is None or last is None or last.step != request.step:
                raise _out_of_step(request.step, run.state.step)
            return reply

    def conclude(self, caller: Caller, request: pb.ConcludeRequest) -> pb.ConcludeReply:
        """Takes a shard's part of the model's digest; answers when the run's outcome is kept."""
        shard = self._shard
        with shard.changed:
            run = self._check(caller, request.ps_incarnation)
            if not run.trained:
                raise _out_of_step(run.state.step, run.state.step)
            index = self._index(caller)
            self._note_durable(index, request.durable)
            self._digests[index] = request.slice_digests
            shard.changed.notify_all()
            if not shard.locked_wait(lambda: shard.run is not run or self.outcome is not None):
                return pb.ConcludeReply(pending=True)
            if self.outcome is None:
                self._check(caller, request.ps_incarnation)
            return pb.ConcludeReply(excused=sorted(self._excused))

    # --- what the shard's own calls need -------------------------------------------------------

    def locked_advance(self) -> None:
        """Decides and applies the open step, and steps that nobody has a part in."""
        shard = self._shard
        while (run := shard.run) is not None and run.begun and not run.trained:
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

    def locked_report(self, owner: str, counts: tuple[SplitCounts, ...]) -> None:
        """Adds a data owner's counts, durably."""
        if not self._totals.reported(owner):
            self._totals.add(owner, counts)
            message = pb.ReportRequest(counts=[count.to_wire() for count in counts])
            self._shard.keep_note(_REPORT + owner, message.SerializeToString())
        self._shard.changed.notify_all()

    # --- the run as a whole, on the server's main thread ---------------------------------------

    def drive(self) -> RunOutcome:
        """Leads the run to its end.

        Raises:
            NodeMissing: A node did not come, or stayed away, longer than the contract allows.
            CoterieError: The run failed.
        """
        while self.outcome is None:
            self._gather()
            self._shard.restore(self._agree(), self._incarnation)
            self._watch()
        return self._see_off(self.outcome)

    def _gather(self) -> None:
        """Waits until every other shard has enlisted."""
        shard = self._shard
        limit = shard.contract.limits.join_seconds
        others = set(range(1, len(self._servers)))
        with shard.changed:
            if not shard.locked_wait(lambda: others <= self._enlisted.keys(), limit):
                names = [self._servers[i] for i in sorted(others - self._enlisted.keys())]
                error = NodeMissing(
                    f"the run waits in vain for {', '.join(names)} to come",
                    expected=f"within limits.join_seconds = {limit:g} s",
                    seen="nothing",
                    remedy="look at that node's log; start it again, or raise the limit",
                )
                shard.fail(error)
                raise error
        shard.checkpoints.flush()

    def _agree(self) -> int | None:
        """Begins a new life at the newest checkpoint that all shards hold; None if there is none."""
        held = {0: self._shard.checkpoints.available(), **self._enlisted}
        steps = {i: {c.step: c.digest for c in found} for i, found in held.items()}
        step = max(set.intersection(*(set(found) for found in steps.values())), default=None)
        with self._shard.changed:
            self._incarnation += 1
            self._digests.clear()
            self._writing.clear()
            self._replies, self._checkpoint_due = None, False
            # What is newer belongs to the life that was lost.
            self._durable = {i: {} if step is None else {step: steps[i][step]} for i in steps}
            self._shard.announced = None if step is None else self._together(step)
        return step

    def _watch(self) -> None:
        """Watches over deadlines until the outcome is kept or the state is lost."""
        shard = self._shard
        with shard.changed:
            run = shard.run
            while run is not None and shard.run is run:
                run.begin_if_complete()
                self.locked_advance()
                if run.trained:
                    self._locked_conclude(run)
                    self._locked_excuse(run)
                if self.outcome is not None or shard.run is not run:
                    break
                shard.locked_raise_failure()  # perhaps while the lock was open
                left = run.seconds_left()
                if left <= 0:
                    shard.fail(run.overdue())
                else:
                    shard.changed.wait(left)
            if run is not None:
                self._times = (run.times.event(shard.node),)
                shard.on_event(*self._times)

    def _locked_conclude(self, run: Run) -> None:
        """Makes and keeps the outcome once digests and reports are there."""
        shard = self._shard
        if 0 not in self._digests:
            shard.changed.release()  # the state does not change any more; others may read it
            try:
                own = run.state.slice_digests()
                shard.checkpoints.flush()
            finally:
                shard.changed.acquire()
            if shard.run is not run:
                return
            self._digests[0] = own
            shard.changed.notify_all()
        if len(self._digests) < len(self._servers) or set(self._totals.missing) - self._excused:
            return
        schedule, _ = run.running()
        outcome = RunOutcome(
            steps=run.state.step,
            examples=sum(schedule.examples) * schedule.epochs,
            seconds=run.training_ended_at - run.training_began_at,
            train_loss=run.state.epoch_loss / max(1, run.state.epoch_examples),
            totals=self._totals.released(),
            model_digest=model_digest(
                shard.contract, run.state.step, run.state.dense, self._slice_digests()
            ),
            absences=run.absences_by_name(),
        )
        shard.keep_note(_OUTCOME, outcome.to_json())
        self.outcome = outcome
        shard.changed.notify_all()

    def _locked_excuse(self, run: Run) -> None:
        """Past the grace period a quorum's reports are enough."""
        quorum = self._shard.contract.limits.quorum
        missing = self._totals.missing
        if quorum is None or not missing or not run.grace_over():
            return
        if len(self._owners) - len(missing) >= quorum:
            for owner in missing:
                if owner not in self._excused:
                    self._excused.add(owner)
                    self._shard.on_event(events.LeftOut(owner, run.state.step))
            self._shard.changed.notify_all()

    def _see_off(self, outcome: RunOutcome) -> RunOutcome:
        """Waits until every node has what it needs; whoever does not come for it is not waited for."""
        shard = self._shard
        deadline = shard.monotonic() + shard.contract.limits.step_seconds
        with shard.changed:
            while set(shard.membership.remaining) - self._excused:
                shard.locked_raise_failure()
                left = deadline - shard.monotonic()
                if left <= 0:
                    for node in shard.membership.remaining:
                        shard.on_event(events.LeftOut(node, outcome.steps))
                    break
                shard.changed.wait(left)
            said = shard.worker_times
            times = [said[name] for name in shard.membership.workers if name in said]
        return replace(outcome, times=(*self._times, *times))

    # --- inside the lock -----------------------------------------------------------------------

    def _apply(self, run: Run, decision: Decision) -> None:
        shard = self._shard
        run.apply(decision)
        every = shard.contract.training.checkpoint_steps
        self._checkpoint_due |= bool(every) and run.state.step % every == 0
        busy = shard.checkpoints.writing or bool(self._writing)
        writes = run.trained or (self._checkpoint_due and not busy)
        if writes:
            self._checkpoint_due = False
            shard.locked_save(run)
        announced = shard.durable_message()
        self._replies = pb.CommitReply(
            weights=np.array(decision.weights, "<f8").tobytes(),
            absent=sorted(decision.absent),
            checkpoint=writes,
            announced=announced,
        )
        shard.changed.notify_all()

    def _plan(self, run: Run) -> pb.EnlistReply:
        return pb.EnlistReply(
            ps_incarnation=run.incarnation, restores=run.state.step > 0, step=run.state.step
        )

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

    def _locked_council(self, run: Run) -> Council:
        if run.council is None:
            raise _out_of_step(run.state.step, run.state.step)
        return run.council

    def _own_durable(self, durable: DurableCheckpoint) -> None:
        """Called by the checkpoint writer's thread."""
        with self._shard.changed:
            self._durable.setdefault(0, {})[durable.step] = durable.digest
            self._announce()

    def _note_durable(self, index: int, messages: Iterable[pb.Checkpoint]) -> None:
        for message in messages:
            found = _checkpoint(message)
            self._durable.setdefault(index, {})[found.step] = found.digest
        self._announce()

    def _announce(self) -> None:
        """Announces the newest checkpoint that all shards hold."""
        shard = self._shard
        if len(self._durable) < len(self._servers):
            return
        newest = shard.announced.step if shard.announced else -1
        common = set.intersection(*(set(steps) for steps in self._durable.values()))
        step = max(common, default=-1)
        if step <= newest:
            return
        shard.announced = self._together(step)
        shard.checkpoints.retire(step)
        for steps in self._durable.values():
            for older in [s for s in steps if s < step]:
                del steps[older]
        shard.on_event(events.CheckpointWritten(step, shard.announced.digest.hex()))
        shard.changed.notify_all()

    def _together(self, step: int) -> DurableCheckpoint:
        """The shards' checkpoints of a step as one."""
        parts = [self._durable[i][step] for i in range(len(self._servers))]
        digest = parts[0] if len(parts) == 1 else hashlib.sha256(b"".join(parts)).digest()
        return DurableCheckpoint(step, digest)

    def _slice_digests(self) -> list[bytes]:
        """All slices' digests in order: slice s is shard s mod n's, in its order."""
        digests: list[bytes] = []
        shards = len(self._servers)
        for index in range(SLICES):
            place = index // shards * _DIGEST_BYTES
            digests.append(self._digests[index % shards][place : place + _DIGEST_BYTES])
        return digests

    def _restore_notes(self, notes: dict[str, bytes]) -> None:
        for owner in self._owners:
            octets = notes.get(_REPORT + owner)
            if octets is not None:
                counts = pb.ReportRequest.FromString(octets).counts
                self._totals.add(owner, tuple(SplitCounts.from_wire(c) for c in counts))
        if _OUTCOME in notes:
            self.outcome = RunOutcome.from_json(notes[_OUTCOME])


def _staged(run: Run, request: pb.CommitRequest) -> StagedReport:
    """Decodes another shard's report."""
    workers = tuple(request.staged)
    known = len(run.membership.workers)
    if list(workers) != sorted(set(workers)) or any(w >= known for w in workers):
        raise _refused("staged", f"ascending workers below {known}", str(workers[:8]))
    if run.contract.training.update_norm is None:
        return StagedReport(workers, {})
    width = 8 * (1 + SLICES)
    if len(request.slice_norms) != width * len(workers):
        raise _refused("slice_norms", f"{width} bytes a worker", f"{len(request.slice_norms)}")
    squares = np.frombuffer(request.slice_norms, "<f8").reshape(len(workers), 1 + SLICES)
    if not (np.isfinite(squares).all() and (squares >= 0).all()):
        raise _refused("slice_norms", "finite sums of squares", "others")
    return StagedReport(workers, dict(zip(workers, squares, strict=True)))


def _checkpoint(message: pb.Checkpoint) -> DurableCheckpoint:
    if len(message.digest) != _DIGEST_BYTES:
        raise _refused("checkpoint.digest", f"{_DIGEST_BYTES} bytes", f"{len(message.digest)}")
    return DurableCheckpoint(message.step, message.digest)


def _refused(name: str, expected: str, seen: str) -> MessageRefused:
    return MessageRefused(
        f"{name} is out of bounds",
        expected=expected,
        seen=seen,
        remedy="run the same version of Coterie under the same contract on all nodes",
    )


def _out_of_step(asked: int, step: int) -> StepRefused:
    return StepRefused(
        "the shard is out of step with shard 0",
        expected=f"a call about step {step}",
        seen=f"a call about step {asked}",
        remedy="enlist again",
    )
