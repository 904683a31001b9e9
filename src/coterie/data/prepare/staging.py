"""Parsed rows on disk, between reading the raw file once and writing the data set.

The split is known only at the end of the file, and rare ids only after the training rows were
counted. So the raw file is parsed once into a temporary matrix of 64-bit words (label, numeric
cells, id hashes): 8 (1 + n + m) bytes per row, 320 for Criteo's 39 columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from coterie.arrays import FloatArray, Int64Array, UInt64Array
from coterie.contract import DataSection
from coterie.data.hashing import column_key, hash_strings
from coterie.data.prepare.encoding import log_features
from coterie.data.prepare.reader import RawRows
from coterie.data.siphash import siphash24

_ROWS_AT_A_TIME = 1 << 16


@dataclass(frozen=True)
class StagedRows:
    """A piece of the staged matrix, b rows.

    Attributes:
        labels_b: 0 or 1, int64, shape (b,).
        numeric_bn: Numeric cells, int64, ``MISSING`` where empty, shape (b, n).
        hashes_bm: Id hashes, uint64, shape (b, m).
    """

    labels_b: Int64Array
    numeric_bn: Int64Array
    hashes_bm: UInt64Array

    def dense(self, data: DataSection) -> FloatArray:
        """The dense values for a model, shape (b, n)."""
        return log_features(self.numeric_bn, data)


class StagingWriter:
    """Appends parsed rows to the staging file.

    Args:
        file: Opened for writing, empty.
        data: The contract's data section.

    Attributes:
        rows: Rows written so far.
    """

    def __init__(self, file: BinaryIO, data: DataSection) -> None:
        self._file = file
        self._keys = [column_key(data.hash_seed, name) for name in data.categorical]
        self.rows = 0

    def append(self, raw: RawRows) -> None:
        """Hashes the ids of parsed rows and writes them."""
        count, numeric = raw.numeric_bn.shape
        words = np.empty((count, 1 + numeric + len(self._keys)), np.int64)
        words[:, 0] = raw.labels_b
        words[:, 1 : 1 + numeric] = raw.numeric_bn
        for i, key in enumerate(self._keys):
            hashes = siphash24(raw.text, raw.starts_bm[:, i], raw.lengths_bm[:, i], key)
            words[:, 1 + numeric + i] = hashes.view(np.int64)
        self._file.write(words.data)
        self.rows += count


class Staging:
    """Reads the staging file by row numbers.

    Args:
        path: The file, complete.
        data: The contract's data section.
    """

    def __init__(self, path: Path, data: DataSection) -> None:
        width = 1 + len(data.numeric) + len(data.categorical)
        self._words = np.memmap(path, np.int64, mode="r").reshape(-1, width)
        self._numeric = len(data.numeric)

    def read(self, rows: range) -> Iterator[StagedRows]:
        """The rows in pieces."""
        for first in range(0, len(rows), _ROWS_AT_A_TIME):
            some = rows[first : first + _ROWS_AT_A_TIME]
            words = np.array(self._words[some.start : some.stop : some.step])
            yield StagedRows(
                words[:, 0],
                words[:, 1 : 1 + self._numeric],
                words[:, 1 + self._numeric :].view(np.uint64),
            )


def missing_hashes(data: DataSection) -> UInt64Array:
    """Each categorical column's hash of the empty cell, shape (m,)."""
    return np.concatenate(
        [hash_strings([""], column_key(data.hash_seed, name)) for name in data.categorical]
    )
