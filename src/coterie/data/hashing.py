"""Maps the id in a categorical cell to a row of the fused embedding table.

All parties must map an id to the same row without sharing a vocabulary, so rows are hashed. The
algorithm is part of the data format; another program repeats it in four lines:

1. A column's key is the first 16 bytes of SHA-256 over the ASCII text ``coterie id hash 1``, a
   zero byte, ``hash_seed`` as 8 bytes little-endian, and the column's name in UTF-8.
2. An id's hash is SipHash-2-4 under that key over the cell's bytes exactly as they are in the
   file: no case folding, no trimming. A missing cell is the empty string and is hashed like any
   other id.
3. row = 1 + hash mod (table_rows - 1), the hash being an unsigned 64-bit number. Row 0 of every
   column is its out-of-vocabulary row; no id hashes to it.
4. global row = the column's offset + row.

In TensorFlow, steps 2 and 3 are
``1 + tf.strings.to_hash_bucket_strong(cells, table_rows - 1, tensorflow_key(key))``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from coterie.arrays import IdArray, UInt64Array
from coterie.contract import DataSection
from coterie.data.siphash import PADDING, siphash24


def column_key(hash_seed: int, column: str) -> bytes:
    """The 16-byte SipHash key of one column."""
    text = b"coterie id hash 1\0" + hash_seed.to_bytes(8, "little") + column.encode()
    return hashlib.sha256(text).digest()[:16]


def tensorflow_key(key: bytes) -> tuple[int, int]:
    """A column's key as the two signed numbers that TensorFlow's strong hash takes."""
    return (
        int.from_bytes(key[:8], "little", signed=True),
        int.from_bytes(key[8:], "little", signed=True),
    )


def hash_strings(cells: Sequence[str], key: bytes) -> UInt64Array:
    """Hashes cells that are Python strings (step 2); shape (cells,)."""
    encoded = [cell.encode() for cell in cells]
    lengths = np.array([len(cell) for cell in encoded], np.int64)
    starts = np.cumsum(lengths) - lengths
    buffer = np.frombuffer(b"".join(encoded) + bytes(PADDING), np.uint8)
    return siphash24(buffer, starts, lengths, key)


def rows_of_hashes(hashes: UInt64Array, table_rows: int) -> IdArray:
    """Rows within a column's table (step 3), each in 1 .. table_rows - 1; same shape."""
    return (1 + (hashes % np.uint64(table_rows - 1)).astype(np.int64)).astype(np.int32)


def global_rows(cells: Sequence[str], data: DataSection, column: int) -> IdArray:
    """Global rows of one column's cells: the whole algorithm, for serving code.

    Args:
        cells: Ids as in the file; a missing id is the empty string.
        data: The contract's data section.
        column: Position in ``data.categorical``.

    Returns:
        Global rows, shape (cells,).
    """
    key = column_key(data.hash_seed, data.categorical[column])
    rows = rows_of_hashes(hash_strings(cells, key), data.table_rows[column])
    return rows + np.int32(data.column_offsets[column])
