"""A disk as a power cut leaves it, and a disk without room: for cases and tests of one process.

Of a file that was written only what was synced (fsync(2)) is sure to be there afterwards, and of a
folder only the names that it had when it was synced itself. That is what an image is made of here:
no file system keeps less.
"""

from __future__ import annotations

import os
import resource
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class PowerCut:
    """Remembers what is durable below a folder that is empty at first.

    Attributes:
        root: The folder.
        on_sync: Told what was synced, after every sync: the moments at which images differ.
    """

    root: Path
    on_sync: Callable[[Path], None] = lambda _: None
    _files: dict[int, bytes] = field(default_factory=dict)
    _folders: dict[int, dict[str, tuple[int, int]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hears of every sync of this process as long as the context is open."""
        real = os.fsync

        def synced(file: int) -> None:
            real(file)
            path = Path(f"/proc/self/fd/{file}").readlink()
            with self._lock:
                self._note(file)
            self.on_sync(path)

        os.fsync = synced  # type: ignore[assignment]
        try:
            yield
        finally:
            os.fsync = real

    def image(self, target: Path) -> Path:
        """Makes the folder as it would be found after a power cut now."""
        with self._lock:
            self._copy(self.root.stat().st_ino, target)
        return target

    def left(self) -> dict[str, bytes]:
        """The files of the folder itself that a power cut now would leave."""
        with self._lock:
            names = self._folders.get(self.root.stat().st_ino, {})
            return {
                name: self._files.get(inode, b"")
                for name, (inode, mode) in names.items()
                if not stat.S_ISDIR(mode)
            }

    def content(self, path: Path) -> bytes | None:
        """What is durable of a file, whatever its name was when it was synced."""
        with self._lock:
            return self._files.get(path.stat().st_ino)

    def _note(self, file: int) -> None:
        found = os.fstat(file)
        if stat.S_ISDIR(found.st_mode):
            with os.scandir(file) as entries:
                self._folders[found.st_ino] = {
                    entry.name: (entry.inode(), entry.stat(follow_symlinks=False).st_mode)
                    for entry in entries
                }
        else:
            whole = Path(f"/proc/self/fd/{file}").read_bytes()
            self._files[found.st_ino] = whole

    def _copy(self, inode: int, target: Path) -> None:
        target.mkdir()
        for name, (below, mode) in self._folders.get(inode, {}).items():
            if stat.S_ISDIR(mode):
                self._copy(below, target / name)
            else:
                (target / name).write_bytes(self._files.get(below, b""))
            (target / name).chmod(stat.S_IMODE(mode))


@contextmanager
def no_room(octets: int = 0) -> Iterator[None]:
    """No file of this process grows beyond so many bytes (RLIMIT_FSIZE) while the context is open.

    The system refuses with EFBIG then, as it does with ENOSPC or EDQUOT on a disk that is full.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
