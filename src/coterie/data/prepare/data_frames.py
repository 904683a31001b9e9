"""Converts the rows of a polars or pandas frame into the text of a raw file.

So there is only one parser, and a frame gets the same scores as its file. pandas is never imported
here.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeGuard, runtime_checkable

import polars as pl

from coterie.contract import DataSection
from coterie.data.prepare.header import column_name
from coterie.data.prepare.layout import Layout
from coterie.errors import RawDataInvalid

_ROWS_AT_A_TIME = 1 << 14
_NOTHING = frozenset({"NAType", "NaTType"})


class _Rows(Protocol):
    def __getitem__(self, rows: slice[int, int, None], /) -> PandasFrame: ...


class _Column(Protocol):
    def tolist(self) -> list[object]: ...


@runtime_checkable
class PandasFrame(Protocol):
    """The used part of a pandas frame's interface."""

    @property
    def columns(self) -> Iterable[object]:
        """Names of the columns."""
        ...

    @property
    def iloc(self) -> _Rows:
        """Rows by place."""
        ...

    @property
    def index(self) -> Sequence[object]:
        """Labels of the rows."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, name: object, /) -> _Column: ...


Frame = pl.DataFrame | PandasFrame


def is_frame(value: object) -> TypeGuard[Frame]:
    """Whether a value is a frame of polars or pandas."""
    return isinstance(value, pl.DataFrame) or (
        type(value).__module__.split(".")[0] == "pandas" and isinstance(value, PandasFrame)
    )


class RawFrame:
    """A frame that is read once, as a raw file with a header and only the contract's columns.

    Args:
        frame: The frame.
        data: The contract's columns.
        layout: Names of its columns.

    Attributes:
        name: Its name in errors.
        size: Number of its rows.
        consumed: Number of rows read so far. The first row is line 2; line 1 has the names.
    """

    def __init__(self, frame: Frame, data: DataSection, layout: Layout) -> None:
        wanted = {*data.numeric, *data.categorical}
        named = {layout.label, *layout.columns.values(), *layout.kept}
        self._frame = frame
        self._names = [
            name for name in frame.columns if str(name) in named or column_name(str(name)) in wanted
        ] or list(frame.columns)
        self._hasher = hashlib.sha256()
        self.name = "the frame"
        self.size = len(frame)
        self.consumed = 0

    @property
    def sha256(self) -> str:
        """SHA-256 of the text read so far."""
        return self._hasher.hexdigest()

    def pieces(self) -> Iterator[bytes]:
        """The text.

        Raises:
            RawDataInvalid: A cell holds a line end, or several values.
        """
        yield self._text([[str(name) for name in self._names]])
        for start in range(0, self.size, _ROWS_AT_A_TIME):
            columns = [
                [self._cell(value, start + i, name) for i, value in enumerate(cells)]
                for name, cells in zip(self._names, self._cells(start), strict=True)
            ]
            self.consumed = min(start + _ROWS_AT_A_TIME, self.size)
            yield self._text(zip(*columns, strict=True))

    def _cells(self, start: int) -> Iterator[list[object]]:
        stop = start + _ROWS_AT_A_TIME
        if isinstance(self._frame, pl.DataFrame):
            part = self._frame[start:stop]
            return (part[str(name)].to_list() for name in self._names)
        some = self._frame.iloc[start:stop]
        return (some[name].tolist() for name in self._names)

    def _text(self, rows: Iterable[Iterable[str]]) -> bytes:
        target = io.StringIO()
        csv.writer(target, lineterminator="\n").writerows(rows)
        text = target.getvalue().encode()
        self._hasher.update(text)
        return text

    def _cell(self, value: object, row: int, column: object) -> str:
        if isinstance(value, list | tuple | set | dict) or hasattr(value, "__array__"):
            raise RawDataInvalid(
                f"row {row} of the frame has several values in column {column}",
                expected="one value in each cell: lists are not supported",
                seen=repr(value)[:40],
                remedy="give the parts columns of their own",
            )
        text = cell_text(value)
        if "\n" in text or "\r" in text:
            raise RawDataInvalid(
                f"row {row} of the frame has a line end in column {column}",
                expected="ids without line ends",
                seen=repr(text[:40]),
                remedy="replace line ends in that column",
            )
        return text


def cell_text(value: object) -> str:
    """A value as text in a raw file: empty if missing, whole numbers without a decimal point."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return str(value).lower()
        case float():
            if math.isnan(value):
                return ""
            return str(int(value)) if value.is_integer() and abs(value) < 1 << 63 else repr(value)
        case _:
            return "" if type(value).__name__ in _NOTHING else str(value)
