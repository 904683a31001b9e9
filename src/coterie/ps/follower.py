"""What every shard but the first does: it enlists with shard 0, asks it step by step, concludes.

A shard that loses touch with shard 0, or hears that the server's life has ended, enlists again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from coterie.errors import CoterieError, PeerUnreachable, StepRefused
from coterie.ps.checkpoints import DurableCheckpoint
from coterie.ps.council import Decision, StagedReport
from coterie.ps.ports import ParameterServerPort
from coterie.ps.run import Run
from coterie.ps.shard import Shard
from coterie.ps.wire import ps_pb2 as pb


class Follower:
    """The duties of a shard towards shard 0.

    Args:
        shard: The shard.
        connect: Dials shard 0.
    """

    def __init__(self, shard: Shard, connect: Callable[[], ParameterServerPort]) -> None:
        self._shard = shard
        self._connect = connect

    def drive(self) -> None:
        """Follows shard 0 to the end of the run.

        Raises:
            PeerUnreachable: Shard 0 cannot be reached any more.
            CoterieError: The run failed.
        """
        shard = self._shard
        while shard.membership.remaining:  # else this process came back after everybody had left
            lead = self._connect()
            try:
                self._live(lead)
                return
            except (PeerUnreachable, StepRefused):
                with shard.changed:
                    shard.locked_raise_failure()
                    shard.run = None
                    shard.changed.notify_all()
                shard.checkpoints.flush()
            except CoterieError as error:
                shard.fail(error)
                raise
            finally:
                lead.close()

    def _live(self, lead: ParameterServerPort) -> None:
        """One life of the server: from a common checkpoint to the end of the run."""
        shard = self._shard
        available = [_message(found) for found in shard.checkpoints.available()]
        request = pb.EnlistRequest(available=available)
        while (plan := lead.enlist(request)).pending:
            pass
        shard.restore(plan.step if plan.restores else None, plan.ps_incarnation)
        with shard.changed:
            run = shard.locked_running()
        while (commit := self._next_commit(run)) is not None:
            reply = lead.commit(commit)
            if not reply.pending:
                self._obey(run, commit.step, reply)
        with shard.changed:
            shard.on_event(run.times.event(shard.node))
        self._conclude(lead, run)

    def _next_commit(self, run: Run) -> pb.CommitRequest | None:
        """Waits until there is something to tell or to ask; None once the last step is applied."""
        shard = self._shard
        with shard.changed:
            while True:
                shard.locked_raise_failure()
                run.begin_if_complete()
                if run.trained:
                    return None
                if run.barrier is not None and (not run.barrier.missing or run.grace_over()):
                    return self._commit(run, waits=True)
                left = run.seconds_left()
                if left <= 0:
                    shard.fail(run.overdue())
                elif not shard.changed.wait(min(left, shard.poll_seconds / 5)):
                    return self._commit(run, waits=False)  # does this life of the server go on?

    def _commit(self, run: Run, *, waits: bool) -> pb.CommitRequest:
        staged = run.staged_report() if run.begun else StagedReport((), {})
        norms = [staged.squares[w] for w in staged.workers if w in staged.squares]
        return pb.CommitRequest(
            ps_incarnation=run.incarnation,
            step=run.state.step,
            staged=staged.workers,
            slice_norms=np.concatenate(norms).astype("<f8").tobytes() if norms else b"",
            durable=self._durable(),
            writing=self._shard.checkpoints.writing,
            waits=waits,
        )

    def _obey(self, run: Run, step: int, reply: pb.CommitReply) -> None:
        shard = self._shard
        weights = tuple(np.frombuffer(reply.weights, "<f8").tolist())
        contributors = tuple(worker for worker, weight in enumerate(weights) if weight)
        with shard.changed:
            if shard.run is not run or run.state.step != step:
                return
            run.apply(Decision(step, weights, contributors, frozenset(reply.absent)))
            if reply.checkpoint:
                shard.locked_save(run)
            if reply.HasField("announced"):
                shard.checkpoints.retire(reply.announced.step)
            shard.changed.notify_all()

    def _conclude(self, lead: ParameterServerPort, run: Run) -> None:
        """Tells this shard's part of the digest; stays until every node has left."""
        shard = self._shard
        digests = run.state.slice_digests()
        shard.checkpoints.flush()
        request = pb.ConcludeRequest(
            ps_incarnation=run.incarnation, slice_digests=digests, durable=self._durable()
        )
        while (reply := lead.conclude(request)).pending:
            pass
        deadline = shard.monotonic() + shard.contract.limits.step_seconds
        with shard.changed:
            while set(shard.membership.remaining) - set(reply.excused):
                left = deadline - shard.monotonic()
                if left <= 0:
                    return
                shard.locked_wait(lambda: not shard.membership.remaining, left)

    def _durable(self) -> list[pb.Checkpoint]:
        return [_message(found) for found in self._shard.checkpoints.available()]


def _message(found: DurableCheckpoint) -> pb.Checkpoint:
    return pb.Checkpoint(step=found.step, digest=found.digest)
