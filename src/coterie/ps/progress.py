"""What an operator may see of a run while it goes on: where it stands, and who is there.

No number that depends on anybody's data is in it: no loss, no norms, no counts of examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.core.leader import Leader
from coterie.ps.core.shard import ShardCore

Phase = Literal["restoring", "gathering", "training", "evaluating", "finished", "failed"]


@dataclass(frozen=True)
class Progress:
    """A shard's view of the run.

    Attributes:
        phase: What it does: waits for nodes, trains, waits for reports, and so on.
        incarnation: Of the server; 0 while it is being restored.
        step: Updates applied.
        steps: Of the whole run; 0 until it is known.
        joined: Nodes that have come, in contract order.
        missing: Nodes that are awaited.
        silent: Nodes that have come, and have not called for a while: they compute, are cut off, or dead.
        left_out: Workers that the run does not wait for.
        checkpoint: The newest that is durable on every shard.
    """

    phase: Phase
    incarnation: int
    step: int
    steps: int
    joined: tuple[str, ...]
    missing: tuple[str, ...]
    silent: tuple[str, ...]
    left_out: tuple[str, ...]
    checkpoint: DurableCheckpoint | None


def progress_of(core: ShardCore, leader: Leader | None) -> Progress:
    """Looks at a shard."""
    run = core.run
    coordinator = run.coordinator if run is not None else None
    workers = core.membership.workers
    return Progress(
        phase=_phase(core, leader),
        incarnation=run.incarnation if run is not None else 0,
        step=run.step if run is not None else 0,
        steps=run.schedule.steps if run is not None and run.schedule is not None else 0,
        joined=core.membership.joined,
        missing=core.membership.missing,
        silent=core.presence.silent(core.membership.joined),
        left_out=tuple(workers[w] for w in sorted(coordinator.out)) if coordinator else (),
        checkpoint=core.announced,
    )


def _phase(core: ShardCore, leader: Leader | None) -> Phase:
    if core.failure is not None:
        return "failed"
    if leader is not None and leader.outcome is not None:
        return "finished"
    run = core.run
    if run is None:
        return "restoring"
    if not run.begun:
        return "gathering"
    return "evaluating" if run.trained else "training"
