"""Codings of gradients with fewer bits: bfloat16, int8 in blocks, and the largest values only.

All are pure functions of their arguments, in float32 arithmetic that gives the same bits everywhere.
Growth of a local optimizer's state, which follows the gradient in every array, is sent as bfloat16
in all of them: that keeps its sign and its first two or three digits, so that no sum of squares
shrinks.

Dense values are sent without those that are zero, where that is shorter: the others, then a mask as in
``plane/packing.py``. So units that are dead, and what rounds to zero, take a bit each.
"""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from coterie.arrays import ByteArray, FloatArray, Int8Array, IntpArray, UInt16Array
from coterie.ps.wire.frames import Octets, octets_of
from coterie.ps.wire.push_coding import DENSE, ROWS, finite, finite_floats, refused

BLOCK = 256
"""Dense values that share a scale: the scales are a sixty-fourth of the message."""

_LARGEST = 127
_GAP = 255
_COUNT_BYTES = 4


class Bfloat16Coding:
    """Every value rounded to the nearest bfloat16, half to even.

    Args:
        dense: Values of the dense gradient, what sums grew by included.
        width: Values of a row, what its state grew by included.
    """

    def __init__(self, dense: int, width: int) -> None:
        self._dense = dense
        self._width = width

    def encode_dense(self, dense_p: FloatArray) -> Octets:
        """Codes the dense gradient."""
        return without_zeros(to_bfloat16(dense_p))

    def decode_dense(self, octets: Octets) -> FloatArray:
        """Decodes the dense gradient."""
        bits = np.zeros(self._dense, "<u2")
        with_zeros(octets, bits)
        return finite(from_bfloat16(bits), DENSE)

    def encode_rows(self, rows_ud: FloatArray) -> Octets:
        """Codes the gradients of rows."""
        return octets_of(to_bfloat16(rows_ud))

    def decode_rows(self, octets: Octets, count: int) -> FloatArray:
        """Decodes the gradients of ``count`` rows."""
        return _bfloat16(octets, count * self._width, ROWS).reshape(count, self._width)


