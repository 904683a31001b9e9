"""Scores a raw file: one probability per row, to a CSV or Parquet file, in bounded memory."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from coterie.criteo.compression import RawFile
from coterie.criteo.encoding import encode_rows
from coterie.criteo.layout import Layout
from coterie.criteo.reader import CriteoReader
from coterie.errors import EnvironmentUnfit, OutputInUse
from coterie.serving.scoring import Scorer, probabilities
from coterie.trained import TrainedModel

SUFFIXES = (".csv", ".parquet")
_SCHEMA = {"line": pl.Int64, "probability": pl.Float32}
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Predictions:
    """What was scored.

    Attributes:
        file: Columns ``line`` (1-based line of the raw file, int64) and ``probability`` (float32),
            in the raw file's order.
        rows: Rows scored.
        bad_rows: Rows skipped; the file has no line for them.
        bad_lines: The first hundred of them, with reasons.
        mean_probability: Mean of the probabilities; None without rows.
        model_digest: Of the model, 64 hex digits.
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
    label: str = "label",
    max_bad_rows: int = 0,
    progress: Progress = _no_progress,
) -> Predictions:
    """Scores every row of a raw file.

    Args:
        model: The model.
        raw: Rows in the contract's columns, with or without a label; as ``coterie prepare`` reads
            them. All rows are scored, whatever the contract's ``row_limit``.
        out: A new file, ``.csv`` or ``.parquet``; it is there, whole, if this succeeds.
        label: The label's name in the header, where there is one.
        max_bad_rows: So many bad rows are skipped.
        progress: Called as the work goes on.

    Raises:
        OutputInUse: ``out`` exists, or has another suffix.
        RawDataInvalid: The raw file has bad rows, is damaged, or does not name every column.
        EnvironmentUnfit: ``out`` cannot be written.
    """
    _check_output(out)
    data = model.contract.data.model_copy(update={"row_limit": None})
    file = RawFile(raw)
    reader = CriteoReader(
        file, data, layout=Layout(label, label_needed=False), max_bad_rows=max_bad_rows
    )
    scorer = Scorer(model)
    rows, total = 0, 0.0
    with _appearing(out) as csv, csv.open("wb") as target:
        pl.DataFrame(schema=_SCHEMA).write_csv(target)
        for block in reader.rows():
            scores = probabilities(scorer.logits(encode_rows(block, data)))
            table = pl.DataFrame({"line": block.lines_b, "probability": scores}, schema=_SCHEMA)
            table.write_csv(target, include_header=False)
            rows += len(scores)
            total += float(scores.sum(dtype=np.float64))
            progress("score", file.consumed, file.size)
    return Predictions(
        file=str(out),
        rows=rows,
        bad_rows=reader.bad.count,
        bad_lines=tuple(reader.bad.lines),
        mean_probability=total / rows if rows else None,
        model_digest=model.digest.hex(),
    )


def _check_output(out: Path) -> None:
    if out.suffix not in SUFFIXES:
        raise OutputInUse(
            f"{out} is no kind of file that predictions are written to",
            expected=" or ".join(SUFFIXES),
            seen=out.suffix or "no suffix",
            remedy="name the file so",
        )
    if out.exists() or out.is_symlink():
        raise OutputInUse(
            f"{out} exists",
            expected="a new file",
            seen="an existing one",
            remedy="choose another --out, or remove the file",
        )


@contextlib.contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """Gives a CSV file to fill beside ``out``; it becomes ``out`` if all goes well."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".predict-", dir=out.parent) as folder:
            csv = Path(folder, "predictions.csv")
            yield csv
            if out.suffix == ".parquet":
                table = Path(folder, "predictions.parquet")
                pl.scan_csv(csv, schema=_SCHEMA).sink_parquet(table)
            else:
                table = csv
            with table.open("rb") as file:
                os.fsync(file.fileno())
            table.rename(out)
    except OSError as error:
        raise EnvironmentUnfit(
            f"{out} cannot be written",
            expected="a writable directory with room for the file",
            seen=error.strerror or type(error).__name__,
            remedy="choose another --out, or make room",
        ) from error
