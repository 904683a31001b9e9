"""Scores a raw file into a CSV or Parquet file, one probability per row, in bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from coterie.arrays import FloatArray, Int64Array
from coterie.data.prepare.compression import RawFile, RawSource
from coterie.data.prepare.data_frames import Frame, RawFrame
from coterie.data.prepare.encoding import encode_rows
from coterie.data.prepare.layout import Layout
from coterie.data.prepare.reader import CriteoReader, RawRows
from coterie.errors import OutputInUse, UsageError
from coterie.files import made_new, unwritable
from coterie.serving.scoring import Scorer, probabilities
from coterie.trained.trained_model import TrainedModel

SUFFIXES = (".csv", ".parquet")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Predictions:
    """A record of what was scored.

    Attributes:
        file: Columns ``line`` (1-based line of the raw file, int64), those that were kept (text), and
            ``probability`` (float32), in the raw file's order.
        rows: Number of rows scored.
        bad_rows: Number of rows skipped; the file has no line for them.
        bad_lines: The first hundred of the skipped rows, with reasons.
        mean_probability: Mean of the probabilities; None if no row was scored.
        model_digest: The model's digest, 64 hex digits.
    """

    file: str
    rows: int
    bad_rows: int
    bad_lines: tuple[str, ...]
    mean_probability: float | None
    model_digest: str

    def to_dict(self) -> dict[str, object]:
        """The record for JSON."""
        return asdict(self)


def _no_progress(_stage: str, _done: int, _total: int) -> None:
    pass


def predict(
    model: TrainedModel,
    raw: Path,
    out: Path,
    *,
    layout: Layout | None = None,
    max_bad_rows: int = 0,
    progress: Progress = _no_progress,
) -> Predictions:
    """Scores every row of a raw file.

    Args:
        model: The model.
        raw: Rows in the contract's columns, with or without a label; as ``coterie prepare`` reads
            them. All rows are scored, whatever the contract's ``row_limit``.
        out: A new file, ``.csv`` or ``.parquet``. It appears only when it is complete.
        layout: Known properties of the raw file. Its kept columns stand in ``out`` between line and
            probability.
        max_bad_rows: Bad rows that are skipped at most.
        progress: Called from time to time while rows are scored.

    Raises:
        OutputInUse: ``out`` exists, or has another suffix.
        RawDataInvalid: The raw file has bad rows, is damaged, or does not name every column.
        UsageError: A kept column has the name of one of the columns of ``out``.
        EnvironmentUnfit: ``out`` cannot be written.
    """
    _check_output(out)
    file = RawFile(raw)
    scored = _Scored(model, file, layout or Layout(), max_bad_rows)
    schema = _schema(scored.layout.kept)
    rows, total = 0, 0.0
    with _appearing(out, schema) as csv, csv.open("wb") as target:
        pl.DataFrame(schema=schema).write_csv(target)
        for block, scores in scored.blocks():
            _table(block, block.lines_b, scores, schema).write_csv(target, include_header=False)
            rows += len(scores)
            total += float(scores.sum(dtype=np.float64))
            progress("score", file.consumed, file.size)
    return Predictions(
        file=str(out),
        rows=rows,
        bad_rows=scored.reader.bad.count,
        bad_lines=tuple(scored.reader.bad.lines),
        mean_probability=total / rows if rows else None,
        model_digest=model.digest.hex(),
    )


def predict_frame(
    model: TrainedModel,
    raw: Path | Frame,
    *,
    layout: Layout | None = None,
    max_bad_rows: int = 0,
) -> pl.DataFrame:
    """Scores every row of a raw file or of a frame, in memory.

    Args:
        model: The model.
        raw: As for :func:`predict`; or a frame of polars or pandas, whose cells are read in the dialect ``table``.
        layout: Known properties of the rows.
        max_bad_rows: Bad rows that are skipped at most; the result lacks them.

    Returns:
        The columns ``line`` (of a file, from 1) or ``row`` (of a frame, from 0), the kept ones as text, and
        ``probability``.

    Raises:
        RawDataInvalid: There are more bad rows, or a column is missing.
        UsageError: A kept column has the name of one of the result's own columns.
    """
    layout, first, count = layout or Layout(), 0, "line"
    source: RawSource
    if isinstance(raw, Path):
        source = RawFile(raw)
    else:
        layout, first, count = replace(layout, dialect="table"), 2, "row"
        source = RawFrame(raw, model.contract.data, layout)
    schema = _schema(layout.kept, count)
    scored = _Scored(model, source, layout, max_bad_rows)
    tables = [
        _table(block, block.lines_b - first, scores, schema) for block, scores in scored.blocks()
    ]
    return pl.concat([pl.DataFrame(schema=schema), *tables])


class _Scored:
    """Reads rows and scores them.

    Attributes:
        layout: The layout by which the source is read.
        reader: The reader of the source.
    """

    def __init__(
        self, model: TrainedModel, source: RawSource, layout: Layout, max_bad_rows: int
    ) -> None:
        self._model = model
        self._data = model.contract.data.model_copy(update={"row_limit": None})
        self.layout = replace(layout, label_needed=False)
        self.reader = CriteoReader(
            source, self._data, layout=self.layout, max_bad_rows=max_bad_rows
        )

    def blocks(self) -> Iterator[tuple[RawRows, FloatArray]]:
        scorer = Scorer(self._model)
        for block in self.reader.rows():
            yield block, probabilities(scorer.logits(encode_rows(block, self._data)))


def _schema(kept: Sequence[str], count: str = "line") -> dict[str, type[pl.DataType]]:
    names = (count, *kept, "probability")
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise UsageError(
            "two columns of the predictions would be called the same",
            expected=f"columns to keep that are named once, and not {count} or probability",
            seen=", ".join(twice),
            remedy="rename the column in the raw file, or keep another one",
        )
    return {count: pl.Int64, **dict.fromkeys(kept, pl.String), "probability": pl.Float32}


def _table(
    block: RawRows,
    numbers: Int64Array,
    scores: FloatArray,
    schema: dict[str, type[pl.DataType]],
) -> pl.DataFrame:
    count, *kept, _ = schema
    cells = {name: [row[i] for row in block.kept] for i, name in enumerate(kept)}
    return pl.DataFrame({count: numbers, **cells, "probability": scores}, schema=schema)


def _check_output(out: Path) -> None:
    if out.suffix not in SUFFIXES:
        raise OutputInUse(
            f"{out} is no kind of file that predictions are written to",
            expected=" or ".join(SUFFIXES),
            seen=out.suffix or "no suffix",
            remedy="name the file so",
        )
    if out.exists() or out.is_symlink():
        raise OutputInUse.exists(out)


@contextlib.contextmanager
def _appearing(out: Path, schema: dict[str, type[pl.DataType]]) -> Iterator[Path]:
    """Opens a temporary CSV file beside ``out``, which replaces ``out`` on success."""
    try:
        with made_new(out) as table:
            csv = table.with_name("predictions") if out.suffix == ".parquet" else table
            yield csv
            if csv != table:
                # Polars is given open files: it takes no path that is not UTF-8.
                with csv.open("rb") as source, table.open("wb") as target:
                    rows = pl.scan_csv(source, schema=schema, empty_string_is_null=False)
                    rows.sink_parquet(target)
    except OSError as error:
        raise unwritable(str(out), error) from error
