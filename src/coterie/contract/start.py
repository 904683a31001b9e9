"""The contract's ``[start]`` section: the model that a run goes on from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from coterie.contract.data import ColumnName, DataSection, TableRows
from coterie.contract.section import Section
from coterie.contract.training import TrainingSection

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Updates = Annotated[int, Field(ge=1, le=2**40)]


class StartSection(Section):
    """The model that a run goes on from, in place of initial parameters from the seed.

    Attributes:
        model: Digest of the model, as its run's result and receipt name it.
        contract: Digest of the contract under which it was trained, likewise.
        step: Updates that the model holds. The learning rates' schedule, Adam's correction and the
            new model's digest continue from there; steps of the run itself begin at 0.
        optimizer_state: Digest of the optimizer state that was kept beside the model, or ``new``:
            the optimizers start again. Needed unless both optimizers are ``sgd``, which keep none.
        optimizer_updates: Updates that this state has seen, if they are fewer than ``step`` because
            an earlier run started it again.
        party: The party that gives the files, at its chief or its first worker. Absent: the first
            of the parties that get the new model.
        new_columns: Columns that the earlier model does not have. Their rows, and the inputs of the
            first layers that they need, start from the seed. For the DLRM only.
        grown: Tables that are larger than in the earlier model: by column, its number of rows
            there. The number of rows without the first must be a whole multiple of the earlier one:
            a new row starts as a copy of the row that its ids had.
        receipt: Hash of the last entry of the receipt of the run that produced the model. Absent: a
            receipt is recognised by contract, model and step.
    """

    model: Digest
    contract: Digest
    step: Updates
    optimizer_state: Annotated[str, Field(pattern=r"^([0-9a-f]{64}|new)$")] | None = None
    optimizer_updates: Updates | None = None
    party: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] | None = None
    new_columns: Annotated[tuple[ColumnName, ...], Field(strict=False, max_length=8192)] = ()
    grown: dict[ColumnName, TableRows] = {}
    receipt: Digest | None = None

    @model_validator(mode="after")
    def _updates_fit_the_state(self) -> Self:
        if self.optimizer_updates is None:
            return self
        if self.state_digest is None:
            raise ValueError("optimizer_updates is for an optimizer_state that is given")
        if self.optimizer_updates > self.step:
            raise ValueError(
                f"optimizer_updates ({self.optimizer_updates}) is more than step ({self.step})"
            )
        return self

    @property
    def changes(self) -> str:
        """What the contract has more of than the start, in words; empty if nothing."""
        said = [f"larger tables: {', '.join(self.grown)}"] if self.grown else []
        if self.new_columns:
            said.append(f"new columns: {', '.join(self.new_columns)}")
        return "; ".join(said)

    @property
    def state_digest(self) -> str | None:
        """Digest of the given optimizer state; None if none is given."""
        return None if self.optimizer_state == "new" else self.optimizer_state

    @property
    def optimizers_began(self) -> int:
        """The update at which the optimizers' state began; they count steps from there."""
        if self.optimizer_state == "new":
            return self.step
        return self.step - (self.optimizer_updates or self.step)


def check_start(
    start: StartSection,
    data: DataSection,
    training: TrainingSection,
    model_kind: Literal["dlrm", "keras"],
) -> None:
    """Refuses a start that does not fit this contract's data, model and optimizers.

    Raises:
        ValueError: It does not fit; the message names the key.
    """
    schedule = training.schedule
    end = schedule.decay_start + schedule.decay_steps
    if schedule.decay_steps and not schedule.final and start.step >= end:
        raise ValueError(
            f"training.schedule ends at update {end}, and its rates are 0 from there on: the model holds "
            f"{start.step} already, so nothing would be trained. Let decay_start and decay_steps end "
            "later (they count the start's updates, too), or leave the schedule out"
        )
    names = data.numeric + data.categorical
    if len(set(start.new_columns)) != len(start.new_columns):
        raise ValueError(f"start.new_columns must be unique: {', '.join(start.new_columns)}")
    if unknown := [name for name in start.new_columns if name not in names]:
        raise ValueError(
            f"start.new_columns names {', '.join(unknown)}, which is no column of [data]"
        )
    for kind, columns in (("numeric", data.numeric), ("categorical", data.categorical)):
        if set(columns) <= set(start.new_columns):
            raise ValueError(f"start.new_columns leaves the start without a {kind} column")
    if start.new_columns and model_kind != "dlrm":
        raise ValueError(
            "start.new_columns is for the DLRM: nobody knows where a model of one's own takes them in"
        )
    rows = dict(zip(data.categorical, data.table_rows, strict=True))
    for column, before in start.grown.items():
        if column not in rows or column in start.new_columns:
            raise ValueError(f"start.grown names {column}, which is no table of the start")
        if rows[column] <= before or (rows[column] - 1) % (before - 1):
            raise ValueError(
                f"start.grown: the table of {column} cannot grow from {before} to {rows[column]} rows, "
                f"since ids would change their rows: only to 1 + {before - 1} times 2, 3, ..., "
                f"such as {2 * before - 1}"
            )
    kinds = training.optimizer_kinds
    if "factored_adagrad" in kinds and start.new_columns and start.state_digest is not None:
        raise ValueError(
            "start.new_columns with an optimizer_state is not for factored_adagrad, whose sums over the "
            'inputs of a layer are also those of its new ones: write optimizer_state = "new"'
        )
    if training.keeps_state and start.optimizer_state is None:
        raise ValueError(
            f"start.optimizer_state is missing: the optimizers {', '.join(kinds)} keep state. Name "
            'the digest of what was kept beside the model, or write "new"'
        )
    if not training.keeps_state and start.optimizer_state is not None:
        raise ValueError(f"start.optimizer_state is for optimizers that keep state, not {kinds[0]}")


def start_data(start: StartSection, data: DataSection) -> DataSection:
    """The start's data section, derived from this contract: columns, tables, hashing."""
    rows = dict(zip(data.categorical, data.table_rows, strict=True)) | start.grown
    numeric = tuple(name for name in data.numeric if name not in start.new_columns)
    categorical = tuple(name for name in data.categorical if name not in start.new_columns)
    return DataSection(
        numeric=numeric,
        categorical=categorical,
        decimals={name: places for name, places in data.decimals.items() if name in numeric},
        column_rows={name: rows[name] for name in categorical},
        hash_seed=data.hash_seed,
    )
