"""Column statistics of one party's training rows, for the manifest and for rare ids.

Ids are distinguished by their 64-bit hashes. Among Kaggle's 33 million distinct ids, the chance
that any two of a column share a hash is below one in a million. Memory grows with the distinct ids,
about 24 bytes each, and holds at most a million uncounted cells per column beside them.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from coterie.arrays import BoolArray, Int64Array, UInt64Array
from coterie.contract import DataSection
from coterie.data.manifest import CategoricalColumn, NumericColumn
from coterie.data.prepare.numeric import MISSING
from coterie.data.prepare.staging import StagedRows, missing_hashes

_UNCOUNTED = 1 << 20


class TrainingStatistics:
    """Gathers statistics over staged rows.

    Args:
        data: The contract's data section.
    """

    def __init__(self, data: DataSection) -> None:
        self._data = data
        self._numeric = [_NumericCounter(name) for name in data.numeric]
        self._ids = [_IdCounter() for _ in data.categorical]

    def add(self, rows: StagedRows) -> None:
        """Counts some training rows."""
        for i, numeric in enumerate(self._numeric):
            numeric.add(rows.numeric_bn[:, i])
        for i, ids in enumerate(self._ids):
            ids.add(rows.hashes_bm[:, i])

    def numeric(self) -> tuple[NumericColumn, ...]:
        """Statistics of the numeric columns."""
        return tuple(counter.column() for counter in self._numeric)

    def categorical(self) -> tuple[CategoricalColumn, ...]:
        """Statistics of the categorical columns."""
        columns = []
        for name, counter, missing in zip(
            self._data.categorical, self._ids, missing_hashes(self._data), strict=True
        ):
            hashes, counts = counter.counted()
            rare = counts < self._data.min_count
            columns.append(
                CategoricalColumn(
                    name=name,
                    unique=len(hashes),
                    missing=int(counts[hashes == missing].sum()),
                    rare_ids=int(np.count_nonzero(rare)),
                    rare_share=int(counts[rare].sum()) / max(1, int(counts.sum())),
                )
            )
        return tuple(columns)

    def frequent_hashes(self) -> list[UInt64Array]:
        """Per categorical column the hashes of the ids seen at least ``min_count`` times, sorted."""
        frequent = []
        for counter in self._ids:
            hashes, counts = counter.counted()
            frequent.append(hashes[counts >= self._data.min_count])
        return frequent


def among(hashes: UInt64Array, sorted_hashes: UInt64Array) -> BoolArray:
    """Whether each hash is in a sorted array; shape of ``hashes``."""
    if not len(sorted_hashes):
        return np.zeros(hashes.shape, bool)
    places = np.searchsorted(sorted_hashes, hashes)
    found: BoolArray = sorted_hashes[np.minimum(places, len(sorted_hashes) - 1)] == hashes
    return found


class _NumericCounter:
    def __init__(self, name: str) -> None:
        self._name = name
        self._count = self._missing = self._negative = 0
        self._sum = 0.0
        self._bounds: tuple[int, int] | None = None

    def add(self, cells: Int64Array) -> None:
        present = cells[cells != MISSING]
        self._missing += len(cells) - len(present)
        if not len(present):
            return
        low, high = int(present.min()), int(present.max())
        if self._bounds:
            low, high = min(low, self._bounds[0]), max(high, self._bounds[1])
        self._bounds = low, high
        self._count += len(present)
        self._negative += int(np.count_nonzero(present < 0))
        self._sum += float(present.astype(np.float64).sum())

    def column(self) -> NumericColumn:
        low, high = self._bounds or (None, None)
        return NumericColumn(
            name=self._name,
            minimum=low,
            maximum=high,
            mean=self._sum / self._count if self._count else None,
            missing=self._missing,
            negative=self._negative,
        )


class _IdCounter:
    def __init__(self) -> None:
        self._hashes = np.empty(0, np.uint64)
        self._counts = np.empty(0, np.uint64)
        self._uncounted: list[UInt64Array] = []
        self._uncounted_cells = 0

    def add(self, hashes: UInt64Array) -> None:
        self._uncounted.append(hashes.copy())
        self._uncounted_cells += len(hashes)
        if self._uncounted_cells >= _UNCOUNTED:
            self.counted()

    def counted(self) -> tuple[UInt64Array, UInt64Array]:
        """Distinct hashes, sorted, and how often each occurred."""
        if self._uncounted:
            table = pl.DataFrame(
                {
                    "hash": np.concatenate([self._hashes, *self._uncounted]),
                    "count": np.concatenate(
                        [self._counts, np.ones(self._uncounted_cells, np.uint64)]
                    ),
                }
            )
            table = table.group_by("hash").agg(pl.col("count").sum()).sort("hash")
            self._hashes = table["hash"].to_numpy().astype(np.uint64)
            self._counts = table["count"].to_numpy().astype(np.uint64)
            self._uncounted, self._uncounted_cells = [], 0
        return self._hashes, self._counts
