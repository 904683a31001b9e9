"""The program of all shards except the first: enlist with shard 0, follow its decisions, conclude.

A shard enlists again when it learns that the server's incarnation has ended. The driver repeats
lost calls on a new connection; shard 0 takes each call once.
"""

from __future__ import annotations

from collections.abc import Iterable

from coterie.errors import StepRefused
from coterie.ps.core.coordinator import StagedReport
from coterie.ps.core.effects import Settle
from coterie.ps.core.procedures import Steps, Task, compute, next_change, perform
from coterie.ps.core.run import Run
from coterie.ps.core.shard import ShardCore
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.checkpoint_messages import run_id_from_wire
from coterie.ps.wire.shard_messages import checkpoint_to_wire, decision_from_wire, norms_to_wire


class AskEnlist(Task[pb.EnlistReply]):
    """Shard 0 is to be called."""

    def __init__(self, request: pb.EnlistRequest) -> None:
        self.request = request


class AskCommit(Task[pb.CommitReply]):
    """Shard 0 is to be called."""

    def __init__(self, request: pb.CommitRequest) -> None:
        self.request = request


class AskConclude(Task[pb.ConcludeReply]):
    """Shard 0 is to be called."""

    def __init__(self, request: pb.ConcludeRequest) -> None:
        self.request = request


class Follower:
    """The duties of a shard towards shard 0.

    Args:
        core: The shard.
    """

    def __init__(self, core: ShardCore) -> None:
        self._core = core
        self._attempt = 0

    def drive(self) -> Steps[None]:
        """Follows shard 0 to the end of the run.

        Raises:
            PeerUnreachable: Shard 0 cannot be reached any more.
            CoterieError: The run failed.
        """
        core = self._core
        while core.membership.remaining:  # otherwise it restarted after all nodes had left
            try:
                yield from self._live()
            except StepRefused:
                core.raise_failure()
                core.run = None
                core.notify()
                yield from perform(Settle())
            else:
                return

    def _live(self) -> Steps[None]:
        """Follows one incarnation of the server, from a common checkpoint to the end of the run."""
        core = self._core
        available = self._durable()
        self._attempt += 1
        request = pb.EnlistRequest(
            available=available,
            attempt=self._attempt,
            run_id=core.disk.run_id if available else "",
        )
        while (plan := (yield from perform(AskEnlist(request)))).pending:
            pass
        run_id_from_wire(plan.run_id)
        if plan.finished:
            if core.disk.persistent:
                core.check_final(plan.step, plan.run_id)
            yield from core.restore_final(plan.model_step)
            core.conclude(core.final)
            yield from self._see_off(plan.excused)
            return
        yield from core.restore(
            plan.step if plan.restores else None, plan.ps_incarnation, plan.run_id
        )
        run = core.running()
        while (commit := (yield from self._next_commit(run))) is not None:
            reply = yield from perform(AskCommit(commit))
            if not reply.pending:
                self._obey(run, commit.step, reply)
        core.tell(run.times.event(core.node))
        yield from core.settle(run)
        yield from self._conclude(run)

    def _next_commit(self, run: Run) -> Steps[pb.CommitRequest | None]:
        """Waits until there is something to tell or to ask; None once the last step is applied."""
        core = self._core
        # Not from the last change on: nodes that join again and again would put it off for ever.
        probe_at = core.now + core.probe_seconds
        while True:
            core.raise_failure()
            core.begin(run)
            yield from core.drop_others(run)
            if run.trained:
                return None
            ready = run.barrier is not None and (not run.barrier.missing or run.grace_over())
            if ready and core.standstill.trouble is None:
                return self._commit(run, waits=True)
            left = run.seconds_left()
            if left <= 0:
                core.fail(
                    core.standstill.trouble or run.overdue(run.awaited(), core.standstill.reasons)
                )
                continue
            core.standstill.say(run.awaited(), run.progress_at, run.last_seconds())
            probe_left = probe_at - core.now
            if probe_left <= 0 or not (yield from next_change(min(left, probe_left))):
                return self._commit(run, waits=False)  # does this incarnation of the server go on?

    def _commit(self, run: Run, *, waits: bool) -> pb.CommitRequest:
        core = self._core
        # Do not have a step decided that this shard could not store.
        shows = run.begun and core.standstill.trouble is None
        staged = run.staged_report() if shows else StagedReport((), {})
        return pb.CommitRequest(
            ps_incarnation=run.incarnation,
            step=run.step,
            staged=staged.workers,
            slice_norms=norms_to_wire(staged),
            durable=self._durable(),
            writing=core.disk.writing,
            waits=waits,
        )

    def _obey(self, run: Run, step: int, reply: pb.CommitReply) -> None:
        core = self._core
        if core.run is not run or run.step != step:
            return
        run.hear(reply.kept_step, ended=reply.ended)
        if not reply.ended:
            run.apply(decision_from_wire(step, reply))
            if reply.checkpoint:
                core.save(run)
            if reply.HasField("announced"):
                core.retire(reply.announced.step)
        core.notify()

    def _conclude(self, run: Run) -> Steps[None]:
        """Sends this shard's part of the digest; stays until every node has left."""
        core = self._core
        digests = yield from compute(run.state.slice_digests)
        state_digests = b""
        if core.contract.gives_optimizer_state:
            state_digests = yield from compute(run.state.state_digests)
        yield from core.flush(core.contract.limits.step_seconds)
        request = pb.ConcludeRequest(
            ps_incarnation=run.incarnation,
            slice_digests=digests,
            durable=self._durable(),
            state_digests=state_digests,
        )
        while (reply := (yield from perform(AskConclude(request)))).pending:
            pass
        core.conclude(run.state)
        yield from self._see_off(reply.excused)

    def _see_off(self, excused: Iterable[str]) -> Steps[None]:
        """Waits until every node has what it needs."""
        core = self._core
        spared = set(excused)
        while set(core.membership.remaining) - spared:
            left = core.departures.seconds_left()
            if left <= 0:
                return
            yield from next_change(left)

    def _durable(self) -> list[pb.Checkpoint]:
        return [checkpoint_to_wire(found) for found in self._core.disk.available]
