"""What a folder holds when the machine stops: what was synced, and nothing else that one may rely on."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class Disk:
    """Listens to the operating system's fsync, which is made all the same.

    Attributes:
        synced: Content of each file when it was synced last, by inode.
        listings: Names and inodes of the watched folder, each time that it was synced.
        on_file: Told of each file that is synced, by its name.
    """

    folder: Path
    synced: dict[int, bytes] = field(default_factory=dict)
    listings: list[dict[str, int]] = field(default_factory=list)
    on_file: Callable[[str], None] = lambda _: None

    def left(self) -> dict[str, bytes]:
        """The files that are there whatever happens; without what was not synced of them."""
        names = self.listings[-1] if self.listings else {}
        return {name: self.synced.get(inode, b"") for name, inode in names.items()}

    def put_into(self, folder: Path) -> None:
        """Makes a folder of what is left."""
        folder.mkdir()
        for name, octets in self.left().items():
            (folder / name).write_bytes(octets)

    def saw(self, descriptor: int) -> None:
        """Takes note of a sync."""
        status = os.fstat(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not stat.S_ISDIR(status.st_mode):
            self.on_file(path.name)
            self.synced[status.st_ino] = path.read_bytes()
        elif path == self.folder:
            self.listings.append({entry.name: entry.inode() for entry in os.scandir(path)})


@contextmanager
def watched(folder: Path) -> Iterator[Disk]:
    """Watches what is synced in a folder."""
    disk = Disk(folder.resolve())
    fsync = os.fsync

    def listening(descriptor: int) -> None:
        fsync(descriptor)
        disk.saw(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", listening)
        yield disk
