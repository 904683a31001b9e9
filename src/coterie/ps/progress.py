"""An operator's view of a running run: its position and its nodes.

It contains no number that depends on a party's data: no loss, no norms, no counts of examples.
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
        phase: Its activity: waits for nodes, trains, waits for reports, and so on.
        incarnation: The server's incarnation; 0 while it is being restored.
        step: Updates applied.
        steps: Steps of the whole run; 0 until they are known.
        joined: Nodes that have joined, in contract order.
        missing: Nodes that it waits for.
        silent: Joined nodes without a call for a while: they compute, are cut off, or have died.
        left_out: Workers that the run does not wait for.
        checkpoint: The newest checkpoint that is durable on every shard.
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
    """Makes the view of a shard."""
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
