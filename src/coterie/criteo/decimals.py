"""Decimal cells as whole numbers of a column's last place: 9.99 with two places is 999.

So the parser, the staging file and the statistics know whole numbers only, and the same cell is the
same number everywhere.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

_NUMBER = r"^-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?$"
_LARGEST = float(1 << 53)
"""Up to here float64 holds every whole number."""


def decimal_cells(
    text: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], places: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
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
    numbers = cells.set(~cells.str.contains(_NUMBER), None).cast(pl.Float64, strict=False)
    units = np.rint(numbers.fill_null(np.nan).to_numpy() * 10.0**places)
    fits = np.abs(units) <= _LARGEST
    return np.where(fits, units, 0).astype(np.int64), fits | (lengths == 0)
