"""Writing small files so that they are there whole or not at all."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

from coterie.ps.checkpoints.casing import Casing


def write_aside(path: Path, octets: bytes) -> None:
    """Writes to the side, syncs, and renames; returns once the file is durable.

    Raises:
        OSError: It cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Makes renames in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class SmallFiles:
    """Reads and writes files whole, in a casing that ties them to their names.

    Attributes:
        casing: Between content and file.
    """

    casing: Casing

    def write(self, path: Path, octets: bytes) -> None:
        """Writes a file durably, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        whole = io.BytesIO()
        target = self.casing.writer(whole, len(octets), path.name)
        target.write(octets)
        target.finish()
        write_aside(path, whole.getvalue())

    def read(self, path: Path, most: int) -> bytes:
        """Reads a file, at most so many bytes of it.

        Raises:
            SealBroken: It is not what was written under this name.
        """
        with path.open("rb") as file:
            return self.casing.reader(file, path.name).read(most)
