"""Splits rows into training, test and validation, and deals them to parties, as ``range``s.

The split follows the reference DLRM for the Kaggle data set (facebookresearch/dlrm, ``data_utils.py``
and ``dlrm_data_pytorch.py``): the rows, in file order and so in time order, are cut into seven
parts that differ by at most one row, longer parts first (``divmod``, as ``numpy.array_split``
does); the first six train; the last is cut in two the same way: its first half tests, its second
half validates.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from coterie.data.manifest import Split

Deal = Literal["contiguous", "round-robin"]

MINIMUM_ROWS = 14
"""With fewer rows, a part of the split could be empty."""


@dataclass(frozen=True)
class SplitRows:
    """Row numbers of the three splits.

    Attributes:
        train: The first six sevenths.
        test: The first half of the last seventh.
        validation: Its second half.
    """

    train: range
    test: range
    validation: range

    def part(self, split: Split) -> range:
        """The rows of one split."""
        parts: dict[Split, range] = {
            "train": self.train,
            "test": self.test,
            "validation": self.validation,
        }
        return parts[split]


def split_rows(total: int) -> SplitRows:
    """Splits ``rows`` rows by file order."""
    sevenths = cut(range(total), 7)
    test, validation = cut(sevenths[6], 2)
    return SplitRows(range(sevenths[5].stop), test, validation)


def deal_rows(rows: range, deal: Deal, parties: int) -> list[range]:
    """Deals rows to parties. Every row goes to exactly one party, and file order is kept.

    Args:
        rows: Consecutive rows.
        deal: ``contiguous``: one run of rows each; ``round-robin``: every n-th row.
        parties: Number of parties.
    """
    if deal == "contiguous":
        return cut(rows, parties)
    return [rows[i::parties] for i in range(parties)]


def cut(rows: range, parts: int) -> list[range]:
    """Cuts rows into consecutive parts that differ by at most one row, longer parts first."""
    size, longer = divmod(len(rows), parts)
    starts = [i * size + min(i, longer) for i in range(parts + 1)]
    return [rows[start:stop] for start, stop in itertools.pairwise(starts)]
