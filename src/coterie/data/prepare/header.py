"""Parses a raw file's header: its delimiter, its names, and the column that each name means."""

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
"""Matches numbers in a line that may be a header or a row."""

_NO_LETTER = re.compile(r"[^A-Za-z0-9]+")


def split_line(line: bytes, delimiter: Delimiter) -> list[str] | Fault:
    """The cells of a line without its newline, or the reason why it cannot be split."""
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
    """A header's name in the form that contracts allow: ``User Age (years)`` is ``User_Age_years``.

    Runs of other characters than ASCII letters and digits become one ``_``. A name that does not
    begin with a letter gets a ``c`` in front.
    """
    name = _NO_LETTER.sub("_", written).strip("_")
    return (name if name[:1].isalpha() else f"c{name}")[:64]


def header_cells(line: bytes, delimiter: Delimiter) -> list[str]:
    """The names in a header, without spaces around them; invalid UTF-8 is replaced."""
    cells = split_line(line.decode(errors="replace").encode(), delimiter)
    return [] if isinstance(cells, Fault) else [cell.strip() for cell in cells]


def names_columns(cells: Sequence[str]) -> bool:
    """Whether cells must be names of a header: at least two different words, and no number."""
    return (
        len(cells) > 1
        and len(set(cells)) == len(cells)
        and all(cell.isprintable() and len(cell) <= 256 and not is_missing(cell) for cell in cells)
        and not any(map(NUMBER.match, cells))
    )


class Header:
    """Finds columns in a header: by a given name, by their own name, or by another spelling of it.

    Args:
        line: The header.
        delimiter: Delimiter of the names.
        label: The label's name.
        columns: Names in the header of contract columns with other names.

    Attributes:
        delimiter: Delimiter of the names.
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
        """The places of cells that mean a column of the contract, or the label."""
        exactly = self.named(self._columns.get(name, name))
        if exactly or name in self._columns or name == self._label:
            return exactly
        return self._otherwise.get(name, [])

    def named(self, written: str) -> list[int]:
        """The places of cells with exactly this name."""
        return self._exactly.get(written, [])

    def names_one_of(self, columns: Sequence[str]) -> bool:
        """Whether a cell names one of the columns and is not a number."""
        return any(not NUMBER.match(self.cells[i]) for name in columns for i in self.places(name))
