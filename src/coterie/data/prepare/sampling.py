"""Samples a party's file and proposes columns of a contract: types, table sizes, the label.

The sample is the first rows. The proposal is a start; the parties must agree on the contract.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from coterie.data.prepare.bad_rows import BadRows, Fault
from coterie.data.prepare.compression import RawFile
from coterie.data.prepare.dialect import DialectName
from coterie.data.prepare.header import (
    DELIMITERS,
    NUMBER,
    Delimiter,
    column_name,
    header_cells,
    names_columns,
    split_line,
)
from coterie.data.prepare.plausibility import ID_NAME
from coterie.data.prepare.recognition import BYTE_ORDER_MARK, refuse_what_is_no_text, suspected
from coterie.data.prepare.sampled_column import SampledColumn
from coterie.errors import RawDataInvalid, UsageError
from coterie.text import printable

SAMPLE_ROWS = 50_000
SAMPLE_BYTES = 64 << 20

_FEW_ROWS = 50
_OF_ITS_OWN = 0.9
_LABEL_NAMES = (
    *(
        "label",
        "click",
        "clicked",
        "is_click",
        "is_clicked",
        "target",
        "y",
        "converted",
        "conversion",
    ),
    *("purchased", "outcome", "response", "class"),
)
_MOST_PLACES = 4


@dataclass(frozen=True)
class ProposedColumns:
    """Proposed columns of a contract, and the layout of the file under it.

    Attributes:
        label: The label's name in the header.
        numeric: Names of the numeric columns in the contract.
        categorical: Categorical columns.
        decimals: Decimal places of the numeric columns that are not integers.
        column_rows: Table sizes of the categorical columns.
        rows: Approximate number of rows of the file.
        dialect: The spelling of its cells.
        columns: Names in the header of columns that are not found by their own name.
        left_out: The header's other names, with the reason.
        skipped: Number of sampled rows that cannot be read.
        unread: The reason for the first of them, as in ``line 7: not valid UTF-8``, with a remedy.
        doubtful: Columns that are taken for ids or left out because of a few cells that are not
            numbers, with the reason.
    """

    label: str
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    decimals: Mapping[str, int]
    column_rows: Mapping[str, int]
    rows: int
    dialect: DialectName
    columns: Mapping[str, str]
    left_out: Mapping[str, str]
    skipped: int = 0
    unread: str = ""
    doubtful: Mapping[str, str] = field(default_factory=dict)


def propose_columns(path: Path, label: str | None = None) -> ProposedColumns | None:
    """Proposes columns for a file with a header.

    Args:
        path: The file.
        label: The label's name in the header; found by name and values if absent.

    Returns:
        The columns; None for a file in Criteo's own form, whose columns need not be named.

    Raises:
        RawDataInvalid: The file is not text, has no header, has too few rows, or lacks a numeric or
            a categorical column.
        UsageError: It is not clear which column is the label.
    """
    lines, share = _first_lines(path)
    delimiter = _delimiter(lines, str(path))
    if delimiter is None:
        return None
    names = header_cells(lines[0], delimiter)
    columns = _named(names)
    rows = 0
    bad = BadRows()
    for number, line in enumerate(lines[1:], 2):
        cells = split_line(line, delimiter)
        if isinstance(cells, Fault):
            bad.add(number, cells)
            continue
        if len(cells) != len(columns):
            bad.add(number, Fault(f"{len(cells)} cells instead of {len(columns)}"))
            continue
        rows += 1
        for column, cell in zip(columns, cells, strict=True):
            column.look(cell, comma=delimiter == ";")
    if not rows:
        raise RawDataInvalid(
            f"{path} has no row that fits its header"
            if bad.count
            else f"{path} has a header alone",
            expected="rows behind it",
            seen="; ".join(bad.lines[:5]) or ", ".join(names)[:200],
            remedy="; ".join(bad.hints) or "give a file with rows",
        )
    labelled = _label_among(columns, label, str(path))
    others = [column for column in columns if column is not labelled]
    found = _sorted_out(labelled, others, rows, round(rows / share), str(path))
    return replace(
        found,
        skipped=bad.count,
        unread="; ".join([*bad.lines[:1], *bad.hints]),
        doubtful={column.written: column.doubt for column in others if column.doubt},
    )


def _first_lines(path: Path) -> tuple[list[bytes], float]:
    """The first lines, and their share of the file."""
    raw = RawFile(path)
    text = b""
    pieces = raw.pieces()
    while len(text) < SAMPLE_BYTES and text.count(b"\n") <= SAMPLE_ROWS:
        if not (more := b"".join(itertools.islice(pieces, 4))):
            break
        text += more
    refuse_what_is_no_text(text, str(path))
    whole = text.removeprefix(BYTE_ORDER_MARK)
    ended = raw.consumed >= raw.size
    lines = whole.split(b"\n")
    lines = lines[:-1] if not ended or not lines[-1] else lines
    if not lines:
        raise RawDataInvalid(
            f"{path} is empty",
            expected="a header and rows",
            seen=f"{len(whole)} bytes",
            remedy="check the path",
        )
    kept = lines[: SAMPLE_ROWS + 1]
    read = sum(map(len, kept)) + len(kept)
    share = min(1.0, raw.consumed / max(1, raw.size)) * read / max(1, len(whole))
    return kept, 1.0 if ended and len(kept) == len(lines) else max(share, 1e-9)


def _delimiter(lines: Sequence[bytes], name: str) -> Delimiter | None:
    """The header's delimiter; None for rows in Criteo's own form."""
    first = lines[1:101]
    fitting = {}
    for delimiter in DELIMITERS:
        cells = header_cells(lines[0], delimiter)
        counts = [
            len(c) for line in first if not isinstance(c := split_line(line, delimiter), Fault)
        ]
        if names_columns(_named_ones(cells)):
            fitting[delimiter] = (counts.count(len(cells)), len(cells))
    if fitting:
        return max(fitting, key=lambda delimiter: fitting[delimiter])
    if len(lines[0].split(b"\t")) == 40 and lines[0][:2] in {b"0\t", b"1\t"}:
        return None
    if (found := suspected(b"\n".join(lines[:100]))) is None:
        _refuse_late_header(lines[:10], name)
        _refuse_odd_header(lines[0], name)
    raise RawDataInvalid(
        f"{name} has no header",
        expected="a first line that names the columns, or rows in Criteo's own form",
        seen=found.kind
        if found
        else printable(lines[0].decode(errors="replace")) or "an empty line",
        remedy=found.remedy
        if found
        else "put a line with the names of the columns before the rows",
    )


def _named_ones(cells: Sequence[str]) -> Sequence[str]:
    """A header's cells, without an empty first one, which is a data frame's index."""
    return cells[1:] if cells and not cells[0] else cells


def _refuse_late_header(lines: Sequence[bytes], name: str) -> None:
    """Refuses a file whose header follows lines of a single cell: comments, a title, ``sep=;``.

    Raises:
        RawDataInvalid: The header is not the first line.
    """
    for number, line in enumerate(lines, 1):
        if any(names_columns(_named_ones(header_cells(line, sign))) for sign in DELIMITERS):
            raise RawDataInvalid(
                f"the header of {name} is not its first line",
                expected="names of columns on line 1",
                seen=f"them on line {number}",
                remedy=f"remove the lines before it: tail -n +{number} FILE > NEW",
            )
        if any(len([c for c in header_cells(line, sign) if c]) > 1 for sign in DELIMITERS):
            return


def _refuse_odd_header(line: bytes, name: str) -> None:
    """Refuses a header with a fault.

    Raises:
        RawDataInvalid: It names only one column, names one twice, or leaves a name empty.
    """
    cells = max((header_cells(line, sign) for sign in DELIMITERS), key=len)
    words = list(dict.fromkeys(cell for cell in cells if cell))
    if not words or any(map(NUMBER.match, words)) or not all(cell.isprintable() for cell in words):
        return
    twice = [cell for cell in words if cells.count(cell) > 1]
    if len(cells) == 1:
        what, wanted, seen = (
            "has one column alone",
            "columns separated by tabs, commas, semicolons or bars",
            words,
        )
    elif twice:
        what, wanted, seen = "has a header that names a column twice", "every column once", twice
    elif "" in cells:
        empty = [str(i) for i, cell in enumerate(cells, 1) if not cell]
        what, wanted, seen = (
            "has a header with empty names",
            "a name for every column",
            [f"none for column {', '.join(empty[:10])}"],
        )
    else:
        return
    raise RawDataInvalid(
        f"{name} {what}",
        expected=wanted,
        seen=printable(", ".join(seen), 200),
        remedy="give a file with a label and columns to learn from"
        if len(cells) == 1
        else "rename or remove columns, so that each has a name of its own",
    )


def _named(names: Sequence[str]) -> list[SampledColumn]:
    """Columns, each with a unique name that contracts allow."""
    taken: set[str] = set()
    columns = []
    for written in names:
        name = base = column_name(written)
        number = 2
        while name in taken:
            name, number = f"{base[:60]}_{number}", number + 1
        taken.add(name)
        columns.append(SampledColumn(written, name))
    return columns


def _label_among(columns: Sequence[SampledColumn], label: str | None, path: str) -> SampledColumn:
    if label is not None:
        found = [column for column in columns if column.written == label]
        if not found:
            raise UsageError(
                f"{path} has no column {label}",
                expected="--label NAME, a name of the header",
                seen=", ".join(column.written for column in columns)[:300],
                remedy="name the label as the header does",
            )
        if not found[0].is_label:
            raise _no_label(found[0], f"{label} is no label")
        return found[0]
    possible = [column for column in columns if column.is_label]
    called_so = [column for column in columns if column.name.lower() in _LABEL_NAMES]
    by_name = [column for column in called_so if column.is_label]
    if called_so and not by_name and (len(called_so[0].ids) <= 2 or not possible):
        # Otherwise another column would become the label, and this one would give the answer away.
        raise _no_label(called_so[0], f"{called_so[0].written} seems to be the label, but is none")
    if len(chosen := by_name or possible) == 1:
        return chosen[0]
    raise UsageError(
        f"it is not clear which column of {path} is the label",
        expected="--label NAME",
        seen=f"columns of two values: {', '.join(c.written for c in chosen)[:200]}"
        if chosen
        else "no column of 0 and 1, or true and false",
        remedy="name it",
    )


def _no_label(column: SampledColumn, what: str) -> RawDataInvalid:
    return RawDataInvalid(
        what,
        expected="0 or 1, or true or false, in every row",
        seen=", ".join(printable(cell) or "an empty cell" for cell in sorted(column.labels)),
        remedy="write labels as 0 and 1, leave out rows without one, or name another column: --label NAME",
    )


def _sorted_out(
    label: SampledColumn, columns: Sequence[SampledColumn], sampled: int, rows: int, path: str
) -> ProposedColumns:
    numeric: list[SampledColumn] = []
    categorical: list[SampledColumn] = []
    left_out: dict[str, str] = {}
    for column in columns:
        distinct = len(column.ids)
        of_its_own = sampled >= _FEW_ROWS and distinct > _OF_ITS_OWN * column.filled
        if not column.written:
            left_out["the first column"] = "it has no name, as the index of a data frame"
        elif distinct < 2:
            left_out[column.written] = "the same in every row"
        elif column.number and not column.whole:
            numeric.append(column)
        elif of_its_own:
            left_out[column.written] = "an id, a time or a text of its own in nearly every row"
        elif column.number and not ID_NAME.search(column.name):
            numeric.append(column)
        else:
            categorical.append(column)
    if not categorical and len(numeric) > 1:
        fewest = min((c for c in numeric if c.whole), key=lambda c: len(c.ids), default=None)
        if fewest is not None:
            numeric.remove(fewest)
            categorical.append(fewest)
    if not numeric or not categorical:
        raise RawDataInvalid(
            f"{path} has no {'numeric' if not numeric else 'categorical'} column that a model could learn from",
            expected="one of each kind at least",
            seen="; ".join(
                f"{name}: {why}"
                for name, why in (
                    left_out | {c.written: c.doubt for c in columns if c.doubt}
                ).items()
            )[:300]
            or ", ".join(column.written for column in columns)[:300],
            remedy="add one to the file, such as a count of events or a country",
        )
    used = [*numeric, *categorical]
    plain = (
        (label.number and label.plain_whole)
        and all(c.plain_whole if c.whole else c.plain_decimal for c in numeric)
        and all(column.plain_id for column in categorical)
    )
    return ProposedColumns(
        label=label.written,
        numeric=tuple(column.name for column in numeric),
        categorical=tuple(column.name for column in categorical),
        decimals={c.name: min(max(c.places, 1), _MOST_PLACES) for c in numeric if not c.whole},
        column_rows={column.name: column.table_rows for column in categorical},
        rows=max(rows, 14),
        dialect="strict" if plain else "table",
        columns={c.name: c.written for c in used if _needs_mapping(c, columns)},
        left_out=left_out,
    )


def _needs_mapping(column: SampledColumn, columns: Sequence[SampledColumn]) -> bool:
    """Whether a header's name needs a mapping because another name has the same spelling."""
    if column.written == column.name:
        return False
    return (
        sum(1 for other in columns if column_name(other.written) == column_name(column.written)) > 1
    )
