"""Writes raw files in Criteo's format with a known, learnable signal, for trials and tests.

The file depends only on rows and seed (and on numpy's random streams). It is written in blocks, so
that only the disk bounds its size.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import polars as pl
import zstandard

from coterie.arrays import BoolArray, Int64Array
from coterie.data.prepare.synthetic_model import CATEGORICAL, NUMERIC, Draw, World
from coterie.errors import OutputInUse
from coterie.files import made_new, unwritable

_BLOCK_ROWS = 1 << 16
_AUC_BINS = 10_000


@dataclass(frozen=True)
class SynthesizeReport:
    """The result of a synthesis.

    Attributes:
        file: The raw file.
        rows: Its rows.
        positives: Rows with label 1.
        bayes_auc: ROC AUC of the true probabilities on these rows; no model exceeds it by more than
            chance.
    """

    file: Path
    rows: int
    positives: int
    bayes_auc: float


def _no_progress(_stage: str, _done: int, _total: int) -> None:
    pass


def synthesize(
    out: Path,
    *,
    rows: int,
    seed: int,
    progress: Callable[[str, int, int], None] = _no_progress,
) -> SynthesizeReport:
    """Writes a synthetic raw file.

    Args:
        out: The file; ``.gz``, ``.xz`` and ``.zst`` are compressed.
        rows: Number of rows.
        seed: Seed of the synthetic model and of the draw; non-negative.
        progress: Called from time to time.

    Raises:
        OutputInUse: The file exists.
        EnvironmentUnfit: It cannot be written.
    """
    world = World(seed)
    ids = [_id_texts(column, shape.ids) for column, shape in enumerate(CATEGORICAL)]
    histogram = np.zeros((2, _AUC_BINS), np.int64)
    with _new_file(out) as file:
        for block, first in enumerate(range(0, rows, _BLOCK_ROWS)):
            # Draw whole blocks, so that a longer file begins with a shorter one's rows.
            draw = world.draw(block, _BLOCK_ROWS)
            count = min(_BLOCK_ROWS, rows - first)
            file.write(_lines(draw, count, ids))
            bins = (draw.probabilities_b[:count] * _AUC_BINS).astype(np.int64)
            for label in (0, 1):
                some = bins[draw.labels_b[:count] == label]
                histogram[label] += np.bincount(some, minlength=_AUC_BINS)
            progress("write", first + count, rows)
    return SynthesizeReport(out, rows, int(histogram[1].sum()), _auc(histogram))


def _id_texts(column: int, count: int) -> pl.Series:
    """The ids of a column as eight hex digits, like Criteo's; distinct within the column."""
    # An odd factor permutes the 32-bit numbers.
    start = int.from_bytes(hashlib.sha256(f"synthetic C{column + 1}".encode()).digest()[:4], "big")
    return pl.Series([f"{(start + rank * 0x9E3779B1) % 2**32:08x}" for rank in range(count)])


def _lines(draw: Draw, count: int, ids: list[pl.Series]) -> bytes:
    features = draw.features
    columns = [pl.Series(draw.labels_b[:count].astype(np.int64))]
    columns += [
        _absent(pl.Series(features.numbers_bn[:count, i]), features.numbers_missing_bn[:count, i])
        for i in range(len(NUMERIC))
    ]
    columns += [
        _absent(
            texts.gather(pl.Series(features.ranks_bm[:count, i])),
            features.ids_missing_bm[:count, i],
        )
        for i, texts in enumerate(ids)
    ]
    table = pl.DataFrame([column.alias(str(i)) for i, column in enumerate(columns)])
    target = io.BytesIO()
    table.write_csv(target, include_header=False, separator="\t", quote_style="never")
    return target.getvalue()


def _absent(cells: pl.Series, missing: BoolArray) -> pl.Series:
    return cells.zip_with(pl.Series(~missing), pl.Series([None], dtype=cells.dtype))


def _auc(histogram: Int64Array) -> float:
    """ROC AUC from score counts of negatives and positives; ties within a bin count half."""
    negatives, positives = histogram.astype(np.float64)
    below = np.cumsum(negatives) - negatives
    pairs = float(negatives.sum() * positives.sum())
    return float((positives * (below + negatives / 2)).sum()) / pairs if pairs else 0.5


@contextlib.contextmanager
def _new_file(out: Path) -> Iterator[BinaryIO]:
    """A new file, compressed by its suffix, that appears when it is complete."""
    if out.exists() or out.is_symlink():
        raise OutputInUse.exists(out)
    try:
        with (
            made_new(out) as path,
            path.open("xb") as file,
            _compressor(out.suffix, file) as target,
        ):
            yield target
    except OSError as error:
        raise unwritable(str(out), error) from error


def _compressor(suffix: str, file: BinaryIO) -> contextlib.AbstractContextManager[BinaryIO]:
    if suffix == ".gz":
        # No name and no time in the header, so that the same rows give the same bytes.
        stream = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6)
        return cast("contextlib.AbstractContextManager[BinaryIO]", stream)
    if suffix == ".xz":
        return cast("contextlib.AbstractContextManager[BinaryIO]", lzma.LZMAFile(file, "wb"))
    if suffix == ".zst":
        return zstandard.ZstdCompressor(write_checksum=True).stream_writer(file, closefd=False)
    return contextlib.nullcontext(file)
