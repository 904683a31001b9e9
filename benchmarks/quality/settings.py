"""What was tried: each setting is the example's contract with a few keys changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from coterie.contract import Contract, canonical_json, contract_from_json
from coterie.kinds import Mode

Section = Mapping[str, object]

CHOSEN = "chosen"
BEFORE = "before"
DECAY = 0.15
"""Share of a run's steps over which the learning rates fall to 0, at its end."""


@dataclass(frozen=True)
class Setting:
    """What differs from the example's contract.

    Attributes:
        name: What tables call it.
        data: Keys of ``[data]``.
        training: Keys of ``[training]``; a table in it is replaced as a whole.
        decay: As ``DECAY``; 0 for constant learning rates.
    """

    name: str
    data: Section = field(default_factory=dict)
    training: Section = field(default_factory=dict)
    decay: float = DECAY

    def apply(self, example: Contract, examples: int, *, seed: int, row_limit: int) -> Contract:
        """The contract to train under.

        Args:
            example: The example's contract.
            examples: Training examples of all workers.
            seed: Of the initial parameters.
            row_limit: Rows of the sample that are used.
        """
        value = json.loads(canonical_json(example))
        value["data"] |= {**self.data, "row_limit": row_limit}
        value["training"] |= {**self.training, "seed": seed}
        step = value["training"]["batch"] * len(example.by_role("worker"))
        steps = -(-examples // step) * value["training"]["epochs"]
        value["training"]["schedule"] = decay_of(steps, self.decay)
        return contract_from_json(json.dumps(value).encode(), self.name)


def decay_of(steps: int, share: float) -> dict[str, int]:
    """The ``[training.schedule]`` of a run of so many steps whose last ``share`` of them decay."""
    start = int((1 - share) * steps)
    return {"decay_start": start, "decay_steps": steps - start} if share else {}


def settings_of(mode: Mode) -> Sequence[Setting]:
    """The settings that were compared for an example; the chosen one first."""
    return _federated() if mode == "hfl" else _one_owner()


def _tables(rows: int) -> Setting:
    return Setting(f"{rows:,} rows", data={"rows": rows})


def _one_owner() -> Sequence[Setting]:
    return (
        Setting(CHOSEN),
        _before(batch=256),
        Setting("no decay", decay=0),
        Setting("decay over the last half", decay=0.5),
        *map(_tables, (10_000, 50_000, 300_000, 1_000_000)),
        Setting(
            "row-wise Adagrad 0.02 for rows", training={"rows": _optimizer("rowwise_adagrad", 0.02)}
        ),
        Setting("Adam 0.001 for dense", training=_ADAM),
        Setting("Adam 0.001 for dense, no decay", training=_ADAM, decay=0),
        Setting("batch 32", training={"batch": 32}),
        Setting("batch 128", training={"batch": 128}),
        Setting("min_count 2", data={"min_count": 2}),
        Setting("min_count 8", data={"min_count": 8}),
    )


def _federated() -> Sequence[Setting]:
    """What does not depend on the number of owners was tried with one."""
    return (
        Setting(CHOSEN),
        _before(batch=128),
        *map(_tables, (10_000, 300_000)),
        Setting("batch 32", training={"batch": 32}),
        Setting("batch 128", training={"batch": 128}),
    )


def before(contract: Contract) -> Contract:
    """``examples/criteo-hfl.toml`` as it was before its settings were chosen: for other comparisons."""
    value = json.loads(canonical_json(contract))
    setting = _before(batch=128)
    value["data"] |= setting.data
    value["training"] |= {**setting.training, "schedule": {}}
    return contract_from_json(json.dumps(value).encode(), contract.name)


def _before(batch: int) -> Setting:
    training = {"batch": batch, "rows": _optimizer("rowwise_adagrad", 0.01)}
    return Setting(BEFORE, data={"rows": 10_000}, training=training, decay=0)


def _optimizer(kind: str, rate: float) -> Section:
    return {"kind": kind, "learning_rate": rate}


_ADAM: Section = {"dense": _optimizer("adam", 0.001)}
