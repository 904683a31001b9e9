"""Reads raw files in the Criteo display-advertising format, or laid out otherwise, as parsed rows.

One row per line: the label (0 or 1), the numeric columns (signed integers of up to 64 bits, as in
the 1 TB variant, or decimals where the contract says so), the categorical columns (ids, any UTF-8 text without tab and newline, of
``MAX_CELL_BYTES`` at most); cells are
separated by tabs, missing cells are empty, there is no header. A carriage return before the
newline belongs to the line's end, a byte-order mark before the first line to nothing. Files with a header, with other separators,
or with cells written otherwise are turned into this form first (:mod:`coterie.data.prepare.layout`); what is no text is refused by what it
is (:mod:`coterie.data.prepare.recognition`).

The parser works on whole blocks: it finds all separators at once, so cells are spans of the block's
bytes and never become Python objects. Rows that break the format are counted, and named by line
number and reason.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from coterie.arrays import ByteArray, Int64Array
from coterie.contract import DataSection
from coterie.data.prepare.bad_rows import BadRows, Fault
from coterie.data.prepare.compression import RawSource
from coterie.data.prepare.dialect import hint_of
from coterie.data.prepare.layout import Arrangement, Layout, arrangement_of, without_header
from coterie.data.prepare.lines import MAX_LINE_BYTES, LineBlock, line_blocks
from coterie.data.prepare.numeric import number_cells
from coterie.data.prepare.recognition import (
    BYTE_ORDER_MARK,
    HEAD_BYTES,
    NOT_UTF8,
    refuse_what_is_no_text,
    suspected,
)
from coterie.data.siphash import PADDING
from coterie.errors import RawDataInvalid

MAX_CELL_BYTES = 4096
"""Longer ids and numbers are none: hashing takes time by the length of the longest."""

_BLOCK_BYTES = 8 << 20
_FIRST_LINES = 100
_MANY = 0.1
"""From this share of bad rows on it is the file that is to be mended, not single lines."""

_TAB, _NEWLINE, _RETURN, _ZERO = b"\t\n\r0"


@dataclass(frozen=True)
class RawRows:
    """Parsed rows: b examples in file order.

    Attributes:
        lines_b: 1-based line of each in the file, int64, shape (b,).
        labels_b: 0 or 1, uint8, shape (b,); 0 where the file has no labels.
        numeric_bn: Numeric cells, int64, shape (b, n), in units of the column's last place;
            ``MISSING`` where the cell is empty.
        text: The bytes that the ids lie in, padded for :mod:`coterie.data.siphash`.
        starts_bm: First byte of each id in ``text``, shape (b, m).
        lengths_bm: Bytes of each id, shape (b, m); 0 where the cell is empty.
        kept: For each row the cells that the layout keeps; empty where there are none.
    """

    lines_b: Int64Array
    labels_b: ByteArray
    numeric_bn: Int64Array
    text: ByteArray
    starts_bm: Int64Array
    lengths_bm: Int64Array
    kept: tuple[tuple[str, ...], ...] = ()


class CriteoReader:
    """Streams a raw file.

    Args:
        raw: The file.
        data: The contract's data section: the columns, and how many rows to read.
        layout: Known properties of the file.
        max_bad_rows: Bad rows that are skipped at most; one more is an error.
        block_bytes: Decompressed bytes that are parsed at a time.

    Attributes:
        raw: The file.
        bad: The bad rows so far.
        labelled: Whether the file has labels; known once the first rows have come.
        rows_read: Good rows so far.
    """

    def __init__(
        self,
        raw: RawSource,
        data: DataSection,
        *,
        layout: Layout | None = None,
        max_bad_rows: int = 0,
        block_bytes: int = _BLOCK_BYTES,
    ) -> None:
        self.raw = raw
        self._data = data
        self._layout = layout or Layout()
        self._max_bad_rows = max_bad_rows
        self._block_bytes = block_bytes
        self._arrangement: Arrangement | None = None
        self._head = b""
        self.rows_read = 0
        self.bad = BadRows()
        self.labelled = self._layout.label_needed

    def rows(self) -> Iterator[RawRows]:
        """Yields the good rows in blocks. The file is read to its end, even past the row limit.

        Raises:
            RawDataInvalid: Too many bad rows, no rows at all, a damaged or unreadable file.
        """
        left = self._data.row_limit
        for block, arrangement in self._blocks():
            if left == 0:
                continue  # the rest is read only for the file's digest
            rows = self._parse(block, arrangement, left)
            self.rows_read += len(rows.labels_b)
            if left is not None:
                left -= len(rows.labels_b)
            if self.bad.count > self._max_bad_rows:
                raise self._unfit()
            if len(rows.labels_b):
                yield rows
        if not self.rows_read and self.bad.count:
            raise self._unfit()
        if not self._head:
            raise RawDataInvalid(
                f"{self.raw.name} is empty",
                expected="rows of the contract's columns",
                seen=f"{self.raw.consumed} bytes",
                remedy="check the path; coterie synthesize makes data to try things with",
            )

    def _blocks(self) -> Iterator[tuple[LineBlock, Arrangement]]:
        """Yields the file's lines without the header, with their arrangement."""
        pieces = self.raw.pieces()
        head = b""
        while len(head) < HEAD_BYTES and (piece := next(pieces, b"")):
            head += piece
        refuse_what_is_no_text(head, self.raw.name)
        head = head.removeprefix(BYTE_ORDER_MARK)
        self._head = head[:HEAD_BYTES]
        blocks = line_blocks(itertools.chain([head], pieces), self._block_bytes)
        first = next(blocks, None)
        if first is None:
            return
        lines = head.split(b"\n", _FIRST_LINES)
        whole = lines[:-1] or lines
        arrangement = arrangement_of(whole, self._data, self._layout, source=self.raw.name)
        self._arrangement = arrangement
        self.labelled = arrangement.labelled
        for block in without_header(first) if arrangement.header else (first,):
            yield block, arrangement
        for block in blocks:
            yield block, arrangement

    def _parse(self, block: LineBlock, arrangement: Arrangement, limit: int | None) -> RawRows:
        """Parses a block up to the limit; bad rows after the last wanted row are not counted."""
        turned = arrangement.rearrange(block)
        block = turned.block
        rows, bad = parse_block(block, self._data, turned.faults)
        if limit is not None and len(rows.labels_b) >= limit:
            good = np.delete(np.arange(block.text.count(b"\n")), [line for line, _ in bad])
            last = int(good[limit - 1])
            bad = [(line, fault) for line, fault in bad if line < last]
            rows = RawRows(
                rows.lines_b[:limit],
                rows.labels_b[:limit],
                rows.numeric_bn[:limit],
                rows.text,
                rows.starts_bm[:limit],
                rows.lengths_bm[:limit],
            )
        for line, fault in bad:
            self.bad.add(block.first_line + line, fault)
        if not turned.kept:
            return rows
        places = (rows.lines_b - block.first_line).tolist()
        return replace(rows, kept=tuple(turned.kept[place] for place in places))

    def _unfit(self) -> RawDataInvalid:
        """The error of a file with too many bad rows, or with only bad rows."""
        seen = "; ".join(self.bad.lines[:5]) + ("; and more" if self.bad.count > 5 else "")
        if (found := suspected(self._head)) is not None:
            return RawDataInvalid(
                f"{self.raw.name} is no file of rows, as it seems",
                expected="text in UTF-8, plain or compressed with gzip, xz or zstd",
                seen=f"{found.kind}; {seen}",
                remedy=found.remedy,
            )
        numeric, categorical = len(self._data.numeric), len(self._data.categorical)
        row = f"{'a label, ' if self.labelled else ''}{numeric} numbers and {categorical} ids"
        cells = "" if self._arrangement is None else f": {self._arrangement.describe()}"
        if not self.rows_read and (self.bad.count > 1 or self._max_bad_rows):
            what, most = "has no row that fits the contract's columns", ""
            help_ = "compare it with the contract's [data] section; `coterie init --from FILE` drafts one"
            if self._arrangement is not None and not self._arrangement.header:
                help_ = f"give it a first line that names the columns, where it lacks one; {help_}"
        else:
            what = "has rows that do not fit the contract's columns"
            most = f"; at most {self._max_bad_rows} bad rows"
            help_ = "correct the lines, or allow so many to be skipped: --max-bad-rows N"
            if self.bad.hints and self.bad.count > max(
                1, _MANY * (self.rows_read + self.bad.count)
            ):
                help_ = f"{self.bad.count:,} bad rows are too many to be skipped"
        return RawDataInvalid(
            f"{self.raw.name} {what}",
            expected=f"{row}{cells}{most}",
            seen=seen,
            remedy="; ".join([*self.bad.hints, help_]),
        )


