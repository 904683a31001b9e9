"""What goes wrong in a case: a pure function of its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["hfl", "hfl-2-shards", "sdt", "sdt-2-shards"]
SCHEMES: tuple[Scheme, ...] = ("hfl", "hfl-2-shards", "sdt", "sdt-2-shards")
PROCESS_SHARE = 0.3


@dataclass(frozen=True)
class Kill:
    """SIGKILL of a node once so many more steps are done; it starts again a moment later.

    Attributes:
        node: Which node, by its place in the contract.
        after_steps: Steps from the fault before, or from the start.
        pause_seconds: How long it stays away.
    """

    node: int
    after_steps: int
    pause_seconds: float


@dataclass(frozen=True)
class CallFaults:
    """How calls fail in a case that runs in one process; shares of all calls.

    Attributes:
        lost_before: The call never arrives.
        lost_after: It takes effect; the reply never arrives.
        twice: It arrives twice, one after the other.
        at_once: It arrives twice at the same time.
        late: It arrives after a pause: others overtake it.
    """

    lost_before: float
    lost_after: float
    twice: float
    at_once: float
    late: float


@dataclass(frozen=True)
class Case:
    """One run and what goes wrong in it: kills of processes, or faults of calls."""

    seed: int
    scheme: Scheme
    kills: tuple[Kill, ...] = ()
    calls: CallFaults | None = None


def case_of(seed: int) -> Case:
    """The case of a seed."""
    dice = random.Random(seed)  # noqa: S311 (a plan, no secret)
    scheme = dice.choice(SCHEMES)
    if dice.random() < PROCESS_SHARE:
        kills = tuple(
            Kill(dice.randrange(100), dice.randint(1, 40), dice.random())
            for _ in range(dice.randint(1, 4))
        )
        return Case(seed, scheme, kills=kills)
    shares = [dice.random() * limit for limit in (0.04, 0.04, 0.1, 0.1, 0.05)]
    return Case(seed, scheme, calls=CallFaults(*shares))
