"""``coterie compare``: finished runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from coterie.cli import console
from coterie.cli.options import AsJson

if TYPE_CHECKING:
    from coterie.runs.result import RunResult

_FORMS = (
    ("steps", "steps", ",d"),
    ("model of step", "model_step", ",d"),
    ("examples", "examples", ",d"),
    ("training time, s", "seconds", ",.1f"),
    ("training loss", "train_loss", ".4f"),
    ("validation AUC", "validation_auc", ".4f"),
    ("test AUC", "test_auc", ".4f"),
    ("test log loss", "test_logloss", ".4f"),
    ("test accuracy", "test_accuracy", ".4f"),
    ("test calibration", "test_calibration", ".4f"),
)


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Directories of finished runs.", exists=True),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show finished runs side by side: results, and the hyperparameters in which they differ.

    Every run has its own interval here. To test whether the difference of two AUCs is more than
    chance, on the same rows, use `coterie local --out` or `coterie node --compare-alone`.

    Example: coterie compare run1 run2 run3
    """
    from coterie.runs.result_file import read_result

    results = [read_result(run) for run in runs]
    differing = differences(results)
    if as_json:
        told = [{"path": one.path, **one.model_dump(mode="json")} for one in results]
        console.print_json({"runs": told, "differing": differing})
        return
    console.print_table(table_of(results, differing))
    for line in notes(results):
        console.out.print(line, highlight=False, markup=False, soft_wrap=True)


def differences(results: Sequence[RunResult]) -> list[str]:
    """Names of the hyperparameters that are not the same in all runs."""
    names = dict.fromkeys(name for one in results for name in one.hyperparameters)
    return [
        name for name in names if len({repr(one.hyperparameters.get(name)) for one in results}) > 1
    ]


def table_of(results: Sequence[RunResult], differing: Sequence[str]) -> Table:
    """A row for every quantity, a column for every run."""
    table = Table("")
    for one in results:
        table.add_column(escape(one.path), justify="right", no_wrap=True)
    table.add_row("contract", *(escape(one.name) for one in results))
    table.add_row("scheme", *(f"{one.mode}, {one.nodes} nodes" for one in results))
    table.add_row("proves", *(console.stamp_of(one) for one in results))
    when = [f"{one.finished:%Y-%m-%d %H:%M}" if one.finished else "" for one in results]
    table.add_row("finished, UTC", *when)
    for label, name, form in _FORMS:
        values = [(one, getattr(one, name)) for one in results]
        shown = [
            one.absence(name) if value is None else format(value, form) for one, value in values
        ]
        table.add_row(label, *shown)
        if name == "test_auc":
            intervals = [
                dict(console.auc_words(one.test_auc_low, one.test_auc_high, "")) for one in results
            ]
            table.add_row("95 %", *(found.get("95 %", "") for found in intervals))
    for name in differing:
        table.add_row(name, *(escape(str(one.hyperparameters.get(name, ""))) for one in results))
    if any(one.start for one in results):
        begun = [
            f"{one.start.model[:16]}, {one.start.step:,}" if one.start else "" for one in results
        ]
        table.add_row("went on from model, updates", *begun)
    table.add_row("model digest", *(one.model_digest[:16] for one in results))
    return table


def notes(results: Sequence[RunResult]) -> list[str]:
    """Warnings about wrong conclusions from the table."""
    same: dict[str, list[str]] = {}
    for one in results:
        same.setdefault(one.model_digest, []).append(one.path)
    said = [
        f"{', '.join(paths)}: models equal, bit for bit"
        for paths in same.values()
        if len(paths) > 1
    ]
    by_model = {one.model_digest: one.path for one in reversed(results)}  # the first of equal ones
    said += [
        f"{one.path} went on from the model of {by_model[one.start.model]}"
        for one in results
        if one.start is not None and one.start.model in by_model
    ]
    if len({one.hyperparameters.get("data.digest") for one in results}) > 1:
        said.append(
            "their contracts have different [data] sections: their AUCs are of different tasks"
        )
    return said
