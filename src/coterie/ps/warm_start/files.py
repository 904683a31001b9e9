"""Reads a start's files and compares them with the contract, at the sender and at every shard."""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from coterie.contract import Contract, StartSection
from coterie.errors import StartRefused
from coterie.ps.core.state import state_sizes
from coterie.ps.warm_start.mapping import StartMapping, check_optimizers
from coterie.trained.model_stream import ModelStream, Octets
from coterie.trained.optimizer_state import StateStream


def open_model(octets: Octets, start: StartSection) -> ModelStream:
    """Starts to read the model.

    Raises:
        StartRefused: It was trained under another contract, or holds another number of updates.
        ModelDamaged: It is not a model file, or is cut.
    """
    model = ModelStream(octets, bytes.fromhex(start.contract))
    if model.steps != start.step:
        raise _another("model", f"{start.step} updates", f"{model.steps} updates", "step")
    return model


def finish_model(model: ModelStream, start: StartSection) -> None:
    """Checks the model's digests, after its rows were read.

    Raises:
        StartRefused: It is another model.
        ModelDamaged: A byte was altered, cut or added.
    """
    seen = model.finish()
    if not hmac.compare_digest(seen, bytes.fromhex(start.model)):
        raise _another("model", f"model {start.model}", f"model {seen.hex()}", "model")


def open_state(octets: Octets, before: Contract, start: StartSection) -> StateStream:
    """Starts to read the optimizer state.

    Args:
        octets: The file.
        before: The contract of the model that it belongs to.
        start: The contract's section on it.

    Raises:
        StartRefused: It belongs to another model, or has seen another number of updates.
        ModelDamaged: It is not such a file, is cut, or has other sizes.
    """
    dense, width = state_sizes(before)
    state = StateStream(octets, dense=dense, width=width, total_rows=before.data.total_rows)
    if not hmac.compare_digest(state.model, bytes.fromhex(start.model)):
        seen = f"of model {state.model.hex()}"
        raise _another("optimizer state", f"of model {start.model}", seen, "optimizer_state")
    updates = start.optimizer_updates or start.step
    if state.updates != updates:
        seen = f"{state.updates} updates"
        raise _another("optimizer state", f"{updates} updates", seen, "optimizer_updates")
    return state


def finish_state(state: StateStream, start: StartSection) -> None:
    """Checks the optimizer state's digest, after its rows were read.

    Raises:
        StartRefused: It is another state.
        ModelDamaged: A byte was altered, cut or added.
    """
    seen, expected = state.finish().hex(), start.state_digest or ""
    if not hmac.compare_digest(seen, expected):
        raise _another("optimizer state", expected, seen, "optimizer_state")


def check_files(
    contract: Contract, model: Iterator[bytes], state: Iterator[bytes] | None, whose: str
) -> None:
    """Reads and checks both files to their ends, as every shard will.

    Args:
        contract: The run's contract, which has a start.
        model: The pieces of the model's file.
        state: The pieces of the optimizer state's file, if the contract names one.
        whose: Origin of the files, for errors.

    Raises:
        StartRefused: They are not the files that the contract names, or do not fit it.
        ModelDamaged: One of them is cut or altered.
    """
    start = contract.start
    assert start is not None
    found = open_model(Octets(model, f"the model {whose}"), start)
    StartMapping(found.contract, contract)
    for _ in found.rows.pieces():
        pass
    finish_model(found, start)
    if state is not None:
        check_optimizers(found.contract, contract)
        kept = open_state(Octets(state, f"the optimizer state {whose}"), found.contract, start)
        for _ in kept.rows.pieces():
            pass
        finish_state(kept, start)


def _another(what: str, expected: str, seen: str, key: str) -> StartRefused:
    return StartRefused(
        f"the {what} that the run starts from is not the one that the contract names",
        expected=expected,
        seen=seen,
        remedy=f"give the file that start.{key} of the contract names, or correct that and let all "
        "parties sign again",
    )
