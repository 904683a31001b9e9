"""What a core wants of its store, done."""

from __future__ import annotations

from coterie.errors import CheckpointDamaged
from coterie.ps.checkpoints.records import Checkpoints
from coterie.ps.core.effects import (
    BeginRun,
    DropOthers,
    Flush,
    Load,
    ReadRecord,
    Restore,
    Restored,
    Settle,
)
from coterie.ps.core.procedures import Task


def perform_on_store(store: Checkpoints, task: Task[object]) -> None:
    """Does what a shard requests of its store."""
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
        case DropOthers():
            store.drop_others()
            task.done(None)
        case Flush():
            task.done(store.flush(task.seconds))
        case Settle():
            store.settle()
            task.done(None)
        case _:
            raise AssertionError(task)
