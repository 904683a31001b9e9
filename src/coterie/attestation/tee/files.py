"""The interface to the kernel's pseudo-files, and its implementation by single system calls.

Device and configfs files are not ordinary files: one ``write`` is one command, and a short write is
another command. So nothing is buffered, retried or completed here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

_CHUNK = 4096


class KernelFiles(Protocol):
    """Operations on pseudo-files; every one may raise ``OSError``."""

    def write(self, path: Path, data: bytes) -> int:
        """Opens, writes once, closes; returns the number of bytes that were taken."""
        ...

    def read(self, path: Path, limit: int) -> bytes:
        """Opens, reads to the end but at most ``limit`` bytes, closes."""
        ...

    def make_directory(self, path: Path) -> None:
        """Makes one directory; it must not exist."""
        ...

    def remove_directory(self, path: Path) -> None:
        """Removes one directory; in configfs its files go with it."""
        ...


class SystemFiles:
    """The operating system's files."""

    def write(self, path: Path, data: bytes) -> int:
        """Opens, writes once, closes; returns the number of bytes that were taken."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            return os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def read(self, path: Path, limit: int) -> bytes:
        """Opens, reads to the end but at most ``limit`` bytes, closes."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = b""
            while len(data) < limit:
                piece = os.read(descriptor, min(_CHUNK, limit - len(data)))
                if not piece:
                    break
                data += piece
            return data
        finally:
            os.close(descriptor)

    def make_directory(self, path: Path) -> None:
        """Makes one directory; it must not exist."""
        path.mkdir(mode=0o700)

    def remove_directory(self, path: Path) -> None:
        """Removes one directory; in configfs its files go with it."""
        path.rmdir()
