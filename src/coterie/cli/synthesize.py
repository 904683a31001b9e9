"""``coterie synthesize``: writes a raw file in Criteo's format with a known signal."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from coterie.cli import console
from coterie.cli.options import AsJson
from coterie.cli.prepare import progress_bar


def synthesize(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file; .gz, .xz and .zst are compressed.")
    ],
    rows: Annotated[int, typer.Option(min=14, metavar="N", help="How many rows.")] = 60_000,
    seed: Annotated[
        int, typer.Option(min=0, metavar="S", help="Same rows and seed, same file.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Write a synthetic raw file in Criteo's format, whose labels can be learned.

    Ids follow power laws, cells are missing as often as in Criteo's data, and about a quarter of
    the rows are clicks.

    Example: coterie synthesize raw.tsv.zst --rows 60000 --seed 7
    """
    from coterie.data.prepare.synthetic import synthesize as write_raw_file

    with progress_bar() as progress:
        report = write_raw_file(out, rows=rows, seed=seed, progress=progress)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "file": str(report.file), "seed": seed}))
        return
    console.out.print(
        f"{escape(str(report.file))}: {report.rows:,} rows, "
        f"{report.positives / report.rows:.1%} clicks; "
        f"no model does better than about ROC AUC {report.bayes_auc:.4f} on them",
        highlight=False,
        soft_wrap=True,
    )
