"""``coterie evaluate``, ``predict`` and ``export``: the uses of a trained model."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from coterie.cli import console
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

ModelPath = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="A model.coterie, or the directory of a finished run."),
]


class FormatChoice(StrEnum):
    """Formats of an exported model."""

    SAVED_MODEL = "saved_model"
    KERAS = "keras"


def evaluate(  # noqa: PLR0917  the command line's arguments, not a call's
    model: ModelPath,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="What `coterie prepare` wrote, or a raw file."),
    ],
    label: Label = "label",
    dialect: Dialect = DialectChoice.STRICT,
    missing: Missing = None,
    column: Column = None,
    max_bad_rows: MaxBadRows = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a trained model on data: AUC, log loss, accuracy, calibration.

    Of prepared data, the validation and the test part; of a raw file with labels, every row.

    Example: coterie evaluate run1 prepared
    """
    from coterie.serving import evaluation
    from coterie.serving.opening import open_model

    layout = layout_of(label, dialect, missing, column)
    found = evaluation.evaluate(open_model(model), data, layout=layout, max_bad_rows=max_bad_rows)
    if as_json:
        console.print_json(found.to_dict())
        return
    table = Table("part")
    for name in ("examples", "AUC, 95 %", "log loss", "accuracy", "calibration"):
        table.add_column(name, justify="right")
    notes: list[str] = []
    for part, metrics in found.parts.items():
        values = (metrics.auc, metrics.log_loss, metrics.accuracy, metrics.calibration)
        shown = ["not defined" if value is None else f"{value:.4f}" for value in values]
        words = dict(console.auc_words(metrics.auc_low, metrics.auc_high, metrics.note))
        shown[0] += f"\n{words['95 %']}" if "95 %" in words else ""
        table.add_row(part, f"{metrics.examples:,}", *shown)
        notes += [f"{part}: {words['note']}"] if "note" in words else []
    console.out.print(f"model {found.model_digest}", highlight=False, soft_wrap=True)
    console.print_table(table)
    for note in notes:
        console.out.print(note, highlight=False, soft_wrap=True)
    _print_bad(found.bad_lines)


def predict(  # noqa: PLR0917  the command line's arguments, not a call's
    model: ModelPath,
    raw: Annotated[
        Path,
        typer.Argument(metavar="RAW", help="Raw file with or without labels, as for `prepare`."),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="A new .csv or .parquet file.")
    ],
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEADER",
            help="A column of RAW to copy into FILE, such as an id, by its name in the header; repeatable.",
        ),
    ] = None,
    label: Label = "label",
    dialect: Dialect = DialectChoice.STRICT,
    missing: Missing = None,
    column: Column = None,
    max_bad_rows: MaxBadRows = 0,
    as_json: AsJson = False,
) -> None:
    """Score every row of a raw file; write its line number and click probability.

    Example: coterie predict run1 shop.csv --out predictions.parquet --keep "order id"
    """
    from coterie.cli.prepare import progress_bar
    from coterie.serving import prediction
    from coterie.serving.opening import open_model

    layout = replace(layout_of(label, dialect, missing, column), kept=tuple(keep or ()))
    trained = open_model(model)
    with progress_bar() as progress:
        done = prediction.predict(
            trained, raw, out, layout=layout, max_bad_rows=max_bad_rows, progress=progress
        )
    if as_json:
        console.print_json(done.to_dict())
        return
    mean = "no rows" if done.mean_probability is None else f"{done.mean_probability:.4f}"
    console.out.print(
        f"{escape(done.file)}: {done.rows:,} rows, {done.bad_rows:,} bad ones skipped; "
        f"mean probability {mean}",
        highlight=False,
        soft_wrap=True,
    )
    _print_bad(done.bad_lines)


def export(
    model: ModelPath,
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="A new folder, or for keras a new file ending .keras."),
    ],
    format: Annotated[  # noqa: A002  the option's name
        FormatChoice, typer.Option("--format", help="SavedModel, or one Keras file.")
    ] = FormatChoice.SAVED_MODEL,
    as_json: AsJson = False,
) -> None:
    """Export a trained model for serving: raw cells in, click probabilities out.

    Hashing and the log transform are part of it. A SavedModel needs TensorFlow only.

    Example: coterie export run1 models/clicks/1
    """
    from coterie.models.backend import configure_tensorflow
    from coterie.serving.opening import open_model

    trained = open_model(model)
    configure_tensorflow(trained.contract.training.threads)
    from coterie.serving import export as exporting

    written = exporting.export(
        trained, out, format="keras" if format is FormatChoice.KERAS else "saved_model"
    )
    if as_json:
        console.print_json(
            {"out": str(written), "format": format, "model_digest": trained.digest.hex()}
        )
        return
    console.out.print(
        f"{escape(str(written))}: {format} of model {trained.digest.hex()}",
        highlight=False,
        soft_wrap=True,
    )


def _print_bad(lines: tuple[str, ...]) -> None:
    for line in lines:
        console.out.print(f"  skipped {escape(line)}", highlight=False, soft_wrap=True)
