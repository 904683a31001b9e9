"""Which shard holds which rows: blocks of rows hash to slices; a shard owns every n-th slice.

    block = row >> 6                      64 neighbouring rows stay together
    slice = SplitMix64(block) >> 56       256 slices, whatever the number of shards
    shard = slice mod shards

Sums over rows that affect results (norms, the model digest) are taken per slice in the order of
rows, then over slices in their order. So they are the same, bit for bit, for any number of shards.
"""

from __future__ import annotations

import hashlib

import numpy as np

from coterie.arrays import ByteArray, FloatArray, IdArray, Int64Array
from coterie.parameters.initial import mix

SLICES = 256
_BLOCK_BITS = 6


def slices_of(rows: IdArray) -> ByteArray:
    """The slice of each global row.

    Args:
        rows: int32 [n].

    Returns:
        uint8 [n].
    """
    blocks = (rows >> _BLOCK_BITS).astype(np.uint64)
    return (mix(blocks) >> np.uint64(56)).astype(np.uint8)


class SliceDigests:
    """SHA-256 of every slice, over its trained rows in global order: row (int32), values (float32).

    Args:
        dim: Width of a row.
    """

    def __init__(self, dim: int) -> None:
        self._record = np.dtype([("row", "<i4"), ("values", "<f4", (dim,))])
        self._digests = [hashlib.sha256(b"coterie slice 1\0") for _ in range(SLICES)]

    def update(self, rows: IdArray, values: FloatArray) -> None:
        """Adds rows.

        Args:
            rows: int32 [n], ascending, and above all earlier ones.
            values: float32 [n, dim].
        """
        slices = slices_of(rows)
        order = np.argsort(slices, kind="stable")
        records = np.empty(rows.size, self._record)
        records["row"] = rows[order]
        records["values"] = values[order]
        ends = np.searchsorted(slices[order], np.arange(SLICES), side="right").tolist()
        for index, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if end > begin:
                self._digests[index].update(records[begin:end].tobytes())

    def digests(self) -> list[bytes]:
        """The digests of all slices, in their order; 32 bytes each."""
        return [digest.digest() for digest in self._digests]


class Sharding:
    """The distribution of a table's rows to shards, and each shard's places for its rows.

    Args:
        rows: Rows of the whole table.
        shards: Number of shards.
    """

    def __init__(self, rows: int, shards: int) -> None:
        self.rows = rows
        self.shards = shards
        blocks = np.arange(-(-rows >> _BLOCK_BITS), dtype=np.int64)
        owners = mix(blocks.astype(np.uint64)) >> np.uint64(56)
        self._owner_of_block = (owners % np.uint64(shards)).astype(np.uint8)

    def owners(self, rows: IdArray) -> ByteArray:
        """The shard that holds each global row, uint8 [n]."""
        owners: ByteArray = self._owner_of_block[rows >> _BLOCK_BITS]
        return owners

    def places(self, shard: int) -> RowPlaces:
        """The places at which a shard keeps its rows."""
        return RowPlaces(self._owner_of_block, self.rows, shard)


class RowPlaces:
    """A shard's own rows, packed: its blocks one after the other, in global order.

    Args:
        owner_of_block: uint8 [blocks], from the sharding.
        rows: Rows of the whole table.
        shard: The shard.

    Attributes:
        count: Number of rows that the shard has room for.
    """

    def __init__(self, owner_of_block: ByteArray, rows: int, shard: int) -> None:
        self._blocks = np.flatnonzero(owner_of_block == shard)
        self._whole = self._blocks.size == owner_of_block.size
        self._index_of_block = np.full(owner_of_block.size, -1, np.int32)
        self._index_of_block[self._blocks] = np.arange(self._blocks.size, dtype=np.int32)
        self.count = rows if self._whole else int(self._blocks.size) << _BLOCK_BITS

    def of(self, rows: IdArray) -> IdArray:
        """Places of global rows that this shard holds.

        Args:
            rows: int32 [n].

        Returns:
            int32 [n]; negative if another shard holds the row.
        """
        if self._whole:
            return rows
        within = rows & ((1 << _BLOCK_BITS) - 1)
        places: IdArray = (self._index_of_block[rows >> _BLOCK_BITS] << _BLOCK_BITS) | within
        return places

    def rows_at(self, places: Int64Array) -> IdArray:
        """The global rows at places, int32 [n]: the inverse of ``of``; ascending stays ascending."""
        if self._whole:
            return places.astype(np.int32)
        within = places & ((1 << _BLOCK_BITS) - 1)
        rows: Int64Array = (self._blocks[places >> _BLOCK_BITS] << _BLOCK_BITS) | within
        return rows.astype(np.int32)
