"""Prepared examples as fixed-width binary records in memory, and batches of them.

A record is the label (float32, 0 or 1), n dense values (float32, log(x + 1), never negative) and m
global rows (int32). Every field has four bytes, so that records form a matrix and a batch is three
views of it. Records are in memory, or in a file that is read and checked piece by piece
(``example_files.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from typing_extensions import override

from coterie.arrays import FloatArray, IdArray, Int64Array
from coterie.contract import DataSection
from coterie.errors import MessageRefused

PIECE_ROWS = 1 << 14
"""Number of a file's records that are read and checked together."""


@dataclass(frozen=True)
class Batch:
    """A batch of b examples; the arrays are read-only views.

    Attributes:
        labels_b: 0 or 1, float32, shape (b,).
        dense_bn: log(x + 1) of the numeric columns, float32, shape (b, n).
        ids_bm: Global rows of the categorical columns, int32, shape (b, m).
    """

    labels_b: FloatArray
    dense_bn: FloatArray
    ids_bm: IdArray


def record_bytes(data: DataSection) -> int:
    """Bytes of one example."""
    return 4 * (1 + len(data.numeric) + len(data.categorical))


class Records(Protocol):
    """Storage of records."""

    @property
    def rows(self) -> int:
        """Number of records."""
        ...

    def read(self, start: int, stop: int) -> IdArray:
        """Records start .. stop - 1 as int32 words, shape (b, 1 + n + m), read-only; fewer at the end.

        Raises:
            DataSetDamaged: They have changed since they were checked.
        """
        ...

    def take(self, rows: Int64Array) -> IdArray:
        """Single records as int32 words, shape (b, 1 + n + m), in the order of ``rows``.

        Raises:
            DataSetDamaged: They are not what was checked.
        """
        ...


@dataclass(frozen=True)
class RecordsInMemory(Records):
    """Records as one array of int32 words, shape (rows, 1 + n + m)."""

    words: IdArray

    @property
    @override
    def rows(self) -> int:
        return int(self.words.shape[0])

    @override
    def read(self, start: int, stop: int) -> IdArray:
        return self.words[start:stop]

    @override
    def take(self, rows: Int64Array) -> IdArray:
        return self.words.take(rows, axis=0)


class Examples:
    """Examples in records.

    Args:
        records: The records, or all of them as int32 words, shape (rows, 1 + n + m).
        data: The data section that they were prepared under.
    """

    def __init__(self, records: Records | IdArray, data: DataSection) -> None:
        self._records: Records = (
            RecordsInMemory(records) if isinstance(records, np.ndarray) else records
        )
        self._dense = slice(1, 1 + len(data.numeric))
        self._ids = slice(1 + len(data.numeric), None)
        self.data = data

    @property
    def words(self) -> IdArray:
        """All records as int32 words, shape (rows, 1 + n + m); keeps them in memory."""
        return self._records.read(0, self.rows)

    def some_words(self, start: int, stop: int) -> IdArray:
        """Records start .. stop - 1 as int32 words, shape (b, 1 + n + m).

        Raises:
            DataSetDamaged: The file is not what was checked any more.
        """
        return self._records.read(start, stop)

    @property
    def rows(self) -> int:
        """Number of examples."""
        return self._records.rows

    def batch(self, start: int, stop: int) -> Batch:
        """Examples start .. stop - 1, fewer if there are fewer.

        Raises:
            DataSetDamaged: The file is not what was checked any more.
        """
        return self._batch(self._records.read(start, stop))

    def batch_of(self, rows: Int64Array) -> Batch:
        """Single examples, by number, in the order of ``rows``.

        Raises:
            DataSetDamaged: The file is not what was checked any more.
        """
        return self._batch(self._records.take(rows))

    def records(self, start: int, stop: int, step: int = 1) -> bytes:
        """The records of every ``step``-th example of start .. stop - 1, for the wire.

        Worker i of n holds the examples i, i + n, i + 2n, ...: ``records(i, rows, n)``, or piece by
        piece ``records(i + k * n, min(rows, i + (k + p) * n), n)`` with k counting in steps of p.
        """
        return self._records.read(start, stop)[::step].tobytes()

    def _batch(self, words: IdArray) -> Batch:
        floats = words.view("<f4")
        return Batch(floats[:, 0], floats[:, self._dense], words[:, self._ids])


