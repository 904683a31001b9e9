"""Makes a contract's ``[start]`` section from a model and its optimizers' state in a folder."""

from __future__ import annotations

from pathlib import Path

from coterie.contract import Contract, DataSection, StartSection, with_section
from coterie.errors import ContractInvalid, StartRefused
from coterie.ps.warm_start.mapping import StartMapping, check_optimizers
from coterie.trained.optimizer_state import STATE_NAME, read_state
from coterie.trained.trained_model import MODEL_NAME, TrainedModel


def continued(
    contract: Contract,
    folder: Path,
    *,
    new_optimizer_state: bool = False,
    receipt: str | None = None,
) -> Contract:
    """The contract with a ``[start]`` from the model in a folder.

    Args:
        contract: The new run's contract, which may have more columns and larger tables.
        folder: Holds the open ``model.coterie``, and ``optimizer.coterie`` if needed.
        new_optimizer_state: Whether the optimizers' state starts again, whatever the folder holds.
        receipt: Hash of the last entry of the run's receipt, hex.

    Raises:
        ContractInvalid: It already has a start, or its tables cannot grow like this.
        StartRefused: The model does not fit the contract, or its optimizers' state is missing.
        ModelDamaged: A file cannot be read, or was altered.
    """
    if contract.start is not None:
        raise ContractInvalid(
            f"contract {contract.name} names already what it goes on from",
            expected="a contract without a section [start]",
            seen=f"a start from model {contract.start.model}",
            remedy="remove the section, or give --start DIR for the one that it names",
        )
    model = TrainedModel.read(folder / MODEL_NAME)
    state, updates = None, None
    if contract.training.keeps_state:
        state, updates = "new", None
        if not new_optimizer_state:
            check_optimizers(model.contract, contract)
            state, updates = _state(folder, model)
    section = StartSection(
        model=model.digest.hex(),
        contract=model.contract_digest.hex(),
        step=model.steps,
        optimizer_state=state,
        optimizer_updates=updates if updates != model.steps else None,
        new_columns=_new_columns(model.contract.data, contract.data),
        grown=_grown(model.contract.data, contract.data),
        receipt=receipt,
    )
    made = with_section(contract, "start", section.model_dump(mode="json"))
    StartMapping(model.contract, made)
    return made


def _state(folder: Path, model: TrainedModel) -> tuple[str, int]:
    path = folder / STATE_NAME
    if not path.exists():
        raise StartRefused(
            f"{folder} holds no optimizer state, and the contract's optimizers need one",
            expected=f"{STATE_NAME}, which a run leaves under a contract with results.optimizer_state = "
            "true",
            seen="none",
            remedy="begin it anew with --new-optimizer-state, or train with that key first",
        )
    state = read_state(path)
    if state.model != model.digest:
        what = f"the optimizer state in {folder} is of another model"
        remedy = "copy both files of one run"
        raise StartRefused.differs(what, "of model", model.digest, state.model, remedy)
    return state.digest.hex(), state.updates


def _new_columns(old: DataSection, new: DataSection) -> tuple[str, ...]:
    known = {*old.numeric, *old.categorical}
    return tuple(name for name in (*new.numeric, *new.categorical) if name not in known)


def _grown(old: DataSection, new: DataSection) -> dict[str, int]:
    before = dict(zip(old.categorical, old.table_rows, strict=True))
    now = dict(zip(new.categorical, new.table_rows, strict=True))
    return {name: rows for name, rows in before.items() if now.get(name, rows) > rows}
