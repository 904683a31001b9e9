"""Drives a shard's core: threads, the lock, the clock, the disk and the line to shard 0 are here.

One lock is held for steps of the core only. A call waits on its own thread, and does the work there that
its procedure asks for. The course of the run has the thread that calls ``drive``.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from coterie.contract import Contract
from coterie.contract.rollback import RollbackConsent
from coterie.errors import CheckpointDamaged, CoterieError, PeerUnreachable
from coterie.files import unwritable
from coterie.ps.checkpoints.records import Checkpoints, DurableCheckpoint
from coterie.ps.core.calls import NodeCalls
from coterie.ps.core.disclosure import Disclosure
from coterie.ps.core.follower import AskCommit, AskConclude, AskEnlist
from coterie.ps.core.leader import Publish
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
from coterie.ps.core.shard import (
    BeginRun,
    DiskChanged,
    DiskState,
    Durable,
    Flush,
    Load,
    ReadRecord,
    Restore,
    Restored,
    Retire,
    Save,
    Settle,
    ShardCore,
    Surroundings,
    Tell,
)
from coterie.ps.core.state import ModelState
from coterie.ps.farewell import farewell_of
from coterie.ps.ports import ParameterServerPort
from coterie.ps.times import ServerClock
from coterie.ps.wire.bounds import MessageBounds
from coterie.ps.wire.checkpoint_messages import KeptReceipt, NoReceiptKept
from coterie.runs import events
from coterie.runs.outcome import RunOutcome

T = TypeVar("T")
_MAX_LOST = 25

CheckpointsMaker = Callable[
    [Callable[[DurableCheckpoint], None], Callable[[CoterieError], None]], Checkpoints
]


class Driver:
    """A shard of the parameter server at work. Thread-safe.

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
        disclosure: What may be told of the data; the contract's rule if absent.
        connect: Dials shard 0; only shards after the first do.

    Attributes:
        core: The shard's state; it changes under ``lock`` only.
        calls: Its calls.
        checkpoints: Its store.
        changed: The lock, notified after every event.
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
    ) -> None:
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        self.monotonic = monotonic
        self.on_event = on_event
        self._on_outcome: Callable[[RunOutcome], None] = lambda _: None
        self.poll_seconds = poll_seconds
        self.receipt = receipt or NoReceiptKept()
        self._leader = _Leader(connect)
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
                new_clock=lambda: ServerClock(monotonic),
                new_run_id=lambda: secrets.token_hex(32),
                receipt=self.receipt,
            ),
            consent=consent,
            probe_seconds=poll_seconds / 5,
            disclosure=disclosure,
        )
        self.bounds = MessageBounds(contract, dense=self.core.place.leads)
        self.calls = NodeCalls(
            self.core, lambda push, examples: self.bounds.push(push, examples=examples)
        )

    # --- calls, and the course of the run ------------------------------------------------------

    def call(self, steps: Steps[T], node: str = "") -> T:
        """Runs a procedure to its end, on this thread.

        Args:
            steps: The procedure.
            node: Who calls; empty for the run's own.

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
        """Serves the run to its end; the outcome is shard 0's to tell.

        Args:
            on_outcome: Hears of it when it is kept; nodes may still be waited for to leave then.

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
        """Lets the core see what time it is, and what the disk does."""
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
        """Waits until a procedure is over or wants something, or has waited for long enough."""
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
            store.persistent, store.run_id, store.available(), store.writing, store.trouble
        )

    def _durable(self, checkpoint: DurableCheckpoint) -> None:
        """Called by the checkpoint writer's thread."""
        with self.changed:
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
                    use_store(self.checkpoints, task)
        except Exception as error:  # noqa: BLE001 (raised in the procedure that wants it)
            task.failed(error)


def use_store(store: Checkpoints, task: Task[object]) -> None:
    """Does what a shard wants of its store."""
    match task:
        case BeginRun():
            store.begin(task.run_id)
            task.done(None)
        case Restore():
            task.done(Restored(store.restore(task.step, task.state), store.notes()))
        case Load():
            if task.step not in {found.step for found in store.available()}:
                raise CheckpointDamaged(
                    "the checkpoint of the best model is lost",
                    expected=f"a checkpoint of step {task.step}",
                    seen="none",
                )
            store.load(task.step, task.state)
            task.done(None)
        case ReadRecord():
            task.done(store.record(task.step))
        case Flush():
            task.done(store.flush(task.seconds))
        case Settle():
            store.settle()
            task.done(None)
        case _:
            raise AssertionError(task)


class _Leader:
    """Shard 0 as another shard sees it: dialled again whenever a call gets lost."""

    def __init__(self, connect: Callable[[], ParameterServerPort] | None) -> None:
        self._connect = connect
        self._port: ParameterServerPort | None = None

    def call(self, call: Callable[[ParameterServerPort], T]) -> T:
        """Makes a call, and makes it again if it gets lost.

        Raises:
            PeerUnreachable: Shard 0 is gone, or call after call gets lost.
        """
        assert self._connect is not None
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
