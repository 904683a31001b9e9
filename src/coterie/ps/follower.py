"""What every shard but the first does: it enlists with shard 0, asks it step by step, concludes.

Calls that get lost are repeated, on a new connection: shard 0 takes each once. A shard that hears
that the server's life has ended enlists again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from coterie.errors import CoterieError, PeerUnreachable, StepRefused
from coterie.ps.core.coordinator import StagedReport
from coterie.ps.farewell import farewell_of
from coterie.ps.ports import ParameterServerPort
from coterie.ps.run import Run
from coterie.ps.shard import Shard
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.checkpoint_messages import run_id_from_wire
from coterie.ps.wire.shard_messages import checkpoint_to_wire, decision_from_wire, norms_to_wire

Reply = TypeVar("Reply")
_MAX_LOST = 25


class Follower:
    """The duties of a shard towards shard 0.

    Args:
        shard: The shard.
        connect: Dials shard 0.
    """

    def __init__(self, shard: Shard, connect: Callable[[], ParameterServerPort]) -> None:
        self._shard = shard
        self._connect = connect
        self._attempt = 0

    def drive(self) -> None:
        """Follows shard 0 to the end of the run.

        Raises:
            PeerUnreachable: Shard 0 cannot be reached any more.
            CoterieError: The run failed.
        """
        shard = self._shard
        lead = _Lead(self._connect)
        try:
            while shard.membership.remaining:  # else it came back after everybody had left
                try:
                    self._live(lead)
                    return
                except StepRefused:
                    with shard.changed:
                        shard.locked_raise_failure()
                        shard.run = None
                        shard.changed.notify_all()
                    shard.checkpoints.settle()
        except CoterieError as error:
            lead.tell(error)
            raise
        finally:
            lead.close()

    def _live(self, lead: _Lead) -> None:
        """One life of the server: from a common checkpoint to the end of the run."""
        shard = self._shard
        available = [checkpoint_to_wire(found) for found in shard.checkpoints.available()]
        self._attempt += 1
        request = pb.EnlistRequest(
            available=available,
            attempt=self._attempt,
            run_id=shard.checkpoints.run_id if available else "",
        )
        while (plan := lead.call(lambda port: port.enlist(request))).pending:
            pass
        run_id_from_wire(plan.run_id)
        if plan.finished:
            if shard.checkpoints.persistent:
                shard.check_final(plan.step, plan.run_id)
            shard.restore_final(plan.model_step)
            with shard.changed:
                shard.locked_conclude(shard.final)
            self._see_off(plan.excused)
            return
        shard.restore(plan.step if plan.restores else None, plan.ps_incarnation, plan.run_id)
        with shard.changed:
            run = shard.locked_running()
        while (commit := self._next_commit(run)) is not None:
            reply = lead.call(lambda port, commit=commit: port.commit(commit))  # type: ignore[misc]
            if not reply.pending:
                self._obey(run, commit.step, reply)
        with shard.changed:
            shard.on_event(run.times.event(shard.node))
        shard.settle(run)
        self._conclude(lead, run)

    def _next_commit(self, run: Run) -> pb.CommitRequest | None:
        """Waits until there is something to tell or to ask; None once the last step is applied."""
        shard = self._shard
        with shard.changed:
            while True:
                shard.locked_raise_failure()
                self._shard.locked_begin(run)
                if run.trained:
                    return None
                ready = run.barrier is not None and (not run.barrier.missing or run.grace_over())
                if ready and shard.standstill.trouble is None:
                    return self._commit(run, waits=True)
                left = run.seconds_left()
                if left <= 0:
                    shard.fail(
                        shard.standstill.trouble
                        or run.overdue(run.awaited(), shard.standstill.reasons)
                    )
                    continue
                shard.standstill.say(run.awaited(), run.progress_at, run.last_seconds())
                if not shard.changed.wait(min(left, shard.poll_seconds / 5)):
                    return self._commit(run, waits=False)  # does this life of the server go on?

    def _commit(self, run: Run, *, waits: bool) -> pb.CommitRequest:
        # A step that this shard could not keep is not to be decided.
        shows = run.begun and self._shard.standstill.trouble is None
        staged = run.staged_report() if shows else StagedReport((), {})
        writing = self._shard.checkpoints.writing  # before what is durable: nothing falls between
        return pb.CommitRequest(
            ps_incarnation=run.incarnation,
            step=run.step,
            staged=staged.workers,
            slice_norms=norms_to_wire(staged),
            durable=self._durable(),
            writing=writing,
            waits=waits,
        )

    def _obey(self, run: Run, step: int, reply: pb.CommitReply) -> None:
        shard = self._shard
        with shard.changed:
            if shard.run is not run or run.step != step:
                return
            run.hear(reply.kept_step, ended=reply.ended)
            if reply.ended:
                shard.changed.notify_all()
                return
            run.apply(decision_from_wire(step, reply))
            if reply.checkpoint:
                shard.locked_save(run)
            if reply.HasField("announced"):
                shard.checkpoints.retire(reply.announced.step)
            shard.changed.notify_all()

    def _conclude(self, lead: _Lead, run: Run) -> None:
        """Tells this shard's part of the digest; stays until every node has left."""
        shard = self._shard
        digests = run.state.slice_digests()
        given = shard.contract.gives_optimizer_state
        shard.standstill.flush(shard.contract.limits.step_seconds)
        request = pb.ConcludeRequest(
            ps_incarnation=run.incarnation,
            slice_digests=digests,
            durable=self._durable(),
            state_digests=run.state.state_digests() if given else b"",
        )
        while (reply := lead.call(lambda port: port.conclude(request))).pending:
            pass
        with shard.changed:
            shard.locked_conclude(run.state)
        self._see_off(reply.excused)

    def _see_off(self, excused: Iterable[str]) -> None:
        """Waits until every node has what it needs."""
        shard = self._shard
        spared = set(excused)
        with shard.changed:
            while set(shard.membership.remaining) - spared:
                left = shard.departures.seconds_left()
                if left <= 0:
                    return
                shard.locked_wait(lambda: not set(shard.membership.remaining) - spared, left)

    def _durable(self) -> list[pb.Checkpoint]:
        return [checkpoint_to_wire(found) for found in self._shard.checkpoints.available()]


class _Lead:
    """Shard 0 as another shard sees it: dialled anew whenever a call gets lost."""

    def __init__(self, connect: Callable[[], ParameterServerPort]) -> None:
        self._connect = connect
        self._port: ParameterServerPort | None = None

    def call(self, call: Callable[[ParameterServerPort], Reply]) -> Reply:
        """Makes a call, and makes it again if it gets lost.

        Raises:
            PeerUnreachable: Shard 0 is gone, or call after call gets lost.
        """
        for attempt in range(_MAX_LOST, 0, -1):
            if self._port is None:
                self._port = self._connect()
            try:
                return call(self._port)
            except PeerUnreachable:
                self.close()
                if attempt == 1:
                    raise
        raise AssertionError

    def tell(self, error: CoterieError) -> None:
        """Says why this shard ends, if shard 0 hears."""
        if self._port is not None and not isinstance(error, PeerUnreachable):
            with suppress(CoterieError):
                self._port.tell(farewell_of(error))

    def close(self) -> None:
        """Ends the connection."""
        if self._port is not None:
            self._port.close()
        self._port = None
