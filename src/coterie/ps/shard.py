"""What the parts of one parameter server shard share: its run, its lock, its failure."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from coterie.contract import Contract
from coterie.contract.rollback import RollbackConsent
from coterie.errors import (
    CheckpointDamaged,
    CoterieError,
    DataError,
    EnvironmentUnfit,
    StepRefused,
)
from coterie.ps.checkpoints import Checkpoints, DurableCheckpoint, RunRecord
from coterie.ps.checkpoints.lineage import Lineage
from coterie.ps.core.coordinator import Absence
from coterie.ps.core.departures import Departures
from coterie.ps.core.disclosure import Disclosure
from coterie.ps.core.membership import Membership
from coterie.ps.core.presence import Presence
from coterie.ps.core.standstill import Standstill
from coterie.ps.core.state import ModelState
from coterie.ps.download import part_count
from coterie.ps.run import Run, ShardPlace
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.checkpoint_messages import (
    KeptReceipt,
    NoReceiptKept,
    lineage_to_wire,
    receipt_to_wire,
)
from coterie.runs import events
from coterie.runs.outcome import RunEnd
from coterie.runs.records import Validated

_LEFT = "left-"
VALIDATIONS = "validations"


class Shard:
    """State and lock of a shard. What is named ``locked_...`` wants the lock held.

    Args:
        contract: What is trained, by whom.
        node: Name of this shard's node.
        incarnation: Of this process; larger than that of any earlier one.
        monotonic: Seconds of a clock that only goes forward.
        on_event: Hears what happens.
        checkpoints: Makes this shard's store, given what hears of durable checkpoints and failures.
        consent: To go on from an older checkpoint than was announced, if all parties gave it.
        poll_seconds: How long a call waits before it answers ``pending``.
        receipt: Of the run, on shard 0.
        new_run_id: Makes the random name of a run that begins, 64 hex digits.
        disclosure: What may be told of the data; the contract's rule if absent.

    Attributes:
        changed: The lock, notified whenever anything that a call waits for changes.
        run: Present life of the state; None while it is being restored.
        lineage: The run, and the checkpoints that were announced: those that every shard holds. Of
            the run's alone on other shards than the first.
        worker_times: Where the time of workers that have left went.
        concluded: The run's outcome is made: nothing changes any more.
        final: The trained model, once the run is concluded; None too where a server that came
            back then has nobody to give it to.
        departures: When nodes must have left, once the run is concluded.
        standstill: What holds the run up.
    """

    def __init__(
        self,
        contract: Contract,
        node: str,
        *,
        incarnation: int,
        monotonic: Callable[[], float],
        on_event: events.EventSink,
        checkpoints: CheckpointsMaker,
        consent: RollbackConsent | None = None,
        poll_seconds: float = 10.0,
        receipt: KeptReceipt | None = None,
        new_run_id: Callable[[], str] = lambda: secrets.token_hex(32),
        disclosure: Disclosure | None = None,
    ) -> None:
        servers = [server.name for server in contract.by_role("ps")]
        self.contract = contract
        self.node = node
        self.place = ShardPlace(servers.index(node), len(servers))
        self.incarnation = incarnation
        self.monotonic = monotonic
        self.on_event = on_event
        self.consent = consent
        self.poll_seconds = poll_seconds
        self.receipt = receipt or NoReceiptKept()
        self.new_run_id = new_run_id
        self.disclosure = disclosure or Disclosure.of(contract)
        self.changed = threading.Condition()
        self.run: Run | None = None
        self.lineage = Lineage()
        self.worker_times: dict[str, events.WorkerTimes] = {}
        self.concluded = False
        self.final: ModelState | None = None
        self.departures = Departures(contract.limits.step_seconds, monotonic)
        self.on_durable: Callable[[DurableCheckpoint], None] = lambda _: None
        self._failure: CoterieError | None = None
        self._heard: set[str] = set()
        self._restored = False
        self.checkpoints = checkpoints(self._durable, self.fail)
        self.presence = Presence(monotonic)
        self.standstill = Standstill(node, self.checkpoints, on_event, monotonic, self.presence)
        notes = self.checkpoints.notes()
        self.membership = Membership(contract, {})
        for name, octets in notes.items():
            if name.startswith(_LEFT):
                node = name.removeprefix(_LEFT)
                self.membership.leave(node, int.from_bytes(octets, "big"))

    # --- waiting and failing -------------------------------------------------------------------

    def fail(self, error: CoterieError) -> None:
        """Ends the run: every waiting and later call raises ``error``."""
        with self.changed:
            self._failure = self._failure or error
            self.changed.notify_all()

    @property
    def announced(self) -> DurableCheckpoint | None:
        """The newest checkpoint that every shard holds."""
        return self.lineage.newest

    def _durable(self, durable: DurableCheckpoint) -> None:
        self.on_durable(durable)

    @property
    def failed(self) -> bool:
        """Whether the run has ended with an error."""
        return self._failure is not None

    def heard(self, node: str) -> None:
        """Notes that a node was answered with the error that ended the run, if one did."""
        with self.changed:
            if self._failure is not None:
                self._heard.add(node)
                self.changed.notify_all()

    def see_off_failed(self, nodes: Iterable[str], seconds: float) -> None:
        """After a failure: waits until these nodes have heard of it or ended, at most so long."""
        awaited = set(nodes)
        with self.changed:
            self.changed.wait_for(
                lambda: not awaited - self._heard - self.standstill.reasons.keys(), timeout=seconds
            )

    def locked_raise_failure(self) -> None:
        """Raises the error that ended the run, if one did."""
        if self._failure is not None:
            raise self._failure

    def locked_wait(self, ready: Callable[[], bool], seconds: float | None = None) -> bool:
        """Waits until ``ready``; for calls at most ``poll_seconds``.

        Returns:
            Whether it came true in time.

        Raises:
            CoterieError: The run failed.
        """
        met = self.changed.wait_for(
            lambda: self._failure is not None or ready(),
            timeout=self.poll_seconds if seconds is None else seconds,
        )
        self.locked_raise_failure()
        return met

    def locked_running(self) -> Run:
        """The present run.

        Raises:
            StepRefused: The state is being restored.
        """
        self.locked_raise_failure()
        if self.run is None:
            raise StepRefused(
                "the parameter server is restoring its state",
                expected="a join first",
                seen="another call",
                remedy="join again: the reply comes when the state is restored",
            )
        return self.run

    def locked_begin(self, run: Run) -> None:
        """Begins the run once everybody has come.

        Raises:
            DataError: The parties' data are too uneven: the run ends.
        """
        try:
            run.begin_if_complete()
        except DataError as error:
            self.fail(error)
            raise

    def locked_ended(self, run: Run) -> bool:
        """Whether the last step is applied and durable here, and, on shard 0, everywhere.

        What is kept of a run's end is kept with the checkpoint of its last step.
        """
        if not run.trained or not self.checkpoints.persistent:
            return run.settled
        kept = self.checkpoints.available()
        return bool(kept) and kept[-1].step == run.step and self.locked_told(run, kept[-1].step)

    def locked_told(self, run: Run, step: int) -> bool:
        """Whether nodes may hear that ``step`` updates are applied.

        Of the last one they hear when it is durable on every shard: they leave then, and could not
        repeat what is lost. Shard 0 knows, and nobody goes on without its reply.
        """
        if run.step < step:
            return False
        if not (run.steps_done and self.place.leads):
            return True
        if not run.settled or not self.checkpoints.persistent:
            return run.settled
        return self.announced is not None and self.announced.step >= step

    # --- restoring and keeping -----------------------------------------------------------------

    def restore(self, step: int | None, incarnation: int, run_id: str) -> None:
        """Begins a new life from a checkpoint, or from the beginning.

        Args:
            step: Of the checkpoint; None for the beginning.
            incarnation: Of the new life.
            run_id: Of the run that goes on, or begins.

        Raises:
            CheckpointDamaged: The checkpoint cannot be restored, or is of another run.
        """
        again, self._restored = self._restored, True
        with self.changed:
            self.run = None  # before the new state is made: memory holds one table, not two
            self.changed.notify_all()
        state = ModelState(self.contract, self.place.shard, self.place.shards)
        absences: Iterable[Absence] = ()
        validations: tuple[Validated, ...] = ()
        record = None
        if step is not None:
            self.check_run(run_id)
            record = self.checkpoints.restore(step, state)
            workers = self.membership.workers
            absences = [Absence(workers.index(a.worker), a.start, a.stop) for a in record.absences]
            validations = validations_of(self.checkpoints, record)
        else:
            self.checkpoints.begin(run_id)
        self._tell(state.step, run_id, again=again, begins=step is None)
        with self.changed:
            if not self._end_is_kept():
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
                persistent=self.checkpoints.persistent,
                disclosure=self.disclosure,
                on_event=self.on_event,
                monotonic=self.monotonic,
            )
            self.locked_begin(self.run)
            self.changed.notify_all()

    def check_run(self, run_id: str) -> None:
        """Refuses checkpoints of another run under the same contract.

        Raises:
            CheckpointDamaged: This shard's are.
        """
        if self.checkpoints.run_id != run_id:
            raise other_run(self.node, run_id, self.checkpoints.run_id or "none")

    def _tell(self, step: int, run_id: str, *, again: bool, begins: bool) -> None:
        """Tells where a life begins, before any node can hear of it."""
        if again:
            self.on_event(events.Restarted(self.node, step))
        if begins:
            self.on_event(events.Begun(run_id))
        elif not again:
            self.on_event(events.Resumed(step, self._digest_of(step).hex(), run_id))

    def _end_is_kept(self) -> bool:
        """Whether notes of the run's end are here: they count with its last checkpoint only."""
        return bool(self.checkpoints.notes())

    def _digest_of(self, step: int) -> bytes:
        """As it was announced; another shard than the first knows only its own part."""
        if self.announced is not None and self.announced.step == step:
            return self.announced.digest
        return {c.step: c.digest for c in self.checkpoints.available()}[step]

    def resume_end(self, step: int, end: RunEnd) -> None:
        """After a restart of shard 0: goes on at the run's end.

        Args:
            step: The run's last.
            end: Of its outcome.

        Raises:
            CheckpointDamaged: The checkpoint that the outcome is of is not here.
        """
        self.check_final(step, end.run_id)
        newest = DurableCheckpoint(step, bytes.fromhex(end.checkpoint))
        with self.changed:
            self.lineage = Lineage.restored(self.checkpoints.record(step), newest, self.consent)
            self.changed.notify_all()
        self.on_event(events.Resumed(step, end.checkpoint, end.run_id))

    def settle(self, run: Run) -> None:
        """Puts the best model in the place of the last one, where the contract wants that.

        Raises:
            CheckpointDamaged: Its checkpoint is torn or lost.
        """
        with self.changed:
            if not run.trained or run.settled:
                return
        best = run.best_model(self._load)  # calls are answered meanwhile, those about the end later
        with self.changed:
            run.settle(best)
            self.changed.notify_all()

    def _load(self, step: int) -> ModelState:
        state = ModelState(self.contract, self.place.shard, self.place.shards)
        if step not in {found.step for found in self.checkpoints.available()}:
            raise CheckpointDamaged(
                "the checkpoint of the best model is lost",
                expected=f"a checkpoint of step {step}",
                seen="none",
                remedy="restore the folder from a copy",
            )
        self.checkpoints.load(step, state)
        return state

    def restore_final(self, step: int) -> None:
        """After a restart: gets the trained model back, if somebody may still come for it.

        Args:
            step: The model's.

        Raises:
            CheckpointDamaged: Its checkpoint is torn or lost.
        """
        recipients = {node.name for node in self.contract.model_recipients()}
        if self.final is not None or not recipients & set(self.membership.remaining):
            return
        state = self._load(step)
        with self.changed:
            self.locked_conclude(state)

    def check_final(self, step: int, run_id: str) -> None:
        """After a restart, when the run's outcome is made: its last checkpoint must be here.

        Args:
            step: The run's last.
            run_id: Of the run.

        Raises:
            CheckpointDamaged: It is lost, or what is here is of another run.
        """
        if step not in {found.step for found in self.checkpoints.available()}:
            raise CheckpointDamaged(
                "the checkpoint of the trained model is lost",
                expected=f"a checkpoint of step {step}",
                seen="none",
                remedy="restore the folder from a copy",
            )
        self.check_run(run_id)

    def locked_conclude(self, state: ModelState | None) -> None:
        """Notes that the run's outcome is made, and the model that may be given out."""
        self.concluded = True
        self.final = state
        given = self.contract.gives_optimizer_state
        parts = part_count(state, optimizer_state=given) if state is not None else 0
        self.departures.begin(parts * len(self.contract.model_recipients()))
        self.changed.notify_all()

    def locked_save(self, run: Run) -> None:
        """Hands the present state to the checkpoint writer."""
        passed, consents = self.lineage.record()
        record = RunRecord(
            run_id=self.checkpoints.run_id,
            data_sets=self.membership.data_sets,
            absences=run.absences_by_name(),
            passed=passed,
            consents=tuple(consent.stored() for consent in consents),
            validations=tuple(run.validations.done),
            kept_step=run.validations.kept_step,
            seconds=run.seconds,
        )
        self.checkpoints.save(run.state.snapshot(), record)

    def locked_leave(self, node: str, incarnation: int) -> None:
        """Notes, durably, that a node needs this shard no more."""
        if self.membership.left.get(node, -1) < incarnation:
            # Told by the trouble; without the note a restart waits for this node in vain.
            with suppress(EnvironmentUnfit):
                self.standstill.put_note(_LEFT + node, incarnation.to_bytes(8, "big"))
            self.membership.leave(node, incarnation)
            self.changed.notify_all()

    def durable_message(self) -> pb.Checkpoint | None:
        """The announced checkpoint as it travels."""
        if self.announced is None:
            return None
        return pb.Checkpoint(step=self.announced.step, digest=self.announced.digest)

    def receipt_message(self) -> pb.ReceiptHead | None:
        """How far the receipt is, as it travels."""
        return receipt_to_wire(self.receipt.head())

    def lineage_message(self) -> pb.Lineage | None:
        """Run and announced checkpoints as they travel; shard 0 knows them."""
        return lineage_to_wire(self.lineage) if self.place.leads else None


def validations_of(checkpoints: Checkpoints, record: RunRecord) -> tuple[Validated, ...]:
    """What is known at a checkpoint: a validation that ended the training was kept after it."""
    noted = checkpoints.notes().get(VALIDATIONS)
    if noted is None:
        return record.validations
    return tuple(Validated.model_validate(one) for one in json.loads(noted))


def other_run(node: str, expected: str, seen: str) -> CheckpointDamaged:
    """The error of a shard whose checkpoints are of another run under the same contract."""
    return CheckpointDamaged(
        f"the checkpoints of {node} are of another run than shard 0's",
        expected=f"run {expected}",
        seen=f"run {seen}"[:200],
        remedy="start every parameter server with the folder that it had in this run, or all of them "
        "in empty ones",
    )


CheckpointsMaker = Callable[
    [Callable[[DurableCheckpoint], None], Callable[[CoterieError], None]], Checkpoints
]
