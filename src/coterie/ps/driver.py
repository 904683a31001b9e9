"""Drives a shard's core: owns threads, lock, clock, disk and the connection to shard 0.

The only lock is held for steps of the core and for the effects that must follow at once: events, and
small notes on the disk. It is not held during long work or while a call waits. A call waits on its own
thread, and there does the work that its procedure requests. The run itself has the thread that calls
``drive``.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import TypeVar

from coterie.contract import Contract
from coterie.contract.rollback import RollbackConsent
from coterie.errors import CoterieError
from coterie.files import unwritable
from coterie.ps.checkpoints.records import Checkpoints, DurableCheckpoint
from coterie.ps.core.disclosure import Disclosure
from coterie.ps.core.effects import (
    DiskChanged,
    DiskState,
    Durable,
    Retire,
    Save,
    Tell,
)
from coterie.ps.core.follower import AskCommit, AskConclude, AskEnlist
from coterie.ps.core.leader import Publish
from coterie.ps.core.node_calls import NodeCalls
from coterie.ps.core.procedures import (
    Broken,
    Called,
    Compute,
    Ended,
    Event,
    Expired,
    Keep,
    Parked,
    Passed,
    Perform,
    Performed,
    Steps,
    Task,
    Ticket,
    at_once,
)
from coterie.ps.core.shard import ShardCore, Surroundings
from coterie.ps.core.state import ModelState
from coterie.ps.leader_connection import LeaderConnection
from coterie.ps.ports import ParameterServerPort
from coterie.ps.store_tasks import perform_on_store
from coterie.ps.times import ServerClock
from coterie.ps.wire.bounds import MessageBounds
from coterie.ps.wire.checkpoint_messages import KeptReceipt, NoReceiptKept
from coterie.runs import events
from coterie.runs.outcome import RunOutcome
from coterie.spans import Span, Tracer, untraced

T = TypeVar("T")

CheckpointsMaker = Callable[
    [Callable[[DurableCheckpoint], None], Callable[[CoterieError], None]], Checkpoints
]


class Driver:
    """A running shard of the parameter server. Thread-safe.

    Args:
        contract: The contract.
        node: Name of this shard's node.
        incarnation: Number of this process, larger than that of any earlier one.
        monotonic: Monotonic clock, in seconds.
        on_event: Receives all events.
        checkpoints: Makes this shard's store, given the sinks of durable checkpoints and failures.
        consent: All parties' consent to continue from an older checkpoint than announced.
        poll_seconds: How long a call waits before it answers ``pending``.
        receipt: The run's receipt, on shard 0.
        disclosure: Rule of what may be disclosed; by default the contract's.
        connect: Connects to shard 0; only on other shards.
        tracer: Takes the spans of calls and checkpoints.

    Attributes:
        core: The shard's state, which changes only under the lock.
        calls: Its calls.
        checkpoints: Its store.
        changed: The lock as a condition, notified after every event.
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
        disclosure: Disclosure | None = None,
        connect: Callable[[], ParameterServerPort] | None = None,
        tracer: Tracer = untraced,
    ) -> None:
        # Reentrant, because effects are carried out under it and may call the driver.
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        self.monotonic = monotonic
        self.on_event = on_event
        self._tracer = tracer
        self._saving = (0, 0.0)  # step of the newest checkpoint that was begun, and when
        self._on_outcome: Callable[[RunOutcome], None] = lambda _: None
        self.poll_seconds = poll_seconds
        self.receipt = receipt or NoReceiptKept()
        self._leader = LeaderConnection(connect)
        self._waiting: dict[Ticket[object], threading.Condition] = {}
        self.checkpoints = checkpoints(self._durable, self.fail)
        shards = [server.name for server in contract.by_role("ps")]
        place = (shards.index(node), len(shards))
        self.core = ShardCore(
            contract,
            node,
            incarnation=incarnation,
            disk=self._disk(),
            notes=self.checkpoints.notes(),
            outside=Surroundings(
                new_state=lambda: ModelState(contract, *place),
                new_stopwatch=lambda: ServerClock(monotonic, tracer),
                new_run_id=lambda: secrets.token_hex(32),
                receipt=self.receipt,
            ),
            consent=consent,
            probe_seconds=poll_seconds / 5,
            disclosure=disclosure,
        )
        self.bounds = MessageBounds(contract, dense=self.core.place.leads)
        self.calls = NodeCalls(
            self.core,
            lambda push, examples, flush: self.bounds.push(push, examples=examples, flush=flush),
        )

    # --- calls, and the course of the run ------------------------------------------------------

    def call(self, steps: Steps[T], node: str = "") -> T:
        """Runs a procedure to its end, on this thread.

        Args:
            steps: The procedure.
            node: The caller; empty for the run itself.

        Raises:
            CoterieError: It ended with that.
        """
        ticket = Ticket(steps, node)
        with self.changed:
            self._handle(Called(ticket))
            while not ticket.over:
                if ticket.task is not None:
                    self.changed.release()
                    try:
                        self._perform(ticket.task)
                    finally:
                        self.changed.acquire()
                    self._handle(Performed(ticket))
                elif not self._wait(ticket):
                    self._handle(Expired(ticket))
        return ticket.reply()

    def now(self, work: Callable[[], T], node: str = "") -> T:
        """Reads or changes the core at once."""
        return self.call(at_once(work), node)

    def drive(self, on_outcome: Callable[[RunOutcome], None]) -> RunOutcome | None:
        """Serves the run to its end; shard 0 returns the outcome.

        Args:
            on_outcome: Called when the outcome is kept, perhaps before all nodes have left.

        Raises:
            NodeMissing: A node did not come, or stayed away, longer than the contract allows.
            CoterieError: The run failed.
        """
        self._on_outcome = on_outcome
        calls = self.calls
        try:
            if calls.leader is not None:
                return self.call(calls.leader.drive())
            assert calls.follower is not None
            self.call(calls.follower.drive())
        except CoterieError as error:
            self._leader.tell(error)
            self.fail(error)
            raise
        except Exception as error:
            self.fail(
                CoterieError(
                    f"the parameter server {self.core.node} failed for an internal reason",
                    seen=type(error).__name__,
                    remedy="look at that node's log and report it",
                )
            )
            raise
        finally:
            self._leader.close()
            self.checkpoints.close()
        return None

    def fail(self, error: CoterieError) -> None:
        """Ends the run: every waiting and later call raises ``error``."""
        with self.changed:
            self._handle(Broken(error))

    def look(self) -> None:
        """Tells the core the time and the disk's state."""
        with self.changed:
            self._handle(Passed())

    # --- under the lock ------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        disk = self._disk()
        if disk != self.core.disk:
            self._execute(DiskChanged(disk))
        self._execute(event)
        self.changed.notify_all()

    def _execute(self, event: Event) -> None:
        effects = self.core.handle(event, self.monotonic())
        failure: Exception | None = None
        while True:
            try:
                effect = next(effects) if failure is None else effects.throw(failure)
            except StopIteration:
                return
            failure = None
            try:
                match effect:
                    case Ended(ticket) | Parked(ticket) | Perform(ticket):
                        if (waiting := self._waiting.get(ticket)) is not None:
                            waiting.notify()
                    case Tell(told):
                        self.on_event(told)
                    case Save(snapshot, record):
                        self._saving = (snapshot.step, self.monotonic())
                        self.checkpoints.save(snapshot, record)
                    case Retire(step):
                        self.checkpoints.retire(step)
                    case Keep(note):
                        try:
                            self.checkpoints.put_note(note.name, note.octets)
                        except OSError as error:
                            what = f"the note {note.name} of the parameter server"
                            note.error = unwritable(what, error)
            except Exception as error:  # noqa: BLE001 (raised in the procedure that wants it)
                failure = error

    def _wait(self, ticket: Ticket[object]) -> bool:
        """Waits until a procedure has ended, requests something, or its wait is over."""
        wait = ticket.wait
        assert wait is not None
        waiting = self._waiting[ticket] = threading.Condition(self._lock)
        try:
            return waiting.wait_for(
                lambda: ticket.over or ticket.task is not None or ticket.wait is not wait,
                self.poll_seconds if wait.seconds is None else wait.seconds,
            )
        finally:
            del self._waiting[ticket]

    def _disk(self) -> DiskState:
        store = self.checkpoints
        return DiskState(
            store.persistent,
            store.run_id,
            store.available(),
            store.writing,
            store.trouble,
            store.others,
        )

    def _durable(self, checkpoint: DurableCheckpoint) -> None:
        """Called by the checkpoint writer's thread."""
        with self.changed:
            step, began = self._saving
            if step == checkpoint.step:
                self._tracer(Span("checkpoint", self.monotonic() - began, step=step))
            self._execute(Durable(checkpoint, self._disk()))
            self.changed.notify_all()

    # --- without the lock ----------------------------------------------------------------------

    def _perform(self, task: Task[object]) -> None:
        try:
            match task:
                case Compute():
                    task.run()
                case AskEnlist():
                    task.done(self._leader.call(lambda port: port.enlist(task.request)))
                case AskCommit():
                    task.done(self._leader.call(lambda port: port.commit(task.request)))
                case AskConclude():
                    task.done(self._leader.call(lambda port: port.conclude(task.request)))
                case Publish():
                    self._on_outcome(task.kept)
                    task.done(None)
                case _:
                    perform_on_store(self.checkpoints, task)
        except Exception as error:  # noqa: BLE001 (raised in the procedure that wants it)
            task.failed(error)