class Int8Coding:
    """A float32 scale for each block of dense values, and for each row; then the values as int8.

    On the wire: all scales, all values, then what state grew by as bfloat16.

    Args:
        dense: Values of the dense gradient.
        sums: Sums that a local optimizer keeps beside them.
        dim: Values of a row's gradient.
        width: Values of a row's state.
    """

    def __init__(self, dense: int, sums: int, dim: int, width: int) -> None:
        self._dense, self._sums = dense, sums
        self._dim, self._width = dim, width

    def encode_dense(self, dense_p: FloatArray) -> Octets:
        """Codes the dense gradient."""
        gradient_p, grown_s = np.split(dense_p, [self._dense])
        scales, values = to_int8(_blocks(gradient_p))
        kept = without_zeros(values.reshape(-1)[: self._dense])
        return b"".join((scales.tobytes(), kept, to_bfloat16(grown_s).tobytes()))

    def decode_dense(self, octets: Octets) -> FloatArray:
        """Decodes the dense gradient."""
        blocks, size = -(-self._dense // BLOCK), self._dense
        first, last = 4 * blocks, 2 * self._sums
        scales, values, grown = _cut(octets, (first, len(octets) - first - last, last), DENSE)
        padded = np.zeros(blocks * BLOCK, np.int8)
        with_zeros(values, padded[:size])
        gradient = from_int8(scales, padded.reshape(blocks, BLOCK), DENSE).reshape(-1)[:size]
        if not self._sums:
            return gradient
        return np.concatenate((gradient, _bfloat16(grown, self._sums, DENSE)))

    def encode_rows(self, rows_ud: FloatArray) -> Octets:
        """Codes the gradients of rows."""
        scales, values = to_int8(rows_ud[:, : self._dim])
        return _joined(scales, values, to_bfloat16(rows_ud[:, self._dim :]))

    def decode_rows(self, octets: Octets, count: int) -> FloatArray:
        """Decodes the gradients of ``count`` rows."""
        dim, width = self._dim, self._width
        scales, values, grown = _cut(octets, (4 * count, count * dim, 2 * count * width), ROWS)
        gradient = from_int8(scales, np.frombuffer(values, np.int8).reshape(count, dim), ROWS)
        if not width:
            return gradient
        state = _bfloat16(grown, count * width, ROWS).reshape(count, width)
        return np.hstack((gradient, state))


class TopCoding(Int8Coding):
    """The largest dense values, by magnitude, with their places; rows as in ``Int8Coding``.

    On the wire: the number of values (uint32); these as bfloat16, which are never zero; the gaps
    between their places, in bytes; then what sums grew by as bfloat16. A gap is the number of
    values left out before a value that is sent: 255 as often as it fits, then the rest.

    Args:
        dense: Values of the dense gradient.
        sums: Sums that a local optimizer keeps beside them.
        dim: Values of a row's gradient.
        width: Values of a row's state.
        share: Share of the dense values that is sent at most, one at least.
    """

    def __init__(self, dense: int, sums: int, dim: int, width: int, *, share: float) -> None:
        super().__init__(dense, sums, dim, width)
        self._most = min(dense, max(1, int(dense * share)))

    @override
    def encode_dense(self, dense_p: FloatArray) -> Octets:
        """Codes the dense gradient."""
        gradient_p, grown_s = np.split(dense_p, [self._dense])
        places = largest(gradient_p, self._most)
        values = to_bfloat16(gradient_p[places])
        sent = (values & 0x7FFF) != 0  # what rounds to zero need not be sent
        count = np.array([np.count_nonzero(sent)], "<u4")
        return _joined(count, values[sent], to_gaps(places[sent]), to_bfloat16(grown_s))

    @override
    def decode_dense(self, octets: Octets) -> FloatArray:
        """Decodes the dense gradient."""
        if not self._dense:
            return _bfloat16(octets, 0, DENSE)
        count = int.from_bytes(octets[:_COUNT_BYTES], "little")
        gaps = len(octets) - _COUNT_BYTES - 2 * count - 2 * self._sums
        # A value has one byte that ends its gap; 255 values left out have one more.
        if count > self._most or not count <= gaps <= count + self._dense // _GAP:
            raise refused(
                DENSE, f"at most {self._most} of {self._dense} values", f"{len(octets)} bytes"
            )
        _, values, places, grown = _cut(
            octets, (_COUNT_BYTES, 2 * count, gaps, 2 * self._sums), DENSE
        )
        found = _bfloat16(values, count, DENSE)
        if not found.all():
            raise refused(DENSE, "values that are not zero", "a zero among them")
        dense_p = np.zeros(self._dense + self._sums, np.float32)
        dense_p[from_gaps(places, count, self._dense)] = found
        dense_p[self._dense :] = _bfloat16(grown, self._sums, DENSE)
        return dense_p


def to_bfloat16(values: FloatArray) -> UInt16Array:
    """Rounds to the nearest bfloat16, half to even; what is beyond the largest becomes infinite.

    Args:
        values: Finite.

    Returns:
        Their bits, of the same shape.
    """
    bits = np.ascontiguousarray(values, "<f4").view("<u4")
    rounded: UInt16Array = ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype("<u2")
    return rounded


def from_bfloat16(bits: UInt16Array) -> FloatArray:
    """Widens bfloat16, which changes no value."""
    wide: FloatArray = (bits.astype("<u4") << 16).view("<f4")
    return wide


def to_int8(values_bv: FloatArray) -> tuple[FloatArray, Int8Array]:
    """Divides each block by its scale, the largest magnitude / 127; rounds half to even.

    Args:
        values_bv: Finite, float32 [blocks, values].

    Returns:
        The scales, float32 [blocks], and the values, int8 [blocks, values].
    """
    scales_b = np.abs(values_bv).max(axis=1, initial=0) / np.float32(_LARGEST)
    divisors_b = np.where(scales_b > 0, scales_b, np.float32(1))
    # A scale that is rounded to a subnormal number may be too small for the largest value.
    rounded = np.clip(np.rint(values_bv / divisors_b[:, None]), -_LARGEST, _LARGEST)
    rounded[scales_b == 0] = 0
    return scales_b.astype("<f4"), rounded.astype(np.int8)


def from_int8(scales: Octets, values_bv: Int8Array, name: str) -> FloatArray:
    """Multiplies each block by its scale.

    Args:
        scales: Float32 of each block.
        values_bv: int8 [blocks, values].
        name: Name of the field, for errors.

    Raises:
        MessageRefused: A scale or a product is not finite, a scale is negative, a value is -128, or
            a block of scale zero has others than zeros.
    """
    scales_b = finite_floats(scales, len(values_bv), name)
    if np.signbit(scales_b).any():
        raise refused(name, "scales that are not negative", "a negative one")
    if (values_bv < -_LARGEST).any() or values_bv[scales_b == 0].any():
        raise refused(name, "values from -127 to 127, and zeros where the scale is zero", "others")
    with np.errstate(over="ignore"):  # refused below
        return finite(values_bv * scales_b[:, None], name)


def without_zeros(values: Int8Array | UInt16Array) -> bytes:
    """Values whose bits are not all zero, then a mask of their places; all values if that is not longer.

    Args:
        values: Of one dimension.
    """
    places = values != 0
    packed = values[places].tobytes() + np.packbits(places, bitorder="little").tobytes()
    return packed if len(packed) < values.nbytes else values.tobytes()


def with_zeros(octets: Octets, values: Int8Array | UInt16Array) -> None:
    """Undoes ``without_zeros``.

    Args:
        octets: What a worker sent.
        values: Zeros, into which the values are put.

    Raises:
        MessageRefused: They are not so many values, or another form of them.
    """
    size, mask_bytes = values.size, -(-values.size // 8)
    if len(octets) == values.nbytes:
        values[:] = np.frombuffer(octets, values.dtype)
        return
    body = len(octets) - mask_bytes
    if not 0 <= body < values.nbytes - mask_bytes or body % values.itemsize:
        raise refused(
            DENSE, f"{size} values ({values.nbytes} bytes at most)", f"{len(octets)} bytes"
        )
    kept = np.frombuffer(octets[:body], values.dtype)
    places = np.unpackbits(np.frombuffer(octets[body:], np.uint8), bitorder="little")
    if np.count_nonzero(places) != kept.size or places[size:].any() or not kept.all():
        raise refused(DENSE, f"a place below {size} for each value that is not zero", "others")
    values[places[:size] != 0] = kept


def largest(values: FloatArray, most: int) -> IntpArray:
    """Places of the largest values by magnitude, ascending; of equal ones the first.

    Args:
        values: Finite.
        most: How many, at most ``values.size``.
    """
    magnitudes = np.abs(values)
    if most >= magnitudes.size:
        return np.arange(magnitudes.size)
    bound = np.partition(magnitudes, magnitudes.size - most)[magnitudes.size - most]
    above = magnitudes > bound
    equal = np.flatnonzero(magnitudes == bound)[: most - np.count_nonzero(above)]
    above[equal] = True
    return np.flatnonzero(above)


def to_gaps(places: IntpArray) -> ByteArray:
    """Codes ascending places by the gaps before them: bytes of 255, then one below 255."""
    gaps = np.diff(places, prepend=-1) - 1
    ends = np.cumsum(gaps // _GAP + 1) - 1
    octets = np.full(ends[-1] + 1 if ends.size else 0, _GAP, np.uint8)
    octets[ends] = gaps % _GAP
    return octets


def from_gaps(octets: Octets, count: int, size: int) -> IntpArray:
    """Decodes ``count`` ascending places below ``size``.

    Raises:
        MessageRefused: There are others.
    """
    steps = np.frombuffer(octets, np.uint8)
    ends = steps != _GAP
    places: IntpArray = (np.cumsum(steps, dtype=np.intp) + np.cumsum(ends) - 1)[ends]
    whole = not ends.size or bool(ends[-1])
    if places.size != count or not whole or (count and places[-1] >= size):
        raise refused(DENSE, f"{count} ascending places below {size}", "others")
    return places


def _blocks(values: FloatArray) -> FloatArray:
    padded = np.zeros(-(-values.size // BLOCK) * BLOCK, np.float32)
    padded[: values.size] = values
    return padded.reshape(-1, BLOCK)


def _bfloat16(octets: Octets, count: int, name: str) -> FloatArray:
    if len(octets) != 2 * count:
        raise refused(name, f"{count} bfloat16 values ({2 * count} bytes)", f"{len(octets)} bytes")
    return finite(from_bfloat16(np.frombuffer(octets, "<u2")), name)


def _cut(octets: Octets, sizes: tuple[int, ...], name: str) -> list[memoryview]:
    """Cuts a message into parts of these sizes."""
    if len(octets) != sum(sizes) or min(sizes) < 0:
        raise refused(name, f"{sum(sizes)} bytes", f"{len(octets)} bytes")
    ends = np.cumsum(sizes).tolist()
    view = memoryview(octets)
    return [view[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def _joined(*arrays: FloatArray | Int8Array | UInt16Array | ByteArray) -> bytes:
    return b"".join(array.tobytes() for array in arrays)