class ExamplesBuilder:
    """Collects received records in memory and checks each of them.

    Args:
        data: The contract's data section.
        rows: Number of records that will be added. Memory for all is allocated at once, so the
            caller must bound it.
    """

    def __init__(self, data: DataSection, rows: int) -> None:
        self._data = data
        self._words = np.empty((rows, record_bytes(data) // 4), "<i4")
        self._filled = 0

    @property
    def missing(self) -> int:
        """Number of records that are still missing."""
        return int(self._words.shape[0]) - self._filled

    def add(self, records: bytes) -> None:
        """Takes the next records.

        Raises:
            MessageRefused: A record is incomplete, there are more than announced, or a value is out
                of bounds.
        """
        width = record_bytes(self._data)
        count, rest = divmod(len(records), width)
        if rest or count > self.missing:
            raise MessageRefused(
                "a piece of the examples was refused",
                expected=f"whole records of {width} bytes, at most {self.missing} of them",
                seen=f"{len(records)} bytes",
            )
        words = np.frombuffer(records, "<i4").reshape(-1, width // 4)
        if problem := find_bad_value(words, self._data, self._filled):
            raise MessageRefused(
                "a piece of the examples was refused", expected="values within bounds", seen=problem
            )
        self._words[self._filled : self._filled + count] = words
        self._filled += count

    def finish(self) -> Examples:
        """The examples, after every record was added.

        Raises:
            MessageRefused: Records are missing.
        """
        if self.missing:
            raise MessageRefused(
                "the examples are incomplete",
                expected=f"{self._words.shape[0]} records",
                seen=f"{self._filled}",
            )
        self._words.setflags(write=False)
        return Examples(self._words, self._data)


def examples_from_records(records: bytes, data: DataSection) -> Examples:
    """Examples in memory from all of their records at once.

    Raises:
        MessageRefused: A record is incomplete, or a value is out of bounds.
    """
    builder = ExamplesBuilder(data, len(records) // record_bytes(data))
    builder.add(records)
    return builder.finish()


def pack_records(labels_b: FloatArray, dense_bn: FloatArray, ids_bm: IdArray) -> IdArray:
    """Packs the parts of examples into records, int32 words of shape (b, 1 + n + m)."""
    parts = (labels_b[:, None].astype("<f4"), dense_bn.astype("<f4"))
    return np.hstack([part.view("<i4") for part in parts] + [ids_bm.astype("<i4")])


def find_bad_value(words: IdArray, data: DataSection, first: int) -> str | None:
    """The first group of fields in the records with a value out of bounds, or None.

    Args:
        words: Records as int32 words, shape (b, 1 + n + m).
        data: The data section with the columns' row ranges.
        first: Number of the first record, for the message.
    """
    floats, n = words.view("<f4"), len(data.numeric)
    labels, dense, ids = floats[:, 0], floats[:, 1 : 1 + n], words[:, 1 + n :]
    low = np.array(data.column_offsets, np.int64)
    high = low + np.array(data.table_rows, np.int64)
    for what, good in (
        ("a label that is neither 0 nor 1", (labels == 0) | (labels == 1)),
        ("a dense value that is negative or not finite", (dense >= 0) & np.isfinite(dense)),
        ("a row outside of its column's table", (ids >= low) & (ids < high)),
    ):
        if not good.all():
            bad = np.flatnonzero(~good.reshape(len(words), -1).all(axis=1))
            return f"{what} in record {first + int(bad[0])}"
    return None


def join_examples(several: Sequence[Examples]) -> Examples:
    """Concatenates examples of one data section in memory."""
    words = np.concatenate([examples.words for examples in several])
    words.setflags(write=False)
    return Examples(words, several[0].data)
