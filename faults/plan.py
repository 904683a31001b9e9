"""What goes wrong in a case: a pure function of its seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

Drawn = TypeVar("Drawn")
Scheme = Literal["hfl", "hfl-2-shards", "sdt", "sdt-2-shards"]
SCHEMES: tuple[Scheme, ...] = ("hfl", "hfl-2-shards", "sdt", "sdt-2-shards")
DiskError = Literal["EIO", "ENOSPC", "EROFS", "EDQUOT"]
DISK_ERRORS: tuple[DiskError, ...] = ("EIO", "ENOSPC", "EROFS", "EDQUOT")
Limited = Literal["descriptors", "memory", "file size"]
LIMITS: tuple[Limited, ...] = ("descriptors", "memory", "file size")
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
class Kills:
    """Processes are killed and started again."""

    kills: tuple[Kill, ...]


@dataclass(frozen=True)
class Lines:
    """Connections are hurt."""

    faults: tuple[LineFault, ...]


@dataclass(frozen=True)
class Removal:
    """A process is killed and stays away: the run must end with an error that names it."""

    kill: Kill


@dataclass(frozen=True)
class Calls:
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
class DiskTrouble:
    """A node's disk fails; who ends for it is started again.

    Attributes:
        node: Which node, by its place in the contract.
        error: Name of what the system says (errno(3)).
        first: The first write, sync or change of a name that fails.
        lasts: Whether all after it fail, too, until a node ends or says that it waits; else that one alone.
    """

    node: int
    error: DiskError
    first: int
    lasts: bool


@dataclass(frozen=True)
class PowerFailure:
    """A node's machine loses its power at one of its syncs; its disk keeps what was synced, and no more.

    Attributes:
        node: Which node, by its place in the contract.
        at_sync: At which sync.
        everywhere: Whether all machines lose it then.
    """

    node: int
    at_sync: int
    everywhere: bool


@dataclass(frozen=True)
class Double:
    """A second process of a node is started, of which one must end with a named error.

    Attributes:
        node: Which node, by its place in the contract.
        after_steps: When.
        same_folder: Whether in the folder of the first one; else in one of its own.
    """

    node: int
    after_steps: int
    same_folder: bool


@dataclass(frozen=True)
class Limit:
    """A node's process comes to a limit of the system (setrlimit(2)) until a node ends or says that it waits.

    Attributes:
        node: Which node, by its place in the contract.
        after_steps: When.
        kind: What it gets no more of.
        slack: So much more it may have: descriptors; KiB of memory, or of a file.
    """

    node: int
    after_steps: int
    kind: Limited
    slack: int


Trouble = Kills | Lines | Removal | Calls | DiskTrouble | PowerFailure | Double | Limit


@dataclass(frozen=True)
class Case:
    """One run and what goes wrong in it.

    Attributes:
        seed: Of the case.
        scheme: What is run.
        trouble: What goes wrong.
    """

    seed: int
    scheme: Scheme
    trouble: Trouble


def case_of(seed: int) -> Case:  # noqa: PLR0911 (one per kind)
    """The case of a seed: rare kinds have a last digit of their own, and take the schemes in turn."""
    dice = random.Random(seed)  # noqa: S311 (a plan, no secret)
    scheme, round_of_it = SCHEMES[seed // 20 % len(SCHEMES)], seed // 10
    node = dice.randrange(100)
    match seed % 10:
        case 9 if round_of_it % 2:
            return Case(seed, scheme, Removal(Kill(node, dice.randint(1, 40), 0.0)))
        case 9:
            return Case(seed, scheme, Lines(_some(dice, _line_fault)))
        case 8:
            error = dice.choice(DISK_ERRORS)
            first = round(
                250 ** dice.random()
            )  # a worker has some twenty points, a server hundreds
            return Case(seed, scheme, DiskTrouble(node, error, first, lasts=bool(round_of_it % 2)))
        case 6:
            sync = round(80 ** dice.random())
            return Case(seed, scheme, PowerFailure(node, sync, everywhere=bool(round_of_it % 2)))
        case 4 if round_of_it % 2:
            same_folder = bool(round_of_it // 2 // len(SCHEMES) % 2)
            return Case(seed, scheme, Double(node, dice.randint(1, 40), same_folder))
        case 4:
            kind = LIMITS[round_of_it // 2 % len(LIMITS)]
            return Case(seed, scheme, Limit(node, dice.randint(1, 40), kind, dice.randrange(16)))
    scheme = dice.choice(SCHEMES)
    if dice.random() < PROCESS_SHARE:
        return Case(seed, scheme, Kills(_some(dice, _kill)))
    shares = [dice.random() * limit for limit in (0.04, 0.04, 0.1, 0.1, 0.05)]
    return Case(seed, scheme, Calls(*shares))


def _some(dice: random.Random, draw: Callable[[random.Random], Drawn]) -> tuple[Drawn, ...]:
    return tuple(draw(dice) for _ in range(dice.randint(1, 4)))


def _kill(dice: random.Random) -> Kill:
    return Kill(dice.randrange(100), dice.randint(1, 40), dice.random())


def _line_fault(dice: random.Random) -> LineFault:
    return LineFault(dice.randrange(100), dice.randint(1, 30), dice.choice(("cut", "cut", "stall")))
