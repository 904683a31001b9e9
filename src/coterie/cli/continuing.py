"""``--continue``, ``--epochs`` and ``--start`` of ``coterie run`` and ``local``: a run's start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coterie.cli import console
from coterie.errors import UsageError

if TYPE_CHECKING:
    from coterie.contract import Contract

MaybeContract = Annotated[
    Path | None,
    typer.Argument(
        help="The contract, a TOML file; with --continue the default is that run's.",
        metavar="CONTRACT",
    ),
]
Continue = Annotated[
    Path | None,
    typer.Option(
        "--continue",
        metavar="RUN",
        help="Continue from the model and the optimizers' state in a finished run's directory.",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs", help="With --continue: passes over the data, in place of the contract's.", min=1
    ),
]
NewOptimizerState = Annotated[
    bool,
    typer.Option(
        "--new-optimizer-state",
        help="With --continue: start the optimizers' state again, as another optimizer needs it.",
    ),
]
Start = Annotated[
    Path | None,
    typer.Option(
        "--start",
        metavar="DIR",
        help="A run's directory with the model that the contract's section start names.",
        file_okay=False,
    ),
]


def contract_to_run(
    contract_file: Path | None,
    run: Path | None,
    *,
    epochs: int | None,
    new_optimizer_state: bool,
    start: Path | None,
) -> tuple[Contract, Path | None]:
    """The contract, and the folder of its start.

    Raises:
        UsageError: Options do not fit each other.
        CoterieError: The contract or the run cannot be used.
    """
    from coterie.contract import load_contract

    given = load_contract(contract_file) if contract_file is not None else None
    if run is None:
        if given is None:
            raise _usage("missing argument 'CONTRACT'", "it, or --continue RUN", "neither")
        if epochs is not None or new_optimizer_state:
            option = "--epochs" if epochs is not None else "--new-optimizer-state"
            raise _usage(f"{option} is for a run that goes on", "--continue RUN with it", "none")
        return given, start
    if start is not None:
        raise _usage("--continue and --start are two ways to say one thing", "one of them", "both")
    from coterie.nodes.continuing import continued_run

    contract = continued_run(run, given, epochs=epochs, new_optimizer_state=new_optimizer_state)
    section = contract.start
    assert section is not None
    state = {None: "", "new": "; optimizers begin anew"}.get(
        section.optimizer_state, f"; optimizer state {str(section.optimizer_state)[:16]}"
    )
    console.err.print(
        f"goes on from {run}: step {section.step:,} of model {section.model[:16]}{state}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    for what in _changes(contract):
        console.err.print(what, highlight=False, markup=False, soft_wrap=True)
    return contract, run


def _changes(contract: Contract) -> list[str]:
    """What is larger than in the previous run, in words."""
    section = contract.start
    assert section is not None
    rows = dict(zip(contract.data.categorical, contract.data.table_rows, strict=True))
    lines = [
        f"table {name} grows from {before:,} to {rows[name]:,} rows: new ones begin as copies"
        for name, before in section.grown.items()
    ]
    if section.new_columns:
        names = ", ".join(section.new_columns)
        lines.append(f"new columns begin from the seed: {names}")
    return lines


def _usage(what: str, expected: str, seen: str) -> UsageError:
    return UsageError(what, expected, seen, remedy="see coterie run --help")
