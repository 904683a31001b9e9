"""Finds the contract's columns in a raw file: by position, as in Criteo's own, or by a header's names.

The first line decides, once for the whole file:

- It is a header if it names at least one of the contract's columns and is itself no row. Then the
  label and every column must be named, once each; their order is free, and other columns are left
  out. Without a header the cells come in the contract's order: label, numbers, ids.
- Cells are separated by tabs if that gives a header or the right number of cells, else by commas if
  that does, else by tabs. Comma-separated cells may be quoted (RFC 4180), on one line.

Everything but Criteo's own layout is turned into it line by line, so there is one parser.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from coterie.contract import DataSection
from coterie.criteo.lines import LineBlock
from coterie.errors import RawDataInvalid

Delimiter = Literal["\t", ","]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LABEL_STAND_IN = "0"


@dataclass(frozen=True)
class Layout:
    """What is known beforehand of a raw file.

    Attributes:
        label: The label's name in the header, where there is one.
        label_needed: Whether rows without a label are refused: to score them, none is needed.
    """

    label: str = "label"
    label_needed: bool = True


@dataclass(frozen=True)
class Arrangement:
    """Where a file has its cells.

    Attributes:
        delimiter: What separates them.
        header: Whether the first line names them.
        cells: Cells per line.
        places: For the label and each of the contract's columns, its cell; None for no label.
    """

    delimiter: Delimiter
    header: bool
    cells: int
    places: tuple[int | None, ...]

    @property
    def labelled(self) -> bool:
        """Whether rows have a label."""
        return self.places[0] is not None

    @property
    def is_criteos(self) -> bool:
        """Whether lines can be parsed as they are."""
        return self.delimiter == "\t" and self.places == tuple(range(self.cells))

    def rearrange(self, block: LineBlock) -> tuple[LineBlock, dict[int, str]]:
        """Turns a block into Criteo's layout, line by line.

        Returns:
            A block of as many lines, and for each line that cannot be turned, by its place in the
            block, a reason; an empty line stands in for it.
        """
        if block.overlong or self.is_criteos:
            return block, {}
        lines, reasons = [], {}
        for i, line in enumerate(block.text.split(b"\n")[:-1]):
            cells = split_line(line, self.delimiter)
            if isinstance(cells, str):
                reasons[i], turned = cells, ""
            elif len(cells) != self.cells:
                reasons[i], turned = f"{len(cells)} cells instead of {self.cells}", ""
            else:
                picked = [_LABEL_STAND_IN if at is None else cells[at] for at in self.places]
                turned = "\t".join(picked)
                if any("\t" in cell or "\r" in cell for cell in picked):
                    reasons[i], turned = "a tab or carriage return within a cell", ""
            lines.append(turned)
        return LineBlock(block.first_line, ("\n".join(lines) + "\n").encode()), reasons


def arrangement_of(
    first_line: bytes, data: DataSection, layout: Layout, *, source: str
) -> Arrangement:
    """Decides where a file has its cells, by its first line.

    Args:
        first_line: The line, without its newline.
        data: The contract's columns.
        layout: What is known beforehand.
        source: The file's name, for errors.

    Raises:
        RawDataInvalid: It is a header that does not name every column once.
    """
    line = first_line.removeprefix(_BYTE_ORDER_MARK)
    columns = (layout.label, *data.numeric, *data.categorical)
    delimiters: tuple[Delimiter, ...] = ("\t", ",")
    for delimiter in delimiters:
        cells = split_line(line, delimiter)
        if isinstance(cells, str):
            continue
        if set(cells) & set(columns) and not _is_row(cells, data):
            return _by_names(cells, delimiter, columns, layout, source)
        if len(cells) == len(columns):
            return Arrangement(delimiter, header=False, cells=len(cells), places=_count(len(cells)))
        if len(cells) == len(columns) - 1 and not layout.label_needed:
            places = (None, *_count(len(cells)))
            return Arrangement(delimiter, header=False, cells=len(cells), places=places)
    return Arrangement("\t", header=False, cells=len(columns), places=_count(len(columns)))


def split_line(line: bytes, delimiter: Delimiter) -> list[str] | str:
    """The cells of a line without its newline, or the reason why it has none."""
    try:
        text = line.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        return "not valid UTF-8"
    if delimiter == "\t":
        return text.split("\t")
    try:
        return next(csv.reader([text], strict=True), [""])
    except csv.Error as error:
        return f"not comma-separated cells: {error}"


def _by_names(
    cells: Sequence[str],
    delimiter: Delimiter,
    columns: Sequence[str],
    layout: Layout,
    source: str,
) -> Arrangement:
    missing = [name for name in columns if name not in cells]
    if missing == [layout.label] and not layout.label_needed:
        missing = []
    if missing:
        raise RawDataInvalid(
            f"the header of {source} does not name every column of the contract",
            expected=f"the label and {len(columns) - 1} columns by name",
            seen=f"without {', '.join(missing[:10])}" + (", ..." if missing[10:] else ""),
            remedy="name them as in the contract's [data] section; the label's name is --label",
        )
    if twice := sorted({name for name in columns if cells.count(name) > 1}):
        raise RawDataInvalid(
            f"the header of {source} names a column twice",
            expected="every column once",
            seen=", ".join(twice[:10]),
            remedy="rename or remove one of the two",
        )
    places = tuple(cells.index(name) if name in cells else None for name in columns)
    return Arrangement(delimiter, header=True, cells=len(cells), places=places)


def _is_row(cells: Sequence[str], data: DataSection) -> bool:
    """Whether a first line that names a column could be a row all the same: an id may be a name."""
    numbers = cells[1 : 1 + len(data.numeric)]
    return (
        len(cells) == 1 + len(data.numeric) + len(data.categorical)
        and cells[0] in {"0", "1"}
        and all(not cell or cell.removeprefix("-").isdigit() for cell in numbers)
    )


def _count(cells: int) -> tuple[int, ...]:
    return tuple(range(cells))


def without_header(block: LineBlock) -> Iterator[LineBlock]:
    """What is left of a file's first block behind its header."""
    rest = block.text.split(b"\n", 1)[1]
    if rest:
        yield LineBlock(block.first_line + 1, rest)
