"""``coterie paper``: the paper's experiment, with its figures beside what the paper states."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from coterie.cli import console
from coterie.cli.options import AsJson
from coterie.report.packages import PAGES, require

if TYPE_CHECKING:
    from coterie.paper.results import PaperResults


def paper(
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="RAW",
            help="A raw file in Criteo's format, plain, .gz, .xz or .zst; synthetic rows without it.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The new directory for runs and page.")
    ],
    rows: Annotated[
        int | None,
        typer.Option(
            min=2000,
            metavar="N",
            help="Use at most N rows; by default a tenth of Criteo Kaggle's, or 60,000 synthetic ones.",
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="Passes over the data.")] = 1,
    turns: Annotated[
        int,
        typer.Option(min=1, max=100, metavar="N", help="How often each run is made, alternating."),
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Repeat the paper's experiment: HFL and SDT, plain and attested, on both engines; one page shows it.

    The TEE is simulated, and the data are on this machine in the clear: for public or synthetic data.

    Example: coterie paper --data train.txt --out paper1
    """
    require(PAGES, "the page")
    from coterie.paper.page import write_page
    from coterie.paper.running import run_paper

    def say(text: str) -> None:
        console.err.print(text, markup=False, highlight=False, soft_wrap=True)

    try:
        results = run_paper(data, out, rows=rows, epochs=epochs, turns=turns, say=say)
    except KeyboardInterrupt:
        say(f"stopped; {out} holds the runs so far and no result: start again with another --out")
        raise
    page = write_page(results, out)
    if as_json:
        console.print_json(results.model_dump(mode="json"))
        return
    console.print_table(table_of(results))
    typer.echo(str(page))


def table_of(results: PaperResults) -> Table:
    """A row for every case."""
    table = Table("scheme", "setting", "engine")
    for name in ("AUC, native", "AUC, attested", "time, attested / native"):
        table.add_column(name, justify="right")
    for one in results.cases:
        aucs = [
            "-" if it is None or it.quality.auc is None else f"{it.quality.auc:.4f}"
            for it in (one.native, one.simulated)
        ]
        ratio = one.ratio("simulated")
        table.add_row(
            one.scheme.upper(),
            one.setting,
            one.case.label,
            *aucs,
            "-" if ratio is None else f"{ratio:.2f}",
        )
    return table
