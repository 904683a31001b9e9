"""Schedules without a contract, for what must hold under any."""

from __future__ import annotations

from collections.abc import Sequence

from coterie.ps.core.schedule import Lane, Schedule


def schedule_of(examples: Sequence[int], batch: int, epochs: int = 1) -> Schedule:
    """Steps in which every worker has a batch at most; who has few takes few turns."""
    turns = [-(-own // batch) for own in examples]
    steps = max(turns)
    lanes = (
        Lane(own, taken, steps, steps * epochs) for own, taken in zip(examples, turns, strict=True)
    )
    return Schedule(tuple(lanes), steps, steps * epochs)
