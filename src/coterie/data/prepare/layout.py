"""Finds the contract's columns in a raw file: by position, as in Criteo's own, or by a header's names.

The file's first lines decide, once for the whole file:

- The first line is a header if it names at least one of the contract's columns and is not a row.
  Then it must name the label and every column once. Their order is free, and other columns are left
  out. Without a header the cells come in the contract's order: label, numbers, ids.
- A header may spell a column's name in its own way: ``User Age`` is ``User_Age``
  (:mod:`coterie.data.prepare.header`). Any other name must be given by the caller.
- Cells are separated by tabs, commas, semicolons or bars. The delimiter is the one that gives a
  header, otherwise the one that gives most of the first lines the right number of cells, tabs first.
  Cells that are not separated by tabs may be quoted (RFC 4180), within a line.

All other layouts are converted to Criteo's line by line, so there is one parser.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from coterie.contract import DataSection
from coterie.data.prepare.bad_rows import Fault
from coterie.data.prepare.dialect import CellReader, DialectName
from coterie.data.prepare.header import (
    DELIMITER_NAMES,
    DELIMITERS,
    NUMBER,
    Delimiter,
    Header,
    header_cells,
    names_columns,
    split_line,
)
from coterie.data.prepare.lines import LineBlock
from coterie.errors import RawDataInvalid, UsageError

_LABEL_STAND_IN = "0"


@dataclass(frozen=True)
class Layout:
    """Known properties of a raw file, given by the caller.

    Attributes:
        label: The label's name in the header, if it has one.
        label_needed: Whether rows without a label are refused; scoring needs no labels.
        dialect: The spelling of cells.
        missing: More words that stand for a missing cell.
        columns: Names in the header of contract columns with other names.
        kept: Names in the header of columns whose cells are passed on unchanged with the rows.
    """

    label: str = "label"
    label_needed: bool = True
    dialect: DialectName = "strict"
    missing: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arrangement:
    """The arrangement of a file's cells.

    Attributes:
        delimiter: Their delimiter.
        header: Whether the first line is a header.
        cells: Number of cells per line.
        places: Place of the label (None without label) and of each of the contract's columns.
        reader: Converts cells to the contract's spelling.
        kept: Places of cells that are passed on.
    """

    delimiter: Delimiter
    header: bool
    cells: int
    places: tuple[int | None, ...]
    reader: CellReader
    kept: tuple[int, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether rows have a label."""
        return self.places[0] is not None

    @property
    def is_criteos(self) -> bool:
        """Whether lines can be parsed without conversion."""
        return (
            self.delimiter == "\t"
            and self.places == tuple(range(self.cells))
            and self.reader.changes_nothing
            and not self.kept
        )

    def describe(self) -> str:
        """Description of a valid row, for errors."""
        by = f"{self.cells} cells separated by {DELIMITER_NAMES[self.delimiter]}"
        return f"{by}, as the header names them" if self.header else by

    def rearrange(self, block: LineBlock) -> Rearranged:
        """Converts a block to Criteo's layout, line by line."""
        if block.overlong or self.is_criteos:
            return Rearranged(block, {}, ())
        lines: list[str] = []
        faults: dict[int, Fault] = {}
        kept: list[tuple[str, ...]] = []
        for i, line in enumerate(block.text.split(b"\n")[:-1]):
            cells = split_line(line, self.delimiter)
            turned, beside = "", ("",) * len(self.kept)
            if isinstance(cells, Fault):
                faults[i] = cells
            elif len(cells) != self.cells:
                faults[i] = Fault(f"{len(cells)} cells instead of {self.cells}")
            else:
                picked = [_LABEL_STAND_IN if at is None else cells[at] for at in self.places]
                picked = self.reader.read(picked)
                turned = "\t".join(picked)
                beside = tuple(cells[at] for at in self.kept)
                if any("\t" in cell or "\r" in cell for cell in picked):
                    faults[i], turned = Fault("a tab or carriage return within a cell"), ""
            lines.append(turned)
            if self.kept:
                kept.append(beside)
        text = ("\n".join(lines) + "\n").encode()
        return Rearranged(LineBlock(block.first_line, text), faults, tuple(kept))


