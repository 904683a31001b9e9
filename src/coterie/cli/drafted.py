"""Writes a drafted contract, and says what comes next."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer
from rich.markup import escape

from coterie.cli import console
from coterie.cli.drafting import Draft, draft_contract
from coterie.errors import OutputInUse
from coterie.text import printable


def write_draft(out: Path, draft: Draft, raw: Path | None, *, as_json: bool) -> None:
    """Writes the contract to a new file, and prints a summary and the next step.

    Args:
        out: The file.
        draft: The inputs.
        raw: The file that the columns were taken from; None if they were not.
        as_json: Whether to print one JSON object.

    Raises:
        OutputInUse: The file exists or cannot be written.
        ContractInvalid: The answers make no contract.
    """
    from coterie.contract import contract_digest, parse_contract
    from coterie.files import write_new

    text = draft_contract(draft)
    agreed = parse_contract(text.encode(), str(out))
    try:
        write_new(out, text.encode())
    except FileExistsError as error:
        raise OutputInUse.exists(out) from error
    except OSError as error:
        raise OutputInUse.unwritable(f"the contract {out}", error) from error
    digest = contract_digest(agreed).hex()
    if as_json:
        value: dict[str, object] = {
            "file": str(out),
            "name": agreed.name,
            "contract_digest": digest,
        }
        if draft.columns is not None:
            value["prepare"] = _prepare(out, draft, raw)
            value["unread"] = draft.columns.unread
            value["doubtful"] = dict(draft.columns.doubtful)
        console.print_json(value)
        return
    typer.echo(
        f"{out}: contract {agreed.name}, {agreed.mode}, {len(agreed.nodes)} nodes of "
        f"{len(agreed.parties)} {'party' if len(agreed.parties) == 1 else 'parties'}, "
        f"tee {agreed.trust.kinds_in_words}"
    )
    if draft.columns is not None:
        found = draft.columns
        typer.echo(
            f"{raw}: label {printable(found.label)}, {len(found.numeric)} numeric and {len(found.categorical)} categorical columns, "
            f"about {found.rows:,} rows"
        )
        for name, why in found.left_out.items():
            typer.echo(f"left out: {printable(name)}: {why}")
        for name, why in found.doubtful.items():
            console.err.print(
                f"[yellow]warning:[/] {escape(printable(name))} is taken for no number: {escape(why)}",
                highlight=False,
                soft_wrap=True,
            )
        if found.skipped:
            console.err.print(
                f"[yellow]warning:[/] {found.skipped:,} of the rows looked at cannot be read: {escape(printable(found.unread, None))}",
                highlight=False,
                soft_wrap=True,
            )
    typer.echo(f"next: {_prepare(out, draft, raw)}")
    if raw is None:
        typer.echo("no data at hand: coterie synthesize RAW makes a file to try it with")


def _prepare(out: Path, draft: Draft, raw: Path | None) -> str:
    """The shell command that prepares the file."""
    words = [
        "coterie",
        "prepare",
        "RAW" if raw is None else str(raw),
        "data",
        "--contract",
        str(out),
    ]
    if (found := draft.columns) is not None:
        words += ["--label", found.label] if found.label != "label" else []
        words += ["--dialect", found.dialect] if found.dialect != "strict" else []
        for name, header in found.columns.items():
            words += ["--column", f"{name}={header}"]
    return shlex.join(words)
