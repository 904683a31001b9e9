"""A disk that fails at chosen points, below one folder and for this process alone.

Every write, every sync and every change of a name is a point, counted in the order in which they are
reached. The shim lies under what Python opens and calls: above it everything is as it always is.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, ParamSpec, TypeVar
from unittest.mock import patch

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_CREATES = os.O_CREAT | os.O_TRUNC
_OPEN = io.open  # the one that is there before any disk is installed
_NAMING = ("rename", "replace", "mkdir", "unlink", "rmdir", "ftruncate")


Kind = Literal["write", "sync", "name"]
Words = ParamSpec("Words")
Told = TypeVar("Told")


@dataclass(frozen=True)
class Point:
    """Where a process hands something to its disk.

    Attributes:
        number: How many points were reached before.
        kind: ``write``: octets; ``sync``: a file or folder is made durable; ``name``: a name comes, goes
            or changes, or a file is cut.
        path: What it is about.
    """

    number: int
    kind: Kind
    path: Path


class FailingDisk:
    """Counts points, and lets some of them fail.

    Args:
        root: The folder below which points count.
        fails: Tells the errno(3) of a point, or None where it goes well. Called under a lock.

    Attributes:
        points: Those that were reached.
    """

    def __init__(self, root: Path, fails: Callable[[Point], int | None]) -> None:
        self._root = root.resolve()
        self._fails = fails
        self._lock = threading.Lock()
        self.points: list[Point] = []

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Stands between this process and its disk as long as the context is open."""
        with ExitStack() as stack:
            for module in (io, builtins):
                stack.enter_context(patch.object(module, "open", self._opened))
            replaced = {
                "open": self._opening(os.open),
                "write": self._reaching("write", os.write),
                "fsync": self._reaching("sync", os.fsync),
                **{name: self._reaching("name", getattr(os, name)) for name in _NAMING},
            }
            for name, call in replaced.items():
                stack.enter_context(patch.object(os, name, call))
            yield

    def _reach(self, kind: Kind, place: object) -> None:
        path = _path_of(place)
        if path is None or not path.is_relative_to(self._root):
            return
        with self._lock:
            point = Point(len(self.points), kind, path)
            self.points.append(point)
            number = self._fails(point)
        if number is not None:
            raise OSError(number, os.strerror(number), str(path))

    def _opened(  # noqa: PLR0917 (as io.open)
        self,
        file: str | os.PathLike[str] | int,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,  # noqa: FBT001, FBT002
        opener: Callable[[str, int], int] | None = None,
    ) -> object:
        path = _path_of(file)
        if not set(mode) & set("wax+") or path is None or not path.is_relative_to(self._root):
            return _OPEN(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if not isinstance(file, int):
            self._reach("name", path)
        raw = _File(file, mode.replace("t", ""), lambda: self._reach("write", path))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def _opening(self, real: Callable[Words, Told]) -> Callable[Words, Told]:
        def called(*words: Words.args, **named: Words.kwargs) -> Told:
            path, flags, *_ = words
            if isinstance(flags, int) and flags & _CREATES:
                self._reach("name", path)
            return real(*words, **named)

        return called

    def _reaching(self, kind: Kind, real: Callable[Words, Told]) -> Callable[Words, Told]:
        def called(*words: Words.args, **named: Words.kwargs) -> Told:
            self._reach(kind, words[0])
            return real(*words, **named)

        return called


def error_named(name: str) -> int:
    """The number of an error's name, ``EIO`` for one."""
    return int(getattr(errno, name))


class _File(io.FileIO):
    """A file that tells before it writes."""

    def __init__(
        self, file: str | os.PathLike[str] | int, mode: str, tell: Callable[[], None]
    ) -> None:
        super().__init__(os.fspath(file) if not isinstance(file, int) else file, mode)
        self._tell = tell

    def write(self, octets: ReadableBuffer, /) -> int:
        """See io.FileIO."""
        self._tell()
        return super().write(octets)


def _path_of(place: object) -> Path | None:
    """What a path or a descriptor stands for; None where that is no file."""
    try:
        if isinstance(place, int):
            return Path(f"/proc/self/fd/{place}").readlink()
        if isinstance(place, str | os.PathLike):
            path = Path(place)
            return path.parent.resolve() / path.name
    except OSError:
        return None
    return None
