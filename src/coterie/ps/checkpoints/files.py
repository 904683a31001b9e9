"""Writing small files so that they are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


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
