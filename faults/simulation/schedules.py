"""Plays schedules: many of them, or one again."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from faults.simulation.invariants import Broken
from faults.simulation.scenario import Faults, Scenario, drawn
from faults.simulation.world import World

_COLLECT_AFTER = 200


@dataclass(frozen=True)
class Found:
    """A schedule that breaks an invariant.

    Attributes:
        seed: Of the schedule.
        what: What is broken.
    """

    seed: int
    what: str

    @property
    def command(self) -> str:
        """Plays it again, line by line."""
        return f"python -m faults.schedules --seed {self.seed}"


@cache
def undisturbed(scenario: Scenario) -> bytes:
    """The digest of a run without faults."""
    return World(scenario, Faults(), random.Random(0)).play().model_digest  # noqa: S311


def play(seed: int, trace: Callable[[str], None] | None = None) -> Found | None:
    """Plays a schedule; what it breaks, if it does."""
    draw = random.Random(seed)  # noqa: S311 (what is drawn is to be drawn again)
    scenario, faults = drawn(draw)
    expected = undisturbed(scenario)
    if trace is not None:
        trace(f"{scenario.servers} {scenario.workers} workers, quorum {scenario.quorum}, {faults}")
    try:
        World(scenario, faults, draw, expected=expected, trace=trace).play()
    except Broken as broken:
        return Found(seed, str(broken))
    except Exception as error:  # noqa: BLE001 (a defect is what is searched for)
        return Found(seed, f"{type(error).__name__}: {error}")
    return None


def search(seeds: Iterable[int]) -> Iterator[Found]:
    """Those of some schedules that break an invariant."""
    play(0)  # what is made once is made
    gc.freeze()
    was_enabled = gc.isenabled()
    gc.disable()  # a world is one circle of references: to look for some of it in its middle costs a third
    try:
        for number, seed in enumerate(seeds, start=1):
            if (found := play(seed)) is not None:
                yield found
            if number % _COLLECT_AFTER == 0:
                gc.collect()
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
