"""The end of a run on shard 0: collects reports and digests, keeps the outcome, sees nodes off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from coterie.parameters.digest import model_digest, optimizer_digest
from coterie.parameters.sharding import SLICES
from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.core.evaluation import EvaluationTotals, SplitCounts
from coterie.ps.core.procedures import Steps, compute, next_change
from coterie.ps.core.run import Run
from coterie.ps.core.shard import ShardCore
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.shard_messages import DIGEST_BYTES
from coterie.runs import events
from coterie.runs.outcome import RunEnd, RunOutcome

_REPORT = "report-"
_OUTCOME = "outcome"


class Completion:
    """Makes the outcome of a run, once.

    Args:
        core: Shard 0, with its notes from before a restart.

    Attributes:
        outcome: None until it is kept.
        excused: Data owners whose reports are no longer waited for.
    """

    def __init__(self, core: ShardCore) -> None:
        contract = core.contract
        self._core = core
        self._shards = len(contract.by_role("ps"))
        self._owners = tuple(node.name for node in contract.data_owners())
        self._totals = EvaluationTotals(self._owners, core.disclosure)
        self._digests: dict[int, bytes] = {}
        self._state_digests: dict[int, bytes] = {}
        self.excused: set[str] = set()
        self.outcome: RunOutcome | None = None
        if _OUTCOME in core.notes:
            self.outcome = RunOutcome.from_json(core.notes[_OUTCOME])

    @property
    def missing(self) -> tuple[str, ...]:
        """Nodes whose report or part of the model's digest is still missing."""
        owners = tuple(owner for owner in self._totals.missing if owner not in self.excused)
        return owners or tuple(
            n for i, n in enumerate(self._core.servers) if i not in self._digests
        )

    def begin_again(self, restored: DurableCheckpoint | None) -> None:
        """Drops what was collected for a lost state.

        Args:
            restored: The common checkpoint at which the next incarnation begins; reports that were
                made at this checkpoint stay valid.
        """
        self._digests.clear()
        if restored is None:
            self.excused.clear()
        self._totals = EvaluationTotals(self._owners, self._core.disclosure)
        notes = self._core.notes if restored is not None else {}
        for owner in self._owners:
            octets = notes.get(_REPORT + owner, b"")
            if restored is not None and octets[:DIGEST_BYTES] == restored.digest:
                counts = pb.ReportRequest.FromString(octets[DIGEST_BYTES:]).counts
                exact = self._core.disclosure.exact
                self._totals.add(
                    owner, tuple(SplitCounts.from_wire(c, exact=exact) for c in counts)
                )

    def digests(self, shard: int, digests: bytes, state_digests: bytes) -> None:
        """Takes a shard's part of the model's digest, and of its optimizers' if given out."""
        self._digests[shard], self._state_digests[shard] = digests, state_digests
        self._core.notify()

    def report(self, owner: str, counts: tuple[SplitCounts, ...]) -> Steps[bool]:
        """Adds a data owner's counts durably; the last step must be durable on all shards.

        Returns:
            Whether they could be written; otherwise they are not added.
        """
        if not self._totals.reported(owner):
            message = pb.ReportRequest(counts=[count.to_wire() for count in counts])
            note = self._checkpoint() + message.SerializeToString()
            if not (yield from self._core.put_note(_REPORT + owner, note)):
                return False
            self._totals.add(owner, counts)
        self._core.notify()
        return True

    def conclude(self, run: Run) -> Steps[None]:
        """Makes and keeps the outcome once all digests and reports are there."""
        yield from self._own_digests(run)
        self._excuse(run)
        missing = set(self._totals.missing) - self.excused
        if len(self._digests) < self._shards or missing or self._core.run is not run:
            return
        if not self._core.ended(run):
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
            end=RunEnd(self._core.disk.run_id, self._checkpoint().hex()),
            absences=run.absences_by_name(),
            optimizer_state=optimizer_state,
        )
        if not (yield from self._core.put_note(_OUTCOME, outcome.to_json())):
            return  # the run pauses, and this is retried
        self.outcome = outcome
        self._core.conclude(run.state)

    def _checkpoint(self) -> bytes:
        """Digest of the common checkpoint of the last step; empty if none are kept."""
        announced = self._core.announced
        return announced.digest if announced is not None else b""

    def see_off(
        self, outcome: RunOutcome, served: tuple[events.ServerTimes, ...]
    ) -> Steps[RunOutcome]:
        """Waits until every node has what it needs, within limits for nodes that make no progress.

        Args:
            outcome: The kept outcome.
            served: The server's own times.

        Returns:
            The outcome with all nodes' times.
        """
        core = self._core
        while set(core.membership.remaining) - self.excused:
            core.raise_failure()
            left = core.departures.seconds_left()
            if left <= 0:
                for node in core.membership.remaining:
                    core.tell(events.LeftOut(node, outcome.steps))
                break
            yield from next_change(left)
        said = core.worker_times
        times = [said[name] for name in core.membership.workers if name in said]
        return replace(outcome, times=(*served, *times))

    def _own_digests(self, run: Run) -> Steps[None]:
        if 0 in self._digests:
            return
        # The state does not change any more, so others may read it concurrently.
        own = yield from compute(run.state.slice_digests)
        own_state = b""
        if run.contract.gives_optimizer_state:
            own_state = yield from compute(run.state.state_digests)
        if self._core.run is run:
            self.digests(0, own, own_state)

    def _excuse(self, run: Run) -> None:
        """Excuses missing reports after the grace period if a quorum has reported."""
        quorum = self._core.contract.limits.quorum
        missing = self._totals.missing
        if quorum is None or not missing or not run.grace_over():
            return
        if len(self._owners) - len(missing) >= quorum:
            for owner in missing:
                if owner not in self.excused:
                    self.excused.add(owner)
                    self._core.tell(events.LeftOut(owner, run.step))
            self._core.notify()

    def _in_order(self, of_shards: Mapping[int, bytes]) -> list[bytes]:
        """All slices' digests in order: slice s is shard s mod n's, in its order."""
        digests: list[bytes] = []
        for index in range(SLICES):
            place = index // self._shards * DIGEST_BYTES
            digests.append(of_shards[index % self._shards][place : place + DIGEST_BYTES])
        return digests
