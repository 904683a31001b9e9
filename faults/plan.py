"""What goes wrong in a case: a pure function of its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["hfl", "hfl-2-shards", "sdt", "sdt-2-shards"]
SCHEMES: tuple[Scheme, ...] = ("hfl", "hfl-2-shards", "sdt", "sdt-2-shards")
PROCESS_SHARE = 0.3
_LINES_EVERY, _REMOVAL_EVERY = 10, 20


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
class LineFault:
    """What happens to all connections to a node at once.

    Attributes:
        node: Which of the nodes that listen, by its place among them.
        after_steps: Steps from the fault before, or from the start.
        kind: ``cut``: they break; ``stall``: nothing more comes through, and nobody is told.
    """

    node: int
    after_steps: int
    kind: Literal["cut", "stall"]


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
    """One run and what goes wrong in it: one of the following.

    Attributes:
        seed: Of the case.
        scheme: What is run.
        kills: Processes are killed and started again.
        lines: Connections are hurt.
        removed: A process is killed and stays away: the run must end with an error that names it.
        calls: Calls are lost, doubled, or late; all nodes are in one process.
    """

    seed: int
    scheme: Scheme
    kills: tuple[Kill, ...] = ()
    lines: tuple[LineFault, ...] = ()
    removed: Kill | None = None
    calls: CallFaults | None = None


def case_of(seed: int) -> Case:
    """The case of a seed."""
    dice = random.Random(seed)  # noqa: S311 (a plan, no secret)
    scheme = dice.choice(SCHEMES)
    if seed % _LINES_EVERY == _LINES_EVERY - 1:  # rare kinds take the schemes in turn
        scheme = SCHEMES[seed // (2 * _LINES_EVERY) % len(SCHEMES)]
    if seed % _REMOVAL_EVERY == _REMOVAL_EVERY - 1:
        return Case(seed, scheme, removed=Kill(dice.randrange(100), dice.randint(1, 40), 0.0))
    if seed % _LINES_EVERY == _LINES_EVERY - 1:
        lines = tuple(
            LineFault(
                dice.randrange(100), dice.randint(1, 30), dice.choice(("cut", "cut", "stall"))
            )
            for _ in range(dice.randint(1, 4))
        )
        return Case(seed, scheme, lines=lines)
    if dice.random() < PROCESS_SHARE:
        kills = tuple(
            Kill(dice.randrange(100), dice.randint(1, 40), dice.random())
            for _ in range(dice.randint(1, 4))
        )
        return Case(seed, scheme, kills=kills)
    shares = [dice.random() * limit for limit in (0.04, 0.04, 0.1, 0.1, 0.05)]
    return Case(seed, scheme, calls=CallFaults(*shares))