@dataclass(frozen=True)
class Rearranged:
    """A block in Criteo's layout.

    Attributes:
        block: The same number of lines; a line that cannot be converted is empty.
        faults: The faults of such lines, by their place in the block.
        kept: The cells that are passed on with each line, if any.
    """

    block: LineBlock
    faults: Mapping[int, Fault]
    kept: tuple[tuple[str, ...], ...]


def arrangement_of(
    lines: Sequence[bytes], data: DataSection, layout: Layout, *, source: str
) -> Arrangement:
    """Finds the arrangement of a file's cells by its first lines.

    Args:
        lines: The first lines, at least one, without newlines.
        data: The contract's columns.
        layout: Known properties.
        source: The file's name, for errors.

    Raises:
        RawDataInvalid: The first line is a header that does not name every column once.
        UsageError: The given names are not columns of the file, or the file has no header.
    """
    columns = (layout.label, *data.numeric, *data.categorical)
    _check_names(layout, data)
    found = _by_header(lines[0], columns, data, layout, source)
    if found is not None:
        return found
    _refuse_late_header(lines, columns, layout, source)
    if layout.kept or layout.columns:
        raise UsageError(
            f"{source} has no header, so no column of it can be called by name",
            expected="a first line that names the contract's columns",
            seen=lines[0][:80].decode(errors="replace"),
            remedy="give the file a header",
        )
    most, chosen, unlabelled = 0, DELIMITERS[0], False
    for delimiter in DELIMITERS:
        counts = [
            len(c) for line in lines if not isinstance(c := split_line(line, delimiter), Fault)
        ]
        for without in (False, True):
            fitting = counts.count(len(columns) - without)
            if fitting > most:
                most, chosen, unlabelled = fitting, delimiter, without
    if not most:
        # No row fits. The delimiter that splits most lines shows how many cells they have.
        chosen = max(DELIMITERS, key=lambda sign: sum(_cut(line, sign) for line in lines))
    if unlabelled and layout.label_needed:
        raise RawDataInvalid(
            f"{source} has no label, or lacks another column",
            expected=f"{len(columns)} cells: the label, {len(data.numeric)} numbers and {len(data.categorical)} ids",
            seen=f"{len(columns) - 1} cells in each of the first lines that fit best",
            remedy="put the label first; `coterie predict` needs none",
        )
    count = len(columns) - unlabelled
    places = (None, *range(count)) if unlabelled else tuple(range(count))
    reader = _reader(data, layout, chosen)
    return Arrangement(chosen, header=False, cells=count, places=places, reader=reader)


def _cut(line: bytes, delimiter: Delimiter) -> bool:
    cells = split_line(line, delimiter)
    return not isinstance(cells, Fault) and len(cells) > 1


def _by_header(
    line: bytes, columns: Sequence[str], data: DataSection, layout: Layout, source: str
) -> Arrangement | None:
    for delimiter in DELIMITERS:
        header = Header(line, delimiter, layout.label, layout.columns)
        cells = header.cells
        reader = _reader(data, layout, delimiter)
        as_row = cells if layout.label_needed else [_LABEL_STAND_IN, *cells][-len(columns) :]
        if len(as_row) == len(columns) and _is_row(reader.read(as_row), data):
            return None
        if header.names_one_of(columns):
            return _by_names(header, columns, reader, layout, source)
    for delimiter in DELIMITERS:
        cells = header_cells(line, delimiter)
        if names_columns(cells) and not any("\t" in cell for cell in cells):
            needed = columns if layout.label_needed else columns[1:]
            raise _unnamed(cells, needed, layout, source)
    return None


