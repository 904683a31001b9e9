"""What a shard asks its driver for, and what the driver tells it of the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coterie.errors import EnvironmentUnfit
from coterie.ps.checkpoints.records import DurableCheckpoint, RunRecord
from coterie.ps.core.procedures import Effect, Event, Task
from coterie.ps.core.state import ModelState, Snapshot
from coterie.runs import events


@dataclass(frozen=True)
class DiskState:
    """What a shard's store is like at a moment.

    Attributes:
        persistent: Whether anything outlives the process.
        run_id: Of the run whose checkpoints are there; empty where there are none.
        available: What can be restored of it, oldest first.
        writing: Whether a checkpoint is still being written.
        trouble: Why the disk takes nothing at present; None while it does.
        others: Whether checkpoints of another run are still there, which do not count any more.
    """

    persistent: bool
    run_id: str = ""
    available: tuple[DurableCheckpoint, ...] = ()
    writing: bool = False
    trouble: EnvironmentUnfit | None = None
    others: bool = False


@dataclass(frozen=True, slots=True)
class DiskChanged(Event):
    """The store has changed."""

    state: DiskState


@dataclass(frozen=True, slots=True)
class Durable(Event):
    """A checkpoint is complete, verified and durable; ``state`` includes it."""

    checkpoint: DurableCheckpoint
    state: DiskState


@dataclass(frozen=True, slots=True)
class Tell(Effect):
    """Report an event."""

    event: events.Event


@dataclass(frozen=True, slots=True)
class Save(Effect):
    """Write a checkpoint in the background."""

    snapshot: Snapshot
    record: RunRecord


@dataclass(frozen=True, slots=True)
class Retire(Effect):
    """Checkpoints older than this step are no longer needed."""

    step: int


@dataclass(frozen=True)
class Restored:
    """The record of a checkpoint, and its remaining notes."""

    record: RunRecord
    notes: Mapping[str, bytes]


class BeginRun(Task[None]):
    """A run begins from nothing; checkpoints of another run are no longer used."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id


class Restore(Task[Restored]):
    """Fill a new state from the checkpoint of a step; remove newer checkpoints."""

    def __init__(self, step: int, state: ModelState) -> None:
        self.step = step
        self.state = state


class Load(Task[None]):
    """Fill a new state from the checkpoint of a step; keep newer checkpoints."""

    def __init__(self, step: int, state: ModelState) -> None:
        self.step = step
        self.state = state


class ReadRecord(Task[RunRecord]):
    """What is known of the run beside the model, by the checkpoint of a step."""

    def __init__(self, step: int) -> None:
        self.step = step


class DropOthers(Task[None]):
    """Checkpoints of another run are to be removed."""


class Flush(Task[bool]):
    """Wait at most ``seconds`` until nothing is being written; False if that took too long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Settle(Task[None]):
    """Wait until nothing is being written; give up what cannot be written."""
