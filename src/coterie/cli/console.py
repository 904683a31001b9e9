"""Output of the command line: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer
from rich.console import Console, ConsoleDimensions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from coterie.cli.logs import LogFormat, settings
from coterie.errors import CoterieError
from coterie.text import printable

if TYPE_CHECKING:
    from coterie.runs.records import WorkerAbsence
    from coterie.runs.result import PartyQuality, RunResult

_NO_EDGE = 10_000  # columns; wider than any output


class Screen(Console):
    """A console as wide as the terminal. Output to a pipe or file is not wrapped or cut."""

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and lines."""
        width, height = super().size
        return ConsoleDimensions(width if self.file.isatty() else _NO_EDGE, height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size


out = Screen()
err = Screen(stderr=True)

_ERROR_LINES = (
    ("check", "failed_check"),
    ("place", "place"),
    ("expected", "expected"),
    ("seen", "seen"),
    ("remedy", "remedy"),
)
_LABELS = {
    "mode": "scheme",
    "transport": "transport",
    "tee": "TEE",
    "nodes": "nodes",
    "steps": "steps",
    "examples": "examples",
    "seconds": "training time, s",
    "samples_per_second": "examples/s",
    "train_loss": "training loss",
    "validation_auc": "validation AUC",
    "test_auc": "test AUC",
    "test_logloss": "test log loss",
    "test_accuracy": "test accuracy",
    "test_calibration": "test calibration",
    "model_digest": "model digest",
    "optimizer_state": "optimizer state",
    "contract_digest": "contract digest",
}


def stamp_of(result: RunResult) -> str:
    """The word that marks what a run proves."""
    if result.transport == "ra-tls":
        return result.tee
    return "PLAINTEXT" if result.transport == "PLAINTEXT" else "LOCAL, not attested"


def print_json(value: object) -> None:
    """Prints one JSON object in ASCII, without control characters for a terminal."""
    typer.echo(json.dumps(value))


def print_result(result: RunResult, title: str) -> None:
    """Prints a summary of a run for people."""
    table = Table(show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for key, label in _LABELS.items():
        value = getattr(result, key)
        if key != "optimizer_state" or value is not None:
            table.add_row(label, result.absence(key) if value is None else _show(value))
        if key == "test_auc":
            for name, said in auc_words(
                result.test_auc_low, result.test_auc_high, result.test_auc_note
            ):
                table.add_row(name, said)
    if result.start is not None:
        start = result.start
        more = f" ({start.changes})" if start.changes else ""
        table.add_row("went on from", f"model {start.model}, step {start.step:,}{more}")
    if result.validations:
        table.add_row("validations", _validations(result))
    for party, own in result.by_party.items():
        table.add_row(f"test rows of {party}", _own(own))
    for absence in result.absences:
        table.add_row("left out", _absence(absence))
    out.print(f"\n{title}  [bold]{stamp_of(result)}[/]", highlight=False)
    print_table(table)


def print_table(table: Table) -> None:
    """Prints a table, or its rows as lines if the table is wider than the terminal.

    A table without a header has two columns, name and value. Cells are text.
    """
    every = out.options.update(max_width=_NO_EDGE)
    if Measurement.get(out, every, table).maximum <= out.width:
        out.print(table)
        return
    rows = zip(*(column.cells for column in table.columns), strict=True)
    heads = [_plain(column.header) for column in table.columns]
    for cells in ([_plain(cell) for cell in row] for row in rows):
        lines = [cells]
        if table.show_header:
            out.out(cells[0], highlight=False)
            lines = [[f"  {head}", cell] for head, cell in zip(heads[1:], cells[1:], strict=True)]
        for name, value in lines:
            if value:
                fits = len(name) + len(value) + 2 <= out.width
                out.out(f"{name}: {value}" if fits else f"{name}:\n  {value}", highlight=False)


def _plain(cell: object) -> str:
    text = cell if isinstance(cell, Text) else Text.from_markup(str(cell))
    return ", ".join(text.plain.split("\n"))


def auc_words(low: float | None, high: float | None, note: str) -> list[tuple[str, str]]:
    """The words beside an AUC: its 95 % interval, and why it is not reliable."""
    words = [("95 %", f"{low:.4f} to {high:.4f}")] if low is not None and high is not None else []
    return words + ([("note", note)] if note else [])


def report(error: CoterieError, *, as_json: bool) -> int:
    """Prints an error in the form of all errors; returns its exit code.

    The form is a JSON object if results are JSON, a log line if the log is JSON, or lines for
    people.
    """
    chosen = settings()
    if as_json:
        print_json(error.to_dict())
    elif chosen.form is LogFormat.JSON:
        err.out(json.dumps(error.to_dict()), highlight=False)
    else:
        err.print(f"[bold red]error:[/] {_escape(error.what)}", soft_wrap=True, highlight=False)
        said = error.to_dict()
        for label, key in _ERROR_LINES:
            if text := said.get(key):
                err.print(
                    f"  [dim]{label + ':':<10}[/]{_escape(text)}", soft_wrap=True, highlight=False
                )
        cause = error.__cause__
        while chosen.verbose and cause is not None:
            text = f"{type(cause).__name__}: {cause}"
            err.print(f"  [dim]cause:    [/]{_escape(text)}", soft_wrap=True, highlight=False)
            cause = cause.__cause__
    return error.exit_code


def _validations(result: RunResult) -> str:
    said = f"{len(result.validations)}; the model is that of step {result.model_step:,}"
    told = [one for one in result.validations if one.log_loss is not None]
    if told:
        losses = [one.log_loss for one in told if one.log_loss is not None]
        said += f"; log loss {losses[0]:.4f} first, {min(losses):.4f} best, {losses[-1]:.4f} last"
    return said


def _own(own: PartyQuality) -> str:
    if not own.examples:
        return "none"
    if own.log_loss is None:
        return f"{own.examples:,}: withheld, because they are fewer than limits.evaluation_minimum"
    parts = [f"{own.examples:,}: log loss {own.log_loss:.4f}"]
    parts += [f"AUC {own.auc:.4f}"] if own.auc is not None else []
    parts += [f"calibration {own.calibration:.3f}"] if own.calibration is not None else []
    return ", ".join(parts)


def _absence(absence: WorkerAbsence) -> str:
    end = "the end" if absence.stop is None else str(absence.stop)
    return f"{absence.worker}, from step {absence.start} to {end}"


def _escape(text: str) -> str:
    """Escapes markup and control characters in an error's text, which may be a stranger's."""
    return printable(text, None).replace("[", r"\[")


def _show(value: str | float) -> str:
    match value:
        case str():
            return value
        case int():
            return f"{value:,}"
        case _:
            return f"{value:,.4f}" if abs(value) < 10 else f"{value:,.1f}"
