"""Maps float32 numbers to whole numbers of the same order, and defines their dyadic intervals.

The bits of a float32, read as sign and magnitude, ascend with its value. This whole number is its
*key*, from 0 to 2^32 - 1, with both zeros in the middle. Keys are as dense as float32 itself around
every score, so bins of keys are as fine as the scores in them need. A *dyadic interval* has 2^level
keys and begins at a multiple of that. Two of them are disjoint, or one contains the other.
"""

from __future__ import annotations

import numpy as np

from coterie.arrays import FloatArray, Int64Array

KEY_BITS = 32
_ZERO = 1 << 31
_LARGEST = 0x7F7F_FFFF  # bits of the largest finite float32
LOWEST_KEY, HIGHEST_KEY = _ZERO - _LARGEST, _ZERO + _LARGEST


def keys_of(values_n: FloatArray) -> Int64Array:
    """Keys of finite numbers, int64 [n]."""
    bits_n = values_n.view(np.int32).astype(np.int64)
    return np.where(bits_n < 0, -(bits_n & (_ZERO - 1)), bits_n) + _ZERO


def values_of(keys_n: Int64Array) -> FloatArray:
    """The numbers that keys stand for, float32 [n]; the largest finite one for keys beyond it."""
    offsets_n = np.clip(keys_n, LOWEST_KEY, HIGHEST_KEY) - _ZERO
    magnitudes_n = np.abs(offsets_n).astype(np.int32).view(np.float32)
    return np.where(offsets_n < 0, -magnitudes_n, magnitudes_n)


def common_levels(first_n: Int64Array, last_n: Int64Array) -> Int64Array:
    """Level of the smallest dyadic interval that holds both keys, int64 [n]; 0 if they are one."""
    # the exponent of a whole number as a float is its length in bits
    return np.frexp((first_n ^ last_n).astype(np.float64))[1].astype(np.int64)


def floors(keys_n: Int64Array, levels_n: Int64Array) -> Int64Array:
    """First keys of the dyadic intervals, of given levels, that hold the keys, int64 [n]."""
    return keys_n >> levels_n << levels_n
