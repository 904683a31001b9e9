"""What a schedule is of: the run and its faults, a pure function of the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from coterie.contract import Contract
from coterie.ps.core.disclosure import Disclosure
from coterie.ps.core.schedule import Schedule

EXAMPLES = 8
BATCH = 4
GRACE_SECONDS = 4.0


@dataclass(frozen=True, eq=False)
class Scenario:
    """A run.

    Attributes:
        contract: Its contract.
        servers: Names of its shards.
        disclosure: What may be told: nothing, which costs least.
        steps_per_epoch: Of its schedule.
        steps: Of the whole run.
        quorum: How many workers are enough; None: all are needed.
        examples: Of each worker.
    """

    contract: Contract
    servers: tuple[str, ...]
    disclosure: Disclosure
    workers: int
    steps_per_epoch: int
    steps: int
    quorum: int | None
    examples: int


@dataclass(frozen=True)
class Faults:
    """What goes wrong in a run.

    Attributes:
        crashes: After so many effects of all servers, the one that has the next dies before it.
        worker_crashes: After so many deliveries, a worker dies.
        full_disks: After so many deliveries a disk takes nothing, for a while.
        jumps: After so many deliveries much time passes at once.
        loss: Share of requests and of replies that get lost.
        duplicates: Share of requests that arrive twice.
        late: Share of lost requests that arrive when nobody waits for the reply any more.
        impatience: Share of moments at which a call is told that it has waited for long enough.
        until: After so many deliveries nothing goes wrong any more.
    """

    crashes: frozenset[int] = frozenset()
    worker_crashes: frozenset[int] = frozenset()
    full_disks: frozenset[int] = frozenset()
    jumps: frozenset[int] = frozenset()
    loss: float = 0.0
    duplicates: float = 0.0
    late: float = 0.5
    impatience: float = 0.01
    until: int = 0


@cache
def scenario_of(
    shards: int,
    workers: int,
    epochs: int,
    checkpoint_steps: int,
    quorum: int | None,
    *,
    feedback: bool = False,
) -> Scenario:
    """A run of two steps an epoch; with error feedback of four."""
    servers = tuple(f"ps{i}" for i in range(shards))
    nodes = [{"name": name, "role": "ps", "party": "operator"} for name in servers]
    nodes += [{"name": f"w{i}", "role": "worker", "party": f"p{i}"} for i in range(workers)]
    trust = {"measurement": "own", "accepted_tcb_statuses": ["UpToDate"]}
    limits: dict[str, float] = {"join_seconds": 86400, "step_seconds": 86400}
    if quorum is not None:
        limits |= {"quorum": quorum, "grace_seconds": GRACE_SECONDS}
    contract = Contract.model_validate(
        {
            "format": 1,
            "name": "simulated",
            "mode": "hfl",
            "parties": [{"name": "operator"}, *({"name": f"p{i}"} for i in range(workers))],
            "nodes": nodes,
            "data": {"numeric": ["I1"], "categorical": ["C1"], "column_rows": {"C1": 4}},
            "model": {"embedding_dim": 1, "bottom": [1], "top": [1]},
            "training": {
                "batch": BATCH,
                "seed": 7,
                "epochs": epochs,
                "checkpoint_steps": checkpoint_steps,
                "exchange": "int8" if feedback else "float32",
                "validation": {"each_epoch": False},
            },
            "limits": {"evaluation_minimum": 1, **limits},
            "trust": {"tee": "simulated", "roles": dict.fromkeys(["ps", "worker"], trust)},
        }
    )
    examples = 2 * EXAMPLES if feedback else EXAMPLES
    schedule = Schedule.of(contract, [examples] * workers)
    return Scenario(
        contract,
        servers,
        Disclosure(1 << 40, 2),
        workers,
        schedule.steps_per_epoch,
        schedule.steps,
        quorum,
        examples,
    )


def drawn(draw: random.Random) -> tuple[Scenario, Faults]:
    """A run and its faults."""
    shards = 1 if draw.random() < 0.5 else 2
    quorum = 2 if draw.random() < 0.2 else None
    workers = 2 if quorum is None else 3  # a quorum is a majority
    epochs = 1 if draw.random() < 0.8 else 2
    checkpoint_steps = 1 if draw.random() < 0.7 else 2
    until = draw.randrange(10, 100)
    # Without a draw of its own, so that the other schedules are the same as before.
    feedback = quorum is None and until % 3 == 0
    scenario = scenario_of(
        shards, workers, epochs, checkpoint_steps + feedback, quorum, feedback=feedback
    )

    def some(most: int, below: int) -> frozenset[int]:
        return frozenset(draw.randrange(below) for _ in range(draw.randrange(most + 1)))

    faults = Faults(
        crashes=some(3, 120),
        worker_crashes=some(2, until),
        full_disks=some(1, until) if draw.random() < 0.2 else frozenset(),
        jumps=some(3, until) if quorum is not None else frozenset(),
        loss=draw.choice((0.0, 0.02, 0.08)),
        duplicates=draw.choice((0.0, 0.05, 0.15)),
        until=until,
    )
    return scenario, faults
