"""A raw file's header: which cells separate, what they are called, and which column each name means."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from coterie.data.prepare.bad_rows import Fault
from coterie.data.prepare.dialect import is_missing
from coterie.data.prepare.recognition import NOT_UTF8

Delimiter = Literal["\t", ",", ";", "|"]
DELIMITERS: tuple[Delimiter, ...] = get_args(Delimiter)
DELIMITER_NAMES = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}

NUMBER = re.compile(r"^\s*[+-]?[0-9.,]+(?:[eE][+-]?[0-9]+)?\s*$")
"""What is taken for a number in a line of unknown kind."""

_NO_LETTER = re.compile(r"[^A-Za-z0-9]+")


def split_line(line: bytes, delimiter: Delimiter) -> list[str] | Fault:
    """The cells of a line without its newline, or the reason why it has none."""
    try:
        text = line.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        return Fault("not valid UTF-8", NOT_UTF8)
    if delimiter == "\t":
        return text.split("\t")
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [""])
    except csv.Error as error:
        if "unexpected end" in str(error):
            return Fault("a quoted cell does not end on its line", "cells must not hold line ends")
        if "field limit" in str(error):
            return Fault(f"a cell of more than {csv.field_size_limit():,} characters")
        return Fault(f"cells are not separated by {DELIMITER_NAMES[delimiter]}: {error}")


def column_name(written: str) -> str:
    """A header's name as a contract can hold it: ``User Age (years)`` is ``User_Age_years``.

    Whatever is no letter or digit of ASCII becomes one ``_``; names that begin otherwise get a ``c`` before.
    """
    name = _NO_LETTER.sub("_", written).strip("_")
    return (name if name[:1].isalpha() else f"c{name}")[:64]


def header_cells(line: bytes, delimiter: Delimiter) -> list[str]:
    """The names in a header, spaces around them apart; what is not UTF-8 in them is replaced."""
    cells = split_line(line.decode(errors="replace").encode(), delimiter)
    return [] if isinstance(cells, Fault) else [cell.strip() for cell in cells]


def names_columns(cells: Sequence[str]) -> bool:
    """Whether cells can only be the names of a header: two or more different words, and no number."""
    return (
        len(cells) > 1
        and len(set(cells)) == len(cells)
        and all(cell.isprintable() and len(cell) <= 256 and not is_missing(cell) for cell in cells)
        and not any(map(NUMBER.match, cells))
    )


class Header:
    """Finds columns in a header: by the name that is given, by their own, or written otherwise.

    Args:
        line: The header.
        delimiter: What separates the names.
        label: The label's name.
        columns: Names in the header of the contract's columns, where they are others.

    Attributes:
        delimiter: What separates the names.
        cells: The names.
    """

    def __init__(
        self, line: bytes, delimiter: Delimiter, label: str, columns: Mapping[str, str]
    ) -> None:
        self.delimiter = delimiter
        self.cells = cells = header_cells(line, delimiter)
        self._label = label
        self._columns = columns
        self._exactly: dict[str, list[int]] = {}
        self._otherwise: dict[str, list[int]] = {}
        for i, cell in enumerate(cells):
            self._exactly.setdefault(cell, []).append(i)
            if cell:
                self._otherwise.setdefault(column_name(cell), []).append(i)

    def places(self, name: str) -> list[int]:
        """The cells that mean a column of the contract, or the label."""
        exactly = self.named(self._columns.get(name, name))
        if exactly or name in self._columns or name == self._label:
            return exactly
        return self._otherwise.get(name, [])

    def named(self, written: str) -> list[int]:
        """The cells of just this name."""
        return self._exactly.get(written, [])

    def names_one_of(self, columns: Sequence[str]) -> bool:
        """Whether a column is named, by a word that is no number."""
        return any(not NUMBER.match(self.cells[i]) for name in columns for i in self.places(name))
