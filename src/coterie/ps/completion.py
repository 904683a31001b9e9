"""How a run ends on shard 0: reports and digests come in, the outcome is kept, nodes leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from coterie.errors import EnvironmentUnfit
from coterie.parameters.digest import model_digest, optimizer_digest
from coterie.parameters.sharding import SLICES
from coterie.ps.checkpoints import DurableCheckpoint
from coterie.ps.core.evaluation import EvaluationTotals, SplitCounts
from coterie.ps.run import Run
from coterie.ps.shard import Shard
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.shard_messages import DIGEST_BYTES
from coterie.runs import events
from coterie.runs.outcome import RunEnd, RunOutcome

_REPORT = "report-"
_OUTCOME = "outcome"


class Completion:
    """Makes the outcome of a run once; what is named ``locked_...`` wants the shard's lock held.

    Args:
        shard: Shard 0, with what it kept before it was started again.

    Attributes:
        outcome: None until it is kept.
        excused: Data owners whose reports are not waited for any more.
    """

    def __init__(self, shard: Shard) -> None:
        contract = shard.contract
        self._shard = shard
        self._shards = len(contract.by_role("ps"))
        self._owners = tuple(node.name for node in contract.data_owners())
        self._totals = EvaluationTotals(self._owners, shard.disclosure)
        self._digests: dict[int, bytes] = {}
        self._state_digests: dict[int, bytes] = {}
        self.excused: set[str] = set()
        self.outcome: RunOutcome | None = None
        notes = shard.checkpoints.notes()
        if _OUTCOME in notes:
            self.outcome = RunOutcome.from_json(notes[_OUTCOME])

    @property
    def missing(self) -> tuple[str, ...]:
        """Who has to report or to tell its part of the model's digest yet."""
        servers = [server.name for server in self._shard.contract.by_role("ps")]
        owners = tuple(owner for owner in self._totals.missing if owner not in self.excused)
        return owners or tuple(n for i, n in enumerate(servers) if i not in self._digests)

    def begin_anew(self, restored: DurableCheckpoint | None) -> None:
        """Forgets the end of a state that was lost.

        Args:
            restored: The common checkpoint that the next life begins at; reports that were made at
                that very one still hold.
        """
        self._digests.clear()
        if restored is None:
            self.excused.clear()
        self._totals = EvaluationTotals(self._owners, self._shard.disclosure)
        notes = self._shard.checkpoints.notes() if restored is not None else {}
        for owner in self._owners:
            octets = notes.get(_REPORT + owner, b"")
            if restored is not None and octets[:DIGEST_BYTES] == restored.digest:
                counts = pb.ReportRequest.FromString(octets[DIGEST_BYTES:]).counts
                exact = self._shard.disclosure.exact
                self._totals.add(
                    owner, tuple(SplitCounts.from_wire(c, exact=exact) for c in counts)
                )

    def locked_digests(self, shard: int, digests: bytes, state_digests: bytes) -> None:
        """Takes a shard's part of the model's digest, and of its optimizers' state if it is given out."""
        self._digests[shard], self._state_digests[shard] = digests, state_digests
        self._shard.changed.notify_all()

    def locked_report(self, owner: str, counts: tuple[SplitCounts, ...]) -> None:
        """Adds a data owner's counts, durably; wants the last step to be durable everywhere.

        Raises:
            EnvironmentUnfit: The disk does not take them: they are not added.
        """
        if not self._totals.reported(owner):
            message = pb.ReportRequest(counts=[count.to_wire() for count in counts])
            note = self._checkpoint() + message.SerializeToString()
            self._shard.standstill.put_note(_REPORT + owner, note)
            self._totals.add(owner, counts)
        self._shard.changed.notify_all()

    def locked_conclude(self, run: Run) -> None:
        """Makes and keeps the outcome once digests and reports are there."""
        self._locked_own_digests(run)
        self._locked_excuse(run)
        missing = set(self._totals.missing) - self.excused
        if len(self._digests) < self._shards or missing or self._shard.run is not run:
            return
        if not self._shard.locked_ended(run):
            return
        schedule, _ = run.running()
        state = run.state
        model = model_digest(
            run.contract, state.updates, state.dense, self._in_order(self._digests)
        )
        optimizer_state = None
        if run.contract.gives_optimizer_state:
            width, dense = state.table.state_width, state.optimizer.state
            slices = self._in_order(self._state_digests)
            optimizer_state = optimizer_digest(model, state.optimizer_updates, width, dense, slices)
        outcome = RunOutcome(
            steps=run.step,
            model_step=state.step,
            validations=tuple(run.validations.done),
            examples=schedule.trained(run.step),
            seconds=run.seconds,
            train_loss=run.train_loss(),
            totals=self._totals.released(),
            model_digest=model,
            end=RunEnd(self._shard.checkpoints.run_id, self._checkpoint().hex()),
            absences=run.absences_by_name(),
            optimizer_state=optimizer_state,
        )
        try:
            self._shard.standstill.put_note(_OUTCOME, outcome.to_json())
        except EnvironmentUnfit:
            return  # the run pauses, and this is tried again
        self.outcome = outcome
        self._shard.locked_conclude(run.state)

    def _checkpoint(self) -> bytes:
        """Digest of the common checkpoint of the last step; empty where none are kept."""
        announced = self._shard.announced
        return announced.digest if announced is not None else b""

    def see_off(self, outcome: RunOutcome, served: tuple[events.ServerTimes, ...]) -> RunOutcome:
        """Waits until every node has what it needs; whoever does not come for it is not waited for.

        Args:
            outcome: As it was kept.
            served: Where the server's own time went.

        Returns:
            The outcome with everybody's times.
        """
        shard = self._shard
        with shard.changed:
            while set(shard.membership.remaining) - self.excused:
                shard.locked_raise_failure()
                left = shard.departures.seconds_left()
                if left <= 0:
                    for node in shard.membership.remaining:
                        shard.on_event(events.LeftOut(node, outcome.steps))
                    break
                shard.changed.wait(left)
            said = shard.worker_times
            times = [said[name] for name in shard.membership.workers if name in said]
        return replace(outcome, times=(*served, *times))

    def _locked_own_digests(self, run: Run) -> None:
        shard = self._shard
        if 0 in self._digests:
            return
        shard.changed.release()  # the state does not change any more; others may read it
        try:
            own = run.state.slice_digests()
            given = run.contract.gives_optimizer_state
            own_state = run.state.state_digests() if given else b""
        finally:
            shard.changed.acquire()
        if shard.run is run:
            self.locked_digests(0, own, own_state)

    def _locked_excuse(self, run: Run) -> None:
        """Past the grace period a quorum's reports are enough."""
        quorum = self._shard.contract.limits.quorum
        missing = self._totals.missing
        if quorum is None or not missing or not run.grace_over():
            return
        if len(self._owners) - len(missing) >= quorum:
            for owner in missing:
                if owner not in self.excused:
                    self.excused.add(owner)
                    self._shard.on_event(events.LeftOut(owner, run.step))
            self._shard.changed.notify_all()

    def _in_order(self, of_shards: Mapping[int, bytes]) -> list[bytes]:
        """All slices' digests in order: slice s is shard s mod n's, in its order."""
        digests: list[bytes] = []
        for index in range(SLICES):
            place = index // self._shards * DIGEST_BYTES
            digests.append(of_shards[index % self._shards][place : place + DIGEST_BYTES])
        return digests
