"""The key server's log: lines are only ever added, and each carries the digest of the one before.

So an accidental change shows when the server starts. The chain has no key: whoever can write the file
can compute all digests anew, so an intended change shows only if the digest of a later line is kept
elsewhere.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from coterie.errors import JournalBroken
from coterie.files import hold, reason, sync_folder, writing

_START = "0" * 64
_MAX_LINE = 1 << 14


class Journal:
    """An append-only log file. Thread-safe.

    Args:
        path: The file; made if absent, readable by its owner only.

    Raises:
        OutputInUse: Another key server uses it.
        EnvironmentUnfit: Its folder cannot be written.
        JournalBroken: It cannot be opened, or its chain of digests is broken.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.fdopen(os.open(path, flags, 0o600), "ab", buffering=0)
        except OSError as error:
            raise _unwritten(path, error) from error
        try:
            hold(self._file.fileno(), path)  # before it is read: another server may add lines
            chain = verify_journal(path)
            with writing(path):
                self._file.truncate(chain.octets)  # of a torn line nothing was given out
                sync_folder(path.parent)
        except BaseException:
            self._file.close()
            raise
        self._last, self._octets = chain.last, chain.octets

    @property
    def last(self) -> str:
        """Digest of the last line, hex."""
        with self._lock:
            return self._last

    def add(self, fields: Mapping[str, str | int]) -> None:
        """Adds a line, durably.

        Raises:
            JournalBroken: It cannot be written: then nothing may be given out either.
        """
        with self._lock:
            line = (
                json.dumps(dict(sorted({**fields, "previous": self._last}.items()))).encode()
                + b"\n"
            )
            try:
                self._write(line)
            except OSError as error:
                self._take_back()
                raise _unwritten(self._path, error) from error
            self._last, self._octets = hashlib.sha256(line).hexdigest(), self._octets + len(line)

    def close(self) -> None:
        """Closes the file, and lets it go."""
        self._file.close()

    def _write(self, line: bytes) -> None:
        if self._file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._file.fileno())

    def _take_back(self) -> None:
        """Cuts off what there is of a line for which nothing was given out; else at the next start."""
        with suppress(OSError):
            self._file.truncate(self._octets)


@dataclass(frozen=True)
class Chain:
    """A log whose digests hold.

    Attributes:
        last: Digest of the last line, hex.
        octets: Bytes of all whole lines; a last line that was cut while it was written is not one.
    """

    last: str
    octets: int


def verify_journal(path: Path) -> Chain:
    """Follows the chain of a log from its first line to its last.

    Raises:
        JournalBroken: A line was altered, removed or put in, or is no line of such a log.
    """
    last, octets = _START, 0
    for number, line in enumerate(_lines(path), start=1):
        if not line.endswith(b"\n") and len(line) < _MAX_LINE:
            break
        try:
            value: object = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise _broken(path, f"something else in line {number}")
        if value.get("previous") != last:
            raise _broken(path, f"another predecessor in line {number}")
        last, octets = hashlib.sha256(line).hexdigest(), octets + len(line)
    return Chain(last, octets)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while line := file.readline(_MAX_LINE):
                yield line
    except OSError as error:
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: OSError) -> JournalBroken:
    return JournalBroken(
        f"the key server's log {path} cannot be written",
        expected="a file to read and append to, no link, in a folder with room",
        seen=reason(error),
        remedy="make room, or mend the folder or its owner; nothing is given out before that, and the "
        "same command goes on with the same log",
    )


def _broken(path: Path, seen: str) -> JournalBroken:
    return JournalBroken(
        f"the key server's log {path} cannot be gone on with",
        expected="a file to append to, in which every line names the digest of the one before",
        seen=seen,
        remedy="keep the file as evidence, find out who touched it, and name another --log",
    )
