"""Append-only logs in which every line names the digest of the line before.

Receipts and the key server's journal are such logs. They define the content and signatures of
lines; this module has the file and the chain of digests (linked timestamps, Haber and Stornetta
1991). Each line is written in one write. A crash of the machine may leave an incomplete last line,
which is removed when the log is opened again.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from coterie.files import hold, sync, sync_folder

_PIECE_BYTES = 1 << 16


class AppendOnlyFile:
    """A file to which lines are appended. Not thread-safe.

    Args:
        path: The file; made if absent, in a folder that exists. It may not be a link.
        mode: Who may read and write it, if it is made.

    Attributes:
        size: Octets of the lines that it keeps.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path, *, mode: int) -> None:
        self._path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(path, flags, mode)
        self.size = os.fstat(self._file).st_size

    def hold(self) -> None:
        """Locks it against other processes until it is closed.

        Raises:
            OutputInUse: Another process has locked it.
        """
        hold(self._file, self._path)

    def whole(self) -> int:
        """Number of bytes up to the end of its last complete line.

        Raises:
            OSError: It cannot be read.
        """
        end = self.size
        while end > 0:
            start = max(0, end - _PIECE_BYTES)
            found = os.pread(self._file, end - start, start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
        return 0

    def cut(self, size: int) -> int:
        """Truncates it to a size, and makes its name durable; returns the number of removed bytes.

        Raises:
            OSError: It cannot be written.
        """
        lost = os.fstat(self._file).st_size - size
        if lost:
            os.ftruncate(self._file, size)
        self.size = size
        sync_folder(self._path.parent)
        return lost

    def append(self, line: bytes, *, durably: bool = True) -> None:
        """Appends a line, given without its end; a line that cannot be written leaves nothing.

        Args:
            line: Holds no line feed.
            durably: Whether to return only when it is on the disk.

        Raises:
            OSError: It cannot be written.
        """
        octets = line + b"\n"
        try:
            self._write(octets)
            if durably:
                self.sync()
        except OSError:
            with suppress(OSError):  # if this fails, it is removed when the log is opened again
                os.ftruncate(self._file, self.size)
            raise
        self.size += len(octets)

    def _write(self, octets: bytes) -> None:
        if os.write(self._file, octets) != len(octets):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Waits until all lines are durable.

        Raises:
            OSError: It cannot be written.
        """
        sync(self._file)

    def close(self) -> None:
        """Closes and unlocks the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1  # the descriptor's number may be reused


def bounded_lines(path: Path, most: int) -> Iterator[bytes]:
    """The lines of a file with their ends, of each at most so many octets; the rest of it comes next.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        while line := file.readline(most):
            yield line


class HashChain:
    """The digest that the next line of a log must name.

    Args:
        start: The digest that the first line names, hex.

    Attributes:
        head: Digest of the last line, hex; ``start`` before there is one.
        length: Number of lines so far.
    """

    def __init__(self, start: str) -> None:
        self.head = start
        self.length = 0

    def continues(self, previous: object) -> bool:
        """Whether a line that names this digest is the next."""
        return previous == self.head

    def extend(self, digest: str) -> None:
        """Adds the next line's digest."""
        self.head = digest
        self.length += 1


def line_digest(line: bytes, label: bytes = b"") -> str:
    """SHA-256 over a label and a line, hex."""
    return hashlib.sha256(label + line).hexdigest()
