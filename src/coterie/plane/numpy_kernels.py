"""The kernels in NumPy. Large arrays are processed in blocks that fit a processor's cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from typing_extensions import override

from coterie.arrays import BoolArray, ByteArray, FloatArray, IdArray, UInt32Array
from coterie.plane.kernels import Differences, Factors, Kernels, NotCanonical

_BLOCK = 1 << 15
_ESCAPE = -(1 << 15)


class NumpyKernels(Kernels):
    """The kernels in NumPy."""

    name = "NumPy"
    packs = False

    @override
    def sum_dense(self, pushes: Sequence[FloatArray], factors: Factors) -> FloatArray:
        with np.errstate(over="ignore", invalid="ignore"):  # the caller looks
            total = pushes[0].copy() if factors.equal else pushes[0] * factors.each[0]
            for push, factor in zip(pushes[1:], factors.each[1:], strict=True):
                total += push if factors.equal else push * factor
            if factors.equal:
                total *= factors.each[0]
        return total

    @override
    def sum_rows(
        self,
        pushes: Sequence[FloatArray],
        places: Sequence[IdArray],
        rows: int,
        factors: Factors,
    ) -> FloatArray:
        total = np.zeros((rows, pushes[0].shape[1]), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # the caller looks
            for push, place, factor in zip(pushes, places, factors.each, strict=True):
                total[place] += push if factors.equal else push * factor
            if factors.equal:
                total *= factors.each[0]
        return total

    @override
    def unique(self, ids: IdArray) -> tuple[IdArray, IdArray]:
        # Sorting (id, position) as one number is stable whatever the sort, and sorts fastest.
        shift = max(ids.size - 1, 1).bit_length()
        keys = np.sort((ids.astype(np.int64) << shift) | np.arange(ids.size))
        order = keys & ((1 << shift) - 1)
        sorted_ids = (keys >> shift).astype(np.int32)
        is_first = np.empty(ids.size, np.bool_)
        is_first[:1] = True
        np.not_equal(sorted_ids[1:], sorted_ids[:-1], out=is_first[1:])
        inverse = np.empty(ids.size, np.int32)
        inverse[order] = np.cumsum(is_first, dtype=np.int32) - 1
        return sorted_ids[is_first], inverse

    @override
    def sum_by_row(self, gradient_ed: FloatArray, inverse_e: IdArray, rows: int) -> FloatArray:
        dim = gradient_ed.shape[1]
        sums_ud = np.empty((rows, dim), np.float32)
        for column in range(dim):
            # bincount adds one by one; reduceat is slower, and NumPy does not define its order
            sums_ud[:, column] = np.bincount(inverse_e, gradient_ed[:, column], minlength=rows)
        return sums_ud

    @override
    def dense_sgd(self, parameters: FloatArray, gradient: FloatArray, rate: np.float32) -> None:
        for part in _blocks(parameters.size):
            g = gradient[part]
            g *= rate
            parameters[part] -= g

    @override
    def dense_adagrad(
        self,
        parameters: FloatArray,
        sums: FloatArray,
        gradient: FloatArray,
        rate: np.float32,
        epsilon: np.float32,
    ) -> None:
        scratch = np.empty(min(parameters.size, _BLOCK), np.float32)
        for part in _blocks(parameters.size):
            g, s = gradient[part], sums[part]
            root = scratch[: g.size]
            np.multiply(g, g, out=root)
            s += root
            np.sqrt(s, out=root)
            root += epsilon
            g *= rate
            g /= root
            parameters[part] -= g

    @override
    def row_sgd(
        self, table: FloatArray, rows: IdArray, gradient: FloatArray, rate: np.float32
    ) -> None:
        change = gradient * rate
        table[rows] = table.take(rows, axis=0) - change

    @override
    def row_adagrad(
        self,
        table: FloatArray,
        state: FloatArray,
        rows: IdArray,
        gradient: FloatArray,
        *,
        rate: np.float32,
        initial: np.float32,
        epsilon: np.float32,
    ) -> None:
        squares = gradient * gradient
        if state.shape[1] < table.shape[1]:
            squares = squares.mean(axis=1, keepdims=True, dtype=np.float32)
        sums = state.take(rows, axis=0)
        sums += squares
        state[rows] = sums
        sums += initial
        np.sqrt(sums, out=sums)
        sums += epsilon
        change = gradient * rate
        change /= sums
        table[rows] = table.take(rows, axis=0) - change

    @override
    def pack_zeros(self, numbers: FloatArray) -> tuple[UInt32Array, ByteArray]:
        bits = numbers.view(np.uint32)
        kept = bits != 0
        return bits[kept], np.packbits(kept, bitorder="little")

    @override
    def unpack_zeros(self, kept: UInt32Array, mask: ByteArray, size: int) -> FloatArray:
        places = _places(mask, size)
        if np.count_nonzero(places) != kept.size or not kept.all():
            raise NotCanonical
        bits = np.zeros(size, np.uint32)
        bits[places] = kept
        return bits.view(np.float32)

    @override
    def pack_differences(self, old: FloatArray, new: FloatArray) -> Differences:
        differences = new.view(np.int32) - old.view(np.int32)
        changed = differences != 0
        differences = differences[changed]
        narrow = differences.astype(np.int16)
        large = (narrow != differences) | (narrow == _ESCAPE)
        narrow[large] = _ESCAPE
        mask = np.packbits(changed, bitorder="little")
        return Differences(differences[large].view(np.uint32), narrow, mask)

    @override
    def unpack_differences(self, old: FloatArray, differences: Differences) -> FloatArray:
        narrow, wide = differences.narrow, differences.wide.view(np.int32)
        places, large = _places(differences.mask, old.size), narrow == _ESCAPE
        fits = (wide > _ESCAPE) & (wide < -_ESCAPE)
        if np.count_nonzero(places) != narrow.size or not narrow.all() or fits.any():
            raise NotCanonical
        if np.count_nonzero(large) != wide.size:
            raise NotCanonical
        changes = narrow.astype(np.int32)
        changes[large] = wide
        bits = old.view(np.int32).copy()
        bits[places] += changes
        return bits.view(np.float32)


def _places(mask: ByteArray, size: int) -> BoolArray:
    """Where a mask's bits are set, bool [size]."""
    if mask.size != -(-size // 8) or (size % 8 and mask[-1] >> size % 8):
        raise NotCanonical
    return np.unpackbits(mask, count=size, bitorder="little").view(np.bool_)


def _blocks(size: int) -> Iterator[slice[int, int, None]]:
    for start in range(0, size, _BLOCK):
        yield slice(start, start + _BLOCK)
