"""Numeric cells: integers of up to 64 bits, or decimals as whole numbers of a column's last place.

9.99 with two places is 999. So the parser, the staging file and the statistics handle only whole
numbers, and a cell is the same number everywhere.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from coterie.arrays import BoolArray, ByteArray, Int64Array
from coterie.contract import DataSection

MISSING = np.iinfo(np.int64).min
"""The value of a missing numeric cell; the only 64-bit value that a cell may not have."""

_MINUS, _ZERO = b"-0"
_MAX_DIGITS = 19
NUMBER_PATTERN = r"^-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?$"
_LARGEST = float(1 << 53)
"""float64 represents every whole number up to this one."""


def number_cells(
    text: ByteArray, starts: Int64Array, lengths: Int64Array, data: DataSection
) -> tuple[Int64Array, BoolArray]:
    """Values of numeric cells, and whether each is empty or a number of its column.

    Args:
        text: The bytes that the cells lie in, valid UTF-8.
        starts: First byte of each cell, shape (b, n).
        lengths: Bytes of each cell, shape (b, n).
        data: The contract's data section.

    Returns:
        int64 (b, n), in units of each column's last place, ``MISSING`` where empty; bool (b, n).
    """
    numbers, fits = _integer_cells(text, starts, lengths)
    for name, places in data.decimals.items():
        i = data.numeric.index(name)
        numbers[:, i], fits[:, i] = decimal_cells(text, starts[:, i], lengths[:, i], places)
    numbers[lengths == 0] = MISSING
    return numbers, fits


def _integer_cells(
    text: ByteArray, starts: Int64Array, lengths: Int64Array
) -> tuple[Int64Array, BoolArray]:
    """Values of integer cells and whether each is empty or an integer; same shapes."""
    negative = (lengths > 0) & (text[starts] == _MINUS)
    first, digits = starts + negative, lengths - negative
    fits = (lengths == 0) | ((digits >= 1) & (digits <= _MAX_DIGITS))
    value = np.zeros(starts.shape, np.uint64)
    for place in range(int(digits.max(initial=0, where=fits))):
        active = fits & (digits > place)
        digit = text[first[active] + place] - np.uint8(_ZERO)
        value[active] = value[active] * np.uint64(10) + digit
        fits[active] = digit <= 9
    fits &= value <= np.uint64(np.iinfo(np.int64).max)
    signed = np.where(fits, value, 0).astype(np.int64)
    signed[negative] *= -1
    return signed, fits


def decimal_cells(
    text: ByteArray, starts: Int64Array, lengths: Int64Array, places: int
) -> tuple[Int64Array, BoolArray]:
    """Values of one column's decimal cells, in units of its last place.

    Args:
        text: The bytes that the cells lie in, valid UTF-8.
        starts: First byte of each cell, shape (b,).
        lengths: Bytes of each cell, shape (b,).
        places: Decimal places that are kept; further ones are rounded, halves to even.

    Returns:
        int64 (b,), 0 where a cell is empty or no number; and whether it is empty or a number.
    """
    octets = text.tobytes()
    spans = zip(starts.tolist(), lengths.tolist(), strict=True)
    cells = pl.Series([octets[start : start + n].decode() for start, n in spans], dtype=pl.String)
    numbers = cells.set(~cells.str.contains(NUMBER_PATTERN), None).cast(pl.Float64, strict=False)
    units = np.rint(numbers.fill_null(np.nan).to_numpy() * 10.0**places)
    fits = np.abs(units) <= _LARGEST
    return np.where(fits, units, 0).astype(np.int64), fits | (lengths == 0)
