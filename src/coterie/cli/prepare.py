"""``coterie prepare``: raw files to prepared data sets."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from coterie.cli import console as screen
from coterie.cli.options import (
    AsJson,
    Column,
    Dialect,
    DialectChoice,
    Label,
    MaxBadRows,
    Missing,
    layout_of,
)
from coterie.text import printable


class DealChoice(StrEnum):
    """How rows are dealt to the parties."""

    CONTIGUOUS = "contiguous"
    ROUND_ROBIN = "round-robin"


def prepare(  # noqa: PLR0917  the command line's arguments, not a call's
    raw: Annotated[
        Path, typer.Argument(metavar="RAW", help="Raw file: TSV or CSV, plain, .gz, .xz or .zst.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Gets one folder per party.")],
    contract: Annotated[
        Path,
        typer.Option("--contract", metavar="C", help="The contract: columns, hashing, parties."),
    ],
    deal: Annotated[
        DealChoice | None,
        typer.Option(
            help="Deal RAW out to all data-owning parties, in runs of rows or in turn; contiguous "
            "unless given. For experiments: in a real run every party prepares its own file."
        ),
    ] = None,
    party: Annotated[
        str | None,
        typer.Option(metavar="P", help="RAW is this party's own file; prepare it alone."),
    ] = None,
    label: Label = "label",
    dialect: Dialect = DialectChoice.STRICT,
    missing: Missing = None,
    column: Column = None,
    max_bad_rows: MaxBadRows = 0,
    as_json: AsJson = False,
) -> None:
    """Prepare raw data: split, deal, hash, and write binary files with a manifest.

    RAW is in Criteo's format (label, numbers, ids, separated by tabs, no header), or its first line
    names the label and the contract's columns, in any order and among others. The first six sevenths of the rows are for training, the next fourteenth for the test, the last one for validation.
    Nothing is written unless everything succeeds. Unusual data give warnings: a file that is sorted by its label, a part
    with one class, numbers that look like ids, lists in a cell.

    Example: coterie prepare train.txt.gz data --contract examples/paper-hfl.toml
    """
    from coterie.contract import load_contract
    from coterie.data.prepare.preparation import prepare as prepare_data

    if deal is not None and party is not None:
        raise typer.BadParameter("--deal and --party exclude each other", param_hint="--deal")
    with progress_bar() as progress:
        report = prepare_data(
            raw,
            out,
            load_contract(contract),
            deal="round-robin" if deal is DealChoice.ROUND_ROBIN else "contiguous",
            party=party,
            layout=layout_of(label, dialect, missing, column),
            max_bad_rows=max_bad_rows,
            progress=progress,
        )
    if as_json:
        value = {
            "directory": str(report.directory),
            "source": report.source.model_dump(mode="json"),
            "parties": [manifest.model_dump(mode="json") for manifest in report.manifests],
            "warnings": report.warnings,
        }
        typer.echo(json.dumps(value))
        return
    console = screen.out
    source = report.source
    console.print(
        f"{escape(source.name)}: {source.rows:,} rows, {source.bad_rows:,} bad ones skipped",
        highlight=False,
    )
    for line in source.bad_lines:
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    for warning in report.warnings:
        screen.err.print(
            f"[yellow]warning:[/] {escape(printable(warning, None))}",
            highlight=False,
            soft_wrap=True,
        )
    table = Table("party")
    for name in ("train", "positives", "validation", "test", "rare ids"):
        table.add_column(name, justify="right")
    for manifest in report.manifests:
        shares = [column.rare_share for column in manifest.categorical]
        table.add_row(
            manifest.party,
            f"{manifest.train.rows:,}",
            f"{manifest.train.positives / manifest.train.rows:.1%}",
            f"{manifest.validation.rows:,}",
            f"{manifest.test.rows:,}",
            f"{sum(shares) / len(shares):.1%}",
        )
    screen.print_table(table)
    console.print(
        f"Each party's data set is in {escape(str(report.directory))}/PARTY. Rare ids: the share of "
        "training cells below min_count, which train the out-of-vocabulary rows.",
        highlight=False,
        soft_wrap=True,
    )


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A callback (stage, done, total) that draws a bar per stage on a terminal's stderr."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage)
            bars.update(tasks[stage], completed=done, total=total)

        yield show
