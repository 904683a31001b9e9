"""A column of a sampled file: statistics of its cells, and its possible kinds in a contract."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from coterie.data.prepare import dialect
from coterie.data.prepare.numeric import NUMBER_PATTERN
from coterie.data.prepare.plausibility import ID_NAME
from coterie.text import printable

_FEW_WORDS = 0.1
_BESIDE_NUMBERS = re.compile(r"[\s$€£¥%']|,(?=[0-9]{3}\b)")
_WHOLE = re.compile(r"^-?[0-9]{1,18}$", re.ASCII)  # digits; longer numbers are taken for ids
_DECIMAL = re.compile(NUMBER_PATTERN, re.ASCII)
_PLACES = re.compile(r"\.([0-9]*?)0*$")
_SMALLEST_TABLE, _LARGEST_TABLE = 10, 10_000_000


@dataclass
class SampledColumn:
    """Statistics of a column's cells.

    Attributes:
        written: Its name in the header.
        name: Its name in the contract.
        filled: Number of cells that are not empty.
        ids: Number of occurrences of each non-empty cell.
        labels: The first three different cells, read as labels.
        number: Whether all cells are numbers, or missing.
        whole: Whether all numbers are whole.
        places: Largest number of decimal places.
        plain_whole: Whether it can be read as integers in the strict spelling.
        plain_decimal: Likewise as decimals.
        plain_id: Likewise as ids.
        odd: Number of cells that are not numbers.
        signed: Number of these that are numbers with a unit or thousands separators.
    """

    written: str
    name: str
    filled: int = 0
    ids: Counter[str] = field(default_factory=Counter)
    labels: set[str] = field(default_factory=set)
    number: bool = True
    whole: bool = True
    places: int = 0
    plain_whole: bool = True
    plain_decimal: bool = True
    plain_id: bool = True
    odd: Counter[str] = field(default_factory=Counter)
    signed: int = 0

    def look(self, cell: str, *, comma: bool) -> None:
        """Counts a cell; ``comma`` says whether ``9,99`` is a number."""
        if len(self.labels) < 3:
            self.labels.add(dialect.label(cell))
        text = dialect.id_cell(cell)
        self.plain_id &= text == cell
        if not dialect.integer(cell):
            self.plain_whole &= not cell
            self.plain_decimal &= not cell
            self._count(text)
            return
        self._count(text)
        self._look_at_number(cell, comma=comma)

    def _count(self, text: str) -> None:
        if text:
            self.filled += 1
            self.ids[text] += 1

    def _look_at_number(self, cell: str, *, comma: bool) -> None:
        if _WHOLE.match(turned := dialect.integer(cell)):
            self.plain_whole &= turned == cell
            self.plain_decimal &= bool(_DECIMAL.match(cell))
            return
        turned = dialect.decimal_with_comma(cell) if comma else dialect.decimal(cell)
        if not _DECIMAL.match(turned) or turned.removeprefix("-").isdigit():
            self.number = self.whole = False
            self.odd[cell] += 1
            bare = _BESIDE_NUMBERS.sub("", turned).replace(",", ".")
            self.signed += bare != turned and bool(_DECIMAL.match(bare))
            return
        self.whole = False
        self.plain_decimal &= turned == cell
        if found := _PLACES.search(turned):
            self.places = max(self.places, len(found[1]))

    @property
    def doubt(self) -> str:
        """Why it is not a column of numbers, if only few of its cells prevent that."""
        odd = self.odd.total()
        again = "and draft the contract again"
        if self.signed > (1 - _FEW_WORDS) * self.filled:
            example = printable(next(iter(self.odd)), 40)
            return f"cells are numbers with other signs, such as {example}: write the numbers alone, {again}"
        if ID_NAME.search(self.name) or not 0 < odd <= _FEW_WORDS * self.filled:
            return ""
        words = [printable(word, 40) for word, _ in self.odd.most_common(3)]
        return (
            f"all but {odd:,} of {self.filled:,} cells are numbers; others are {', '.join(words)}: write numbers there, "
            f"or nothing, {again}"
        )

    @property
    def is_label(self) -> bool:
        """Whether all cells are 0 or 1 in some spelling."""
        return bool(self.labels) and self.labels <= {"0", "1"}

    @property
    def table_rows(self) -> int:
        """Rows of a table for twice the estimated number of ids (Chao, 1984)."""
        once = sum(1 for count in self.ids.values() if count == 1)
        twice = sum(1 for count in self.ids.values() if count == 2)
        wanted = 2 * (len(self.ids) + once * (once - 1) / (2 * (twice + 1))) + 2
        sizes = (size * 10**power for power in range(1, 8) for size in (1, 2, 5))
        return next((size for size in sizes if size >= wanted), _LARGEST_TABLE)
