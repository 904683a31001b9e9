"""``coterie receipt``: verifies a run's signed receipt offline, and shows it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from coterie.cli import console
from coterie.cli.options import AsJson
from coterie.errors import ReceiptRefused

app = typer.Typer(no_args_is_help=True, help="Verify and show the signed account of a run.")

ReceiptPath = Annotated[
    Path,
    typer.Argument(metavar="RECEIPT", help="A run's folder, or its receipt.jsonl.", exists=True),
]

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@app.command()
def verify(
    receipt: ReceiptPath,
    *,
    contract: Annotated[
        Path | None,
        typer.Option(help="The receipt's contract; by default the one in it counts."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A trained model: it must be the one that the run produced.")
    ] = None,
    parent: Annotated[
        list[Path] | None,
        typer.Option(
            "--parent",
            metavar="FILE",
            help="The receipt of an earlier run from which this one started; repeatable. Those in the folder parents beside RECEIPT are used too.",
        ),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(
            help="Appraise all evidence at this time (UTC), not at the receipt's.", formats=_TIMES
        ),
    ] = None,
    collateral: Annotated[
        Path | None,
        typer.Option(
            help="Directory that `coterie attest fetch` filled: for a server whose collateral is "
            "not in the receipt.",
            file_okay=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a receipt completely, offline: exit code 0 if it is accepted, 3 if it is refused.

    Prints in plain words what it proves and what it does not. A changed byte is refused with its place.

    Example: coterie receipt verify run1 --contract run1/contract.json
    """
    from coterie.contract import load_contract
    from coterie.receipts.explain import does_not_prove, proves, walked
    from coterie.receipts.parents import walk
    from coterie.receipts.verification import verify_receipt
    from coterie.runs.run_files import parent_receipts

    receipt = _file_of(receipt)
    judged_at = at.replace(tzinfo=UTC) if at is not None else None
    expected = load_contract(contract) if contract is not None else None
    found = verify_receipt(receipt, expected=expected, folder=collateral, at=judged_at)
    parents = walk(
        found,
        [*parent_receipts(receipt), *map(_file_of, parent or [])],
        lambda path: verify_receipt(path, folder=collateral, at=judged_at),
    )
    proved, unproved = (
        (*proves(found), *walked(found, parents)),
        does_not_prove(found, parents, compared=expected is not None),
    )
    if model is not None:
        _check_model(found.contract_digest, found.model_digest, model)
    if as_json:
        console.print_json(
            {
                **found.to_dict(),
                "model_checked": model is not None,
                "parents": [one.to_dict() for one in parents],
                "proves": proved,
                "does_not_prove": unproved,
            }
        )
        return
    say = console.out.print
    say(f"{receipt}: accepted  [bold]{found.stamp}[/]", highlight=False, soft_wrap=True)
    say("\n[bold]It proves[/]")
    for line in proved:
        say(f"- {line}", highlight=False, markup=False, soft_wrap=True)
    if model is not None:
        say(f"- {model} is the model that came out.", highlight=False, markup=False, soft_wrap=True)
    say("\n[bold]It does not prove[/]")
    for line in unproved:
        say(f"- {line}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def show(receipt: ReceiptPath, as_json: AsJson = False) -> None:
    """Show a receipt's entries; of each only place, order and signature are checked.

    A receipt of a run that is not finished, or that failed, can be shown but not accepted.

    Example: coterie receipt show run1
    """
    from coterie.receipts.explain import describe
    from coterie.receipts.reading import read_entries

    receipt = _file_of(receipt)
    if as_json:
        console.print_json(
            [
                {
                    "line": entry.line,
                    "kind": entry.body.kind,
                    "at": entry.at.isoformat(),
                    **entry.body.model_dump(mode="json"),
                }
                for entry in read_entries(receipt)
            ]
        )
        return
    for entry in read_entries(receipt):
        typer.echo(f"{entry.line:>5}  {entry.at:%Y-%m-%d %H:%M:%S}  {describe(entry)}")


def _file_of(path: Path) -> Path:
    """The receipt at a path: the file, a folder's, or for an unfinished run its server's."""
    from coterie.runs.run_files import RECEIPT

    if not path.is_dir():
        return path
    kept = path / RECEIPT
    written = sorted(path.glob(f"nodes/*/{RECEIPT}"))
    return written[0] if len(written) == 1 and not kept.exists() else kept


def _check_model(contract_digest: str, digest: str | None, path: Path) -> None:
    """Refuses a model file that is not the run's. Reading has already checked its digests."""
    from coterie.trained.trained_model import TrainedModel

    if digest is None:
        raise ReceiptRefused(
            "the receipt names no model: it is of a TensorFlow cluster, whose program keeps its own",
            place="the model",
            expected="the receipt of a run of `coterie run` or `coterie node`",
            seen="a TensorFlow cluster's",
            remedy="leave --model away",
        )
    found = TrainedModel.read(path)
    for what, expected, seen in (
        ("contract", contract_digest, found.contract_digest.hex()),
        ("digest", digest, found.digest.hex()),
    ):
        if expected != seen:
            raise ReceiptRefused(
                f"the model {path} is not the one that came out of this run: its {what} is another",
                place="the model",
                expected=expected,
                seen=seen,
                remedy="name the model of the run that the receipt is of",
            )
