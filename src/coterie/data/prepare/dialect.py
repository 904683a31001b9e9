"""Spellings of cells: strict, or as spreadsheets, data frames and databases write them.

Coterie's own spelling is strict, so that a cell is the same number or id at every party. For files
of other programs, the dialect ``table`` converts cells to this spelling before they are parsed:

- a label ``0.0``, ``1.0``, ``true``, ``false``, ``yes`` or ``no`` is 0 or 1;
- in a column of integers ``30.0``, ``3e1`` and ``+30`` are 30, ``true`` and ``false`` 1 and 0;
- in a column of decimals ``9,99`` is 9.99 where semicolons separate cells, and ``+9.99`` too;
- spaces around a number or a label are ignored;
- ``NA``, ``NaN``, ``null``, ``None`` and the like are missing cells; among ids all of them but ``NA``, which
  is a country.

More words for missing cells can be given in either dialect.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Literal

from coterie.contract import DataSection

DialectName = Literal["strict", "table"]

_LABELS = {
    **dict.fromkeys(("0", "0.0", "0.", "false", "f", "no", "n"), "0"),
    **dict.fromkeys(("1", "1.0", "1.", "true", "t", "yes", "y"), "1"),
}
_NO_ID = frozenset({"n/a", "#n/a", "<na>", "nan", "null", "none", "nil", r"\n"})
_NO_NUMBER = _NO_ID | {"na", "-", "?"}
_FLAGS = {"true": "1", "false": "0"}
_WHOLE = re.compile(r"^[+-]?([0-9]{1,19})(?:\.0*)?$", re.ASCII)
_POWER = re.compile(r"^[+-]?[0-9]{1,19}(?:\.[0-9]{0,19})?[eE][+-]?[0-9]{1,2}$", re.ASCII)
_COMMA = re.compile(r"^[+-]?[0-9]+,[0-9]+$", re.ASCII)

Turn = Callable[[str], str]


class CellReader:
    """Converts a file's cells to the contract's spelling.

    Args:
        data: The contract's columns.
        dialect: The spelling of the file's cells.
        missing: More words that stand for a missing cell, in every column.
        decimal_comma: Whether decimals have commas, if the dialect allows it.
    """

    def __init__(
        self,
        data: DataSection,
        dialect: DialectName = "strict",
        missing: Sequence[str] = (),
        *,
        decimal_comma: bool = False,
    ) -> None:
        self._missing = frozenset(missing)
        self._turns: list[Turn] | None = None
        if dialect == "table":
            fraction = decimal_with_comma if decimal_comma else decimal
            self._turns = [
                label,
                *(fraction if name in data.decimals else integer for name in data.numeric),
                *[id_cell] * len(data.categorical),
            ]

    @property
    def changes_nothing(self) -> bool:
        """Whether cells stay unchanged."""
        return self._turns is None and not self._missing

    def read(self, cells: list[str]) -> list[str]:
        """Converts the cells of a row: label, numbers, ids, in the contract's order."""
        if self._missing:
            cells = ["" if cell in self._missing else cell for cell in cells]
        if self._turns is None:
            return cells
        return [turn(cell) for turn, cell in zip(self._turns, cells, strict=True)]


def is_missing(cell: str) -> bool:
    """Whether a cell is a missing number in the dialect ``table``."""
    return not _number(cell)


def label(cell: str) -> str:
    """A label as 0 or 1, or unchanged if it is neither."""
    return _LABELS.get(cell.strip().lower(), cell)


def integer(cell: str) -> str:
    """A whole number in the contract's spelling; empty if missing; unchanged if not a number."""
    found = _number(cell)
    if _WHOLE.match(found):
        return found.partition(".")[0].removeprefix("+")
    if _POWER.match(found):
        value = Decimal(found)
        return str(int(value)) if value == value.to_integral_value() else found
    return _FLAGS.get(found.lower(), found)


def decimal(cell: str) -> str:
    """A number in the contract's spelling; empty if missing; unchanged if not a number."""
    found = _number(cell).removeprefix("+")
    return _FLAGS.get(found.lower(), found)


def decimal_with_comma(cell: str) -> str:
    """Likewise, for files in which ``9,99`` is a number."""
    found = decimal(cell)
    return found.replace(",", ".") if _COMMA.match(found) else found


def _number(cell: str) -> str:
    stripped = cell.strip()
    return "" if stripped.lower() in _NO_NUMBER else stripped


def id_cell(cell: str) -> str:
    """An id; empty if it is a word for a missing cell."""
    return "" if cell.strip().lower() in _NO_ID else cell


def hint_of(column: str, cell: str, decimals: Mapping[str, int]) -> tuple[str, str]:
    """Hint and its subject for a cell that is not a number, or for ``""`` not a label; or empty."""
    table = "--dialect table"
    if not column:
        if label(cell) in {"0", "1"}:
            return f"{table} reads this label as {label(cell)}", "label"
        return (
            "write labels as 0 and 1; --label names another column, where there is a header",
            "words",
        )
    if not _number(cell):
        said = f"{table} takes {cell.strip()} for a missing cell; so does --missing, which names any word"
        return said, "missing"
    if column in decimals:
        commas = f"{table} reads decimal commas where semicolons separate cells"
        return (commas if _COMMA.match(cell) else ""), ""
    read, count = integer(cell), 0
    whole, _, places = _number(cell).removeprefix("-").replace(",", ".").partition(".")
    hints = [f"{table} reads {cell.strip()} as {read}"] if read != cell.strip() else []
    if whole.isdecimal() and places.isdecimal():
        count = min(len(places), 9)
        hints.append(
            f"[data] decimals = {{ {column} = {count} }} in the contract reads decimal numbers"
        )
    return "; ".join(hints), f"{column}, {count}"
