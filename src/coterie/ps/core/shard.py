"""The state of a parameter server shard and procedures of all shards, without I/O or locks.

``calls.py`` answers nodes, ``leader.py`` has shard 0's additional duties, ``follower.py`` those of
others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from coterie.contract import Contract
from coterie.contract.rollback import RollbackConsent
from coterie.errors import (
    CheckpointDamaged,
    CoterieError,
    DataError,
    StepRefused,
)
from coterie.ps.checkpoints.lineage import Lineage
from coterie.ps.checkpoints.records import DurableCheckpoint, RunRecord
from coterie.ps.core.coordinator import Absence
from coterie.ps.core.departures import Departures
from coterie.ps.core.disclosure import Disclosure
from coterie.ps.core.effects import (
    BeginRun,
    DiskChanged,
    DiskState,
    DropOthers,
    Durable,
    Flush,
    Load,
    ReadRecord,
    Restore,
    Retire,
    Save,
    Tell,
)
from coterie.ps.core.membership import Membership
from coterie.ps.core.presence import Presence
from coterie.ps.core.procedures import (
    Event,
    Note,
    Procedures,
    Steps,
    Ticket,
    compute,
    perform,
    until,
)
from coterie.ps.core.run import Run, ShardPlace, Stopwatch
from coterie.ps.core.standstill import Standstill
from coterie.ps.core.state import ModelState
from coterie.ps.model_download import part_count
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.checkpoint_messages import KeptReceipt, NoReceiptKept, lineage_to_wire
from coterie.runs import events
from coterie.runs.outcome import RunEnd
from coterie.runs.records import Validated

_LEFT = "left-"
VALIDATIONS = "validations"


@dataclass(frozen=True)
class Surroundings:
    """What comes to a core from outside.

    Attributes:
        new_state: Makes the shard's model as it is before training.
        new_stopwatch: Makes what measures where a run's time goes.
        new_run_id: Makes the random name of a run that begins, 64 hex digits.
        receipt: Of the run, on shard 0; it is read only.
    """

    new_state: Callable[[], ModelState]
    new_stopwatch: Callable[[], Stopwatch]
    new_run_id: Callable[[], str]
    receipt: KeptReceipt = field(default_factory=NoReceiptKept)


class ShardCore(Procedures):
    """A shard's state, and the procedures that every shard has.

    Args:
        contract: The contract.
        node: Name of this shard's node.
        incarnation: Number of this process, larger than that of any earlier one.
        disk: State of its store at the beginning.
        notes: The existing small records of the run's end.
        outside: Its surroundings.
        consent: All parties' consent to continue from an older checkpoint than announced.
        probe_seconds: Time after which a follower without news asks whether this incarnation goes
            on.
        disclosure: The rule of disclosure; by default the contract's.

    Attributes:
        disk: State of its store, as last reported by the driver.
        notes: The small records of the run's end.
        run: The present incarnation of the state; None while it is being restored.
        lineage: The run and its announced checkpoints, which every shard holds; on other shards
            than the first, only the run.
        worker_times: Times of workers that have left.
        concluded: Whether the run's outcome is made, so that nothing changes any more.
        final: The trained model, once the run is concluded; also None on a restarted server that no
            node needs it from.
        departures: Deadlines of nodes' departures, once the run is concluded.
        standstill: What holds the run up.
        heard: Nodes that were sent the error that ended the run.
    """

    def __init__(
        self,
        contract: Contract,
        node: str,
        *,
        incarnation: int,
        disk: DiskState,
        notes: Mapping[str, bytes],
        outside: Surroundings,
        consent: RollbackConsent | None = None,
        probe_seconds: float = 2.0,
        disclosure: Disclosure | None = None,
    ) -> None:
        super().__init__()
        servers = [server.name for server in contract.by_role("ps")]
        self.contract = contract
        self.node = node
        self.servers = tuple(servers)
        self.place = ShardPlace(servers.index(node), len(servers))
        self.incarnation = incarnation
        self.disk = disk
        self.notes = dict(notes)
        self.outside = outside
        self.consent = consent
        self.probe_seconds = probe_seconds
        self.disclosure = disclosure or Disclosure.of(contract)
        self.run: Run | None = None
        self.lineage = Lineage()
        self.worker_times: dict[str, events.WorkerTimes] = {}
        self.concluded = False
        self.final: ModelState | None = None
        self.departures = Departures(contract.limits.step_seconds, self.clock)
        self.heard: set[str] = set()
        self._restored = False
        self.on_durable: Callable[[DurableCheckpoint], None] = lambda _: None
        self.presence = Presence(self.clock)
        self.standstill = Standstill(node, self.tell, self.clock, self.presence)
        self.membership = Membership(contract, {})
        for name, octets in self.notes.items():
            if name.startswith(_LEFT):
                self.membership.leave(name.removeprefix(_LEFT), int.from_bytes(octets, "big"))

    def clock(self) -> float:
        """The time of the present event."""
        return self.now

    def tell(self, event: events.Event) -> None:
        """Reports an event."""
        self.emit(Tell(event))

    @property
    def announced(self) -> DurableCheckpoint | None:
        """The newest checkpoint that every shard holds."""
        return self.lineage.newest

    # --- events --------------------------------------------------------------------------------

    def on_called(self, ticket: Ticket[object]) -> None:
        """Records the caller."""
        if ticket.node:
            self.presence.begin(ticket.node)

    def on_ended(self, ticket: Ticket[object]) -> None:
        """Records an answered caller, and whether it was sent the error that ended the run."""
        if not ticket.node:
            return
        self.presence.end(ticket.node)
        if self.failure is not None and isinstance(ticket.error, CoterieError):
            self.heard.add(ticket.node)
            self.notify()

    def on_event(self, event: Event) -> None:
        """Handles an event of the disk."""
        match event:
            case DiskChanged(state):
                self.on_disk(state)
            case Durable(checkpoint, state):
                self.on_disk(state)
                self.on_durable(checkpoint)
            case _:
                super().on_event(event)

    def on_disk(self, state: DiskState) -> None:
        """Takes the store's present state."""
        self.disk = state
        self.standstill.disk_trouble = state.trouble
        self.notify()

    # --- waiting and failing -------------------------------------------------------------------

    def see_off_failed(self, nodes: Iterable[str], seconds: float) -> Steps[None]:
        """After a failure: waits until these nodes were told of it or have ended, within a time."""
        awaited = set(nodes)
        yield from until(
            lambda: not awaited - self.heard - self.standstill.reasons.keys(),
            seconds,
            outlives_failure=True,
        )

    def running(self) -> Run:
        """The present run.

        Raises:
            StepRefused: The state is being restored.
        """
        self.raise_failure()
        if self.run is None:
            raise StepRefused(
                "the parameter server is restoring its state",
                expected="a join first",
                seen="another call",
                remedy="join again: the reply comes when the state is restored",
            )
        return self.run

    def begin(self, run: Run) -> None:
        """Begins the run once all nodes have joined.

        Raises:
            DataError: The parties' data are too uneven: the run ends.
        """
        try:
            run.begin_if_complete()
        except DataError as error:
            self.fail(error)
            raise

    def ended(self, run: Run) -> bool:
        """Whether the last step is applied and durable here, and, on shard 0, everywhere.

        The notes of a run's end belong to the checkpoint of its last step.
        """
        if not run.trained or not self.disk.persistent:
            return run.settled
        kept = self.disk.available
        return bool(kept) and kept[-1].step == run.step and self.told(run, kept[-1].step)

    def told(self, run: Run, step: int) -> bool:
        """Whether nodes may be told that ``step`` updates are applied.

        They are told of the last one only when it is durable on every shard, since they leave then
        and could not repeat a lost step. Shard 0 knows this, and no node goes on without its reply.
        """
        if run.step < step:
            return False
        if not (run.steps_done and self.place.leads):
            return True
        if not run.settled or not self.disk.persistent:
            return run.settled
        return self.announced is not None and self.announced.step >= step

    # --- restoring and keeping -----------------------------------------------------------------

    def restore(self, step: int | None, incarnation: int, run_id: str) -> Steps[None]:
        """Begins a new incarnation from a checkpoint, or from the beginning.

        Args:
            step: Step of the checkpoint; None for the beginning.
            incarnation: Number of the new incarnation.
            run_id: Name of the run that continues or begins.

        Raises:
            CheckpointDamaged: The checkpoint cannot be restored, or belongs to another run.
        """
        again, self._restored = self._restored, True
        self.run = None  # freed before the new state is made, so that memory holds only one table
        self.notify()
        state = yield from compute(self.outside.new_state)
        absences: Iterable[Absence] = ()
        validations: tuple[Validated, ...] = ()
        record = None
        if step is not None:
            self.check_run(run_id)
            restored = yield from perform(Restore(step, state))
            record, self.notes = restored.record, dict(restored.notes)
            workers = self.membership.workers
            absences = [Absence(workers.index(a.worker), a.start, a.stop) for a in record.absences]
            validations = validations_of(self.notes, record)
        else:
            yield from perform(BeginRun(run_id))
            self.notes.clear()
        self._tell_restored(state.step, run_id, again=again, begins=step is None)
        if not self.notes:  # notes of the run's end are valid only with its last checkpoint
            self.membership.left.clear()
        if record is not None:
            self.membership.remember(record.data_sets)
        self.membership.begin_anew()
        self.run = Run(
            self.contract,
            self.place,
            incarnation,
            state=state,
            membership=self.membership,
            absences=absences,
            validations=validations,
            seconds=record.seconds if record is not None else 0.0,
            persistent=self.disk.persistent,
            disclosure=self.disclosure,
            on_event=self.tell,
            monotonic=self.clock,
            times=self.outside.new_stopwatch(),
        )
        self.begin(self.run)
        self.notify()

    def check_run(self, run_id: str) -> None:
        """Refuses checkpoints of another run under the same contract.

        Raises:
            CheckpointDamaged: This shard's checkpoints belong to another run.
        """
        if self.disk.run_id != run_id:
            raise other_run(self.node, run_id, self.disk.run_id or "none")

    def _tell_restored(self, step: int, run_id: str, *, again: bool, begins: bool) -> None:
        """Reports where an incarnation begins, before any node is told."""
        if again:
            self.tell(events.Restarted(self.node, step))
        if begins:
            self.tell(events.Begun(run_id))
        elif not again:
            self.tell(events.Resumed(step, self._digest_of(step).hex(), run_id))

    def _digest_of(self, step: int) -> bytes:
        """Digest of the announced checkpoint; only shard 0 knows more than its own part."""
        if self.announced is not None and self.announced.step == step:
            return self.announced.digest
        return {c.step: c.digest for c in self.disk.available}[step]

    def resume_end(self, step: int, end: RunEnd) -> Steps[None]:
        """After a restart of shard 0: resumes at the run's end.

        Args:
            step: The run's last step.
            end: The end record of its outcome.

        Raises:
            CheckpointDamaged: The outcome's checkpoint is missing.
        """
        self.check_final(step, end.run_id)
        newest = DurableCheckpoint(step, bytes.fromhex(end.checkpoint))
        record = yield from perform(ReadRecord(step))
        self.lineage = Lineage.restored(record, newest, self.consent)
        self.notify()
        self.tell(events.Resumed(step, end.checkpoint, end.run_id))

    def settle(self, run: Run) -> Steps[None]:
        """Replaces the last model by the best one, if the contract keeps that.

        Calls are answered meanwhile, except those about the end, which wait.

        Raises:
            CheckpointDamaged: Its checkpoint is torn or lost.
        """
        if not run.trained or run.settled:
            return
        best = yield from compute(self.outside.new_state)
        if (kept := run.kept_best) is not None:
            yield from compute(lambda: best.restore(kept))
        else:
            yield from perform(Load(run.validations.kept_step, best))
        run.settle(best)
        self.notify()

    def restore_final(self, step: int) -> Steps[None]:
        """After a restart: loads the trained model, if a node may still need it.

        Args:
            step: The model's step.

        Raises:
            CheckpointDamaged: Its checkpoint is torn or lost.
        """
        recipients = {node.name for node in self.contract.model_recipients()}
        if self.final is not None or not recipients & set(self.membership.remaining):
            return
        state = yield from compute(self.outside.new_state)
        yield from perform(Load(step, state))
        self.conclude(state)

    def check_final(self, step: int, run_id: str) -> None:
        """After a restart with the outcome made: checks that the run's last checkpoint is here.

        Args:
            step: The run's last step.
            run_id: Name of the run.

        Raises:
            CheckpointDamaged: It is lost, or the checkpoints here belong to another run.
        """
        if step not in {found.step for found in self.disk.available}:
            raise CheckpointDamaged(
                "the checkpoint of the trained model is lost",
                expected=f"a checkpoint of step {step}",
                seen="none",
            )
        self.check_run(run_id)

    def drop_others(self, run: Run) -> Steps[None]:
        """Removes what is left of another run, once all have come: nobody has refused to begin again.

        A step of this run is decided when all shards have done so. Else one could be lost while it holds
        the other run's checkpoints, and another shard this one's, which nobody can tell from folders
        that were mixed up.
        """
        if run.begun and self.disk.others:
            yield from perform(DropOthers())

    def conclude(self, state: ModelState | None) -> None:
        """Records that the run's outcome is made, and the model that may be given out."""
        self.concluded = True
        self.final = state
        given = self.contract.gives_optimizer_state
        parts = part_count(state, optimizer_state=given) if state is not None else 0
        self.departures.begin(parts * len(self.contract.model_recipients()))
        self.notify()

    def save(self, run: Run) -> None:
        """Passes the present state to the checkpoint writer."""
        passed, consents = self.lineage.record()
        record = RunRecord(
            run_id=self.disk.run_id,
            data_sets=self.membership.data_sets,
            absences=run.absences_by_name(),
            passed=passed,
            consents=tuple(consent.stored() for consent in consents),
            validations=tuple(run.validations.done),
            kept_step=run.validations.kept_step,
            seconds=run.seconds,
        )
        self.emit(Save(run.state.snapshot(), record))
        if self.disk.persistent:
            self.disk = replace(self.disk, writing=True)

    def retire(self, step: int) -> None:
        """Records that older checkpoints are no longer needed."""
        self.emit(Retire(step))

    def put_note(self, name: str, octets: bytes) -> Steps[bool]:
        """Writes a small record of the run's end durably.

        Returns:
            Whether it was written. If not, this is reported as trouble until a note is written.
        """
        note = Note(name, octets)
        yield note
        if note.error is not None:
            self.standstill.note_trouble = note.error
            return False
        self.standstill.note_trouble = None
        self.notes[name] = octets
        return True

    def leave(self, node: str, incarnation: int) -> Steps[None]:
        """Records durably that a node no longer needs this shard."""
        if self.membership.left.get(node, -1) < incarnation:
            # A failure is reported as trouble. Without the note, a restart waits for this node in
            # vain.
            yield from self.put_note(_LEFT + node, incarnation.to_bytes(8, "big"))
            self.membership.leave(node, incarnation)
            self.notify()

    def flush(self, limit: float) -> Steps[None]:
        """Waits until nothing is being written.

        Args:
            limit: Seconds for which writes may fail.

        Raises:
            EnvironmentUnfit: Writes have failed for longer.
        """
        began = self.now
        while not (yield from perform(Flush(1.0))):
            left = began + limit - self.now
            trouble = self.disk.trouble
            if trouble is None:
                continue
            if left <= 0:
                raise trouble
            self.standstill.say((), began, left)

    # --- messages ------------------------------------------------------------------------------

    def durable_message(self) -> pb.Checkpoint | None:
        """The announced checkpoint as a message."""
        if self.announced is None:
            return None
        return pb.Checkpoint(step=self.announced.step, digest=self.announced.digest)

    def lineage_message(self) -> pb.Lineage | None:
        """Run and announced checkpoints as a message; shard 0 knows them."""
        return lineage_to_wire(self.lineage) if self.place.leads else None


def validations_of(notes: Mapping[str, bytes], record: RunRecord) -> tuple[Validated, ...]:
    """Validations at a checkpoint, including one that ended training and was kept after it."""
    noted = notes.get(VALIDATIONS)
    if noted is None:
        return record.validations
    return tuple(Validated.model_validate(one) for one in json.loads(noted))


def other_run(node: str, expected: str, seen: str) -> CheckpointDamaged:
    """The error of a shard with checkpoints of another run under the same contract."""
    return CheckpointDamaged(
        f"the checkpoints of {node} are of another run than shard 0's",
        expected=f"run {expected}",
        seen=f"run {seen}"[:200],
        remedy="start every parameter server with the folder that it had in this run, or all of them "
        "in empty ones",
    )
