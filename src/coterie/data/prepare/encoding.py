"""Converts parsed cells to a model's inputs: log features and global rows."""

from __future__ import annotations

import numpy as np

from coterie.arrays import FloatArray, Int64Array
from coterie.contract import DataSection
from coterie.data.examples import Batch
from coterie.data.hashing import column_key, rows_of_hashes
from coterie.data.prepare.numeric import MISSING
from coterie.data.prepare.reader import RawRows
from coterie.data.siphash import siphash24


def log_features(numeric_bn: Int64Array, data: DataSection) -> FloatArray:
    """log(x + 1) in double precision, rounded to float32; negative and missing cells are 0.

    Args:
        numeric_bn: Numeric cells, in units of each column's last place.
        data: The contract's data section.
    """
    assert MISSING < 0
    numbers_bn = np.maximum(numeric_bn, 0).astype(np.float64) / np.array(data.units, np.float64)
    return np.log1p(numbers_bn).astype(np.float32)


def encode_rows(raw: RawRows, data: DataSection) -> Batch:
    """Encodes rows for scoring: every id has its own row, as in the validation and test parts.

    Args:
        raw: Parsed rows.
        data: The contract's data section.
    """
    ids_bm = np.empty(raw.starts_bm.shape, np.int32)
    columns = zip(data.categorical, data.column_offsets, data.table_rows, strict=True)
    for i, (name, offset, table_rows) in enumerate(columns):
        key = column_key(data.hash_seed, name)
        hashes = siphash24(raw.text, raw.starts_bm[:, i], raw.lengths_bm[:, i], key)
        ids_bm[:, i] = rows_of_hashes(hashes, table_rows) + np.int32(offset)
    return Batch(raw.labels_b.astype(np.float32), log_features(raw.numeric_bn, data), ids_bm)