def parse_block(
    block: LineBlock, data: DataSection, known: Mapping[int, Fault] | None = None
) -> tuple[RawRows, list[tuple[int, Fault]]]:
    """Parses whole lines.

    Args:
        block: The lines.
        data: The contract's columns.
        known: Lines that are bad already, by their place in the block, with reasons.

    Returns:
        The good rows, and for each bad one its 0-based line within the block and a reason.
    """
    text = np.frombuffer(block.text + bytes(PADDING), np.uint8)
    numeric, cells = len(data.numeric), 1 + len(data.numeric) + len(data.categorical)
    if block.overlong:
        none = np.empty((0, cells), np.int64)
        numbers = none[:, 1 : 1 + numeric]
        return _rows(text, none[:, 0], none, none, numbers), [
            (0, Fault(f"more than {MAX_LINE_BYTES} bytes"))
        ]
    content = text[:-PADDING]
    separators = np.flatnonzero((content == _TAB) | (content == _NEWLINE))
    newlines = np.flatnonzero(content[separators] == _NEWLINE)
    line_starts = np.concatenate([[0], separators[newlines[:-1]] + 1])
    counts = np.diff(newlines, prepend=-1)
    faults = dict(known or {})
    for line in np.flatnonzero(separators[newlines] - line_starts > MAX_LINE_BYTES).tolist():
        faults[line] = Fault(f"more than {MAX_LINE_BYTES} bytes")
    for line in _lines_of_invalid_text(block.text):
        faults.setdefault(line, Fault("not valid UTF-8", NOT_UTF8))
    for line in np.flatnonzero(counts != cells).tolist():
        faults.setdefault(line, Fault(f"{counts[line]} cells instead of {cells}"))
    good = np.ones(len(newlines), bool)
    good[list(faults)] = False
    lines = np.flatnonzero(good)
    ends = separators[newlines[lines][:, None] + np.arange(1 - cells, 1)]
    starts = np.concatenate([line_starts[lines][:, None], ends[:, :-1] + 1], axis=1)
    lengths = ends - starts
    # If the last cell is empty, the byte before it is a tab and not the cell's carriage return.
    lengths[:, -1] -= (lengths[:, -1] > 0) & (text[ends[:, -1] - 1] == _RETURN)

    names = ("label", *data.numeric, *data.categorical)
    if (long := lengths > MAX_CELL_BYTES).any():
        for row in np.flatnonzero(long.any(axis=1)).tolist():
            longest = int(np.argmax(long[row]))
            faults[int(lines[row])] = Fault(
                f"{names[longest]} has {lengths[row, longest]} bytes; {MAX_CELL_BYTES} are the most"
            )
        short = ~long.any(axis=1)
        lines, starts, lengths = lines[short], starts[short], lengths[short]

    label_fits = (lengths[:, 0] == 1) & np.isin(text[starts[:, 0]], (_ZERO, _ZERO + 1))
    numbers, fits = number_cells(
        text, starts[:, 1 : 1 + numeric], lengths[:, 1 : 1 + numeric], data
    )
    keep = label_fits & fits.all(axis=1)
    for row in np.flatnonzero(~keep).tolist():
        at = 0 if not label_fits[row] else 1 + int(np.argmin(fits[row]))
        start = int(starts[row, at])
        cell = block.text[start : start + min(int(lengths[row, at]), 24)].decode(errors="replace")
        wanted = "decimal number" if names[at] in data.decimals else "64-bit integer"
        faults[int(lines[row])] = Fault(
            f"{names[at]} = {cell!r} is not a {wanted}" if at else f"label {cell!r} is not 0 or 1",
            *hint_of(names[at] if at else "", cell, data.decimals),
        )
    if not keep.all():
        starts, lengths, numbers = starts[keep], lengths[keep], numbers[keep]
    numbered = lines[keep] + block.first_line
    return _rows(text, numbered, starts, lengths, numbers), sorted(
        faults.items(), key=lambda item: item[0]
    )


def _rows(
    text: ByteArray,
    lines: Int64Array,
    starts: Int64Array,
    lengths: Int64Array,
    numbers: Int64Array,
) -> RawRows:
    ids = slice(1 + numbers.shape[1], None)
    labels = (text[starts[:, 0]] - np.uint8(_ZERO)).astype(np.uint8)
    return RawRows(lines, labels, numbers, text, starts[:, ids], lengths[:, ids])


def _lines_of_invalid_text(text: bytes) -> list[int]:
    try:
        text.decode()
    except UnicodeDecodeError:
        return [i for i, line in enumerate(text.split(b"\n")) if not _is_text(line)]
    return []


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
