"""The receipt's file on the parameter server: append-only, gone on with after a restart.

A line goes out in one write. What a crash of the machine may leave is a torn last line: it is cut
off, and the entry that the next process writes first says how much was lost.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from coterie.errors import EnvironmentUnfit
from coterie.files import sync_folder, unwritable
from coterie.receipts.entries import Entry
from coterie.receipts.reading import read_entries

_PIECE_BYTES = 1 << 16


class ReceiptFile:
    """Appends lines.

    Args:
        path: The file; made if absent, in a folder that exists.

    Attributes:
        lost: Octets of a torn last line that were cut off.

    Raises:
        EnvironmentUnfit: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
            )
            try:
                size = os.fstat(self._file).st_size
                whole = _end_of_last_line(self._file, size)
                if whole < size:
                    os.ftruncate(self._file, whole)
                sync_folder(path.parent)
            except OSError:
                os.close(self._file)
                raise
        except OSError as error:
            raise _unfit(path, error) from error
        self.lost = size - whole

    def entries(self) -> Iterator[Entry]:
        """What is in it, checked.

        Raises:
            ReceiptRefused: It was altered.
        """
        return read_entries(self._path)

    def clear(self) -> None:
        """Begins anew.

        Raises:
            EnvironmentUnfit: It cannot be written.
        """
        try:
            os.ftruncate(self._file, 0)
        except OSError as error:
            raise _unfit(self._path, error) from error

    def append(self, line: bytes, *, durably: bool) -> None:
        """Appends a line.

        Args:
            line: Without its end.
            durably: Whether to wait until it is on the disk.

        Raises:
            EnvironmentUnfit: It cannot be written.
        """
        try:
            octets = line + b"\n"
            written = os.write(self._file, octets)
            if durably:
                os.fsync(self._file)
        except OSError as error:
            raise _unfit(self._path, error) from error
        if written != len(octets):
            raise _unfit(self._path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def sync(self) -> None:
        """Waits until all of it is on the disk.

        Raises:
            EnvironmentUnfit: It cannot be written.
        """
        try:
            os.fsync(self._file)
        except OSError as error:
            raise _unfit(self._path, error) from error

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)
        self._file = -1  # another file may get its number


def _end_of_last_line(file: int, size: int) -> int:
    """Where the last whole line ends."""
    end = size
    while end > 0:
        start = max(0, end - _PIECE_BYTES)
        piece = os.pread(file, end - start, start)
        found = piece.rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _unfit(path: Path, error: OSError) -> EnvironmentUnfit:
    return unwritable(f"the receipt {path}", error)