def _by_names(
    header: Header,
    columns: Sequence[str],
    reader: CellReader,
    layout: Layout,
    source: str,
) -> Arrangement:
    found = {name: header.places(name) for name in columns}
    needed = columns if layout.label_needed else columns[1:]
    if missing := [name for name in needed if not found[name]]:
        raise _unnamed(header.cells, missing, layout, source)
    kept = {name: header.named(name) for name in layout.kept}
    if absent := [name for name, at in kept.items() if not at]:
        raise RawDataInvalid(
            f"the header of {source} does not name a column that is to be kept",
            expected=", ".join(absent[:10]),
            seen=_listed(header.cells),
            remedy="name columns to keep as the header does",
        )
    if twice := sorted({name for name, at in (found | kept).items() if len(at) > 1}):
        names = [
            f"{name} ({', '.join(header.cells[i] for i in (found | kept)[name])})" for name in twice
        ]
        alike = all(len({header.cells[i] for i in (found | kept)[name]}) == 1 for name in twice)
        remedy = "rename or remove one of the two"
        raise RawDataInvalid(
            f"the header of {source} names a column twice",
            expected="every column once",
            seen=_listed(names),
            remedy=remedy if alike else f"{remedy}, or say which it is: --column NAME=HEADER",
        )
    return Arrangement(
        header.delimiter,
        header=True,
        cells=len(header.cells),
        places=tuple(found[name][0] if found[name] else None for name in columns),
        reader=reader,
        kept=tuple(at[0] for at in kept.values()),
    )


def _unnamed(
    cells: Sequence[str], missing: Sequence[str], layout: Layout, source: str
) -> RawDataInvalid:
    label = "the label and all columns" if layout.label_needed else "all columns"
    return RawDataInvalid(
        f"the header of {source} does not name every column of the contract",
        expected=f"{label} by name",
        seen=f"without {_listed(missing)}; it names {_listed(cells)}",
        remedy="name them as in the contract's [data] section, or say how the header does: "
        "--column NAME=HEADER"
        + ("; the label's name is --label" if layout.label in missing else "")
        + "; `coterie init --from FILE` drafts a contract for a file",
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name[:64] for name in names[:10]) + (", ..." if names[10:] else "")


def _refuse_late_header(
    lines: Sequence[bytes], columns: Sequence[str], layout: Layout, source: str
) -> None:
    for number, line in enumerate(lines[1:10], 2):
        for delimiter in DELIMITERS:
            header = Header(line, delimiter, layout.label, layout.columns)
            before = header_cells(lines[number - 2], delimiter)
            if (
                len(before) != len(header.cells)
                and names_columns(header.cells)
                and all(map(header.places, columns[1:]))
            ):
                raise RawDataInvalid(
                    f"the header of {source} is not its first line",
                    expected="names of columns on line 1",
                    seen=f"them on line {number}",
                    remedy=f"remove the lines before it: tail -n +{number} FILE > NEW",
                )


def _check_names(layout: Layout, data: DataSection) -> None:
    if unknown := sorted(set(layout.columns) - {*data.numeric, *data.categorical}):
        raise UsageError(
            f"{', '.join(unknown[:10])} is no column of the contract",
            expected="--column NAME=HEADER, where NAME is in the contract's [data] section",
            seen=", ".join(f"{name}={layout.columns[name]}" for name in unknown[:10]),
            remedy="`coterie contract show` lists the columns; the label's name is --label",
        )


def _is_row(cells: Sequence[str], data: DataSection) -> bool:
    """Whether a first line that names a column could still be a row: an id may be such a name."""
    numbers = cells[1 : 1 + len(data.numeric)]
    return (
        len(cells) == 1 + len(data.numeric) + len(data.categorical)
        and cells[0] in {"0", "1"}
        and all(not cell or NUMBER.match(cell) for cell in numbers)
    )


def _reader(data: DataSection, layout: Layout, delimiter: Delimiter) -> CellReader:
    return CellReader(data, layout.dialect, layout.missing, decimal_comma=delimiter == ";")


def without_header(block: LineBlock) -> Iterator[LineBlock]:
    """A file's first block without the header."""
    rest = block.text.split(b"\n", 1)[1]
    if rest:
        yield LineBlock(block.first_line + 1, rest)
