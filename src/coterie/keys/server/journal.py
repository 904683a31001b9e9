"""The key server's log: append-only lines, each with the digest of the line before.

An accidental change is detected when the server starts. The chain has no key, so a person who can
write the file can compute all digests again. An intended change is detected only if the digest of a
later line is kept elsewhere.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from coterie.chained_log import AppendOnlyFile, HashChain, bounded_lines, line_digest
from coterie.errors import JournalBroken, reason
from coterie.files import writing

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
        self._lock = threading.Lock()  # guards the last digest and the order of lines
        try:
            self._file = AppendOnlyFile(path, mode=0o600)
        except OSError as error:
            raise _unwritten(path, error) from error
        try:
            self._file.hold()  # lock before reading: another server may add lines
            chain = verify_journal(path)
            with writing(path):
                self._file.cut(chain.octets)  # no key was given out for an incomplete line
        except BaseException:
            self._file.close()
            raise
        self._last = chain.last

    @property
    def last(self) -> str:
        """Digest of the last line, hex."""
        with self._lock:
            return self._last

    def add(self, fields: Mapping[str, str | int]) -> None:
        """Adds a line, durably.

        Raises:
            JournalBroken: It cannot be written; then no key may be given out.
        """
        with self._lock:
            said = {**fields, "previous": self._last}
            line = json.dumps(dict(sorted(said.items()))).encode()
            try:
                self._file.append(line)
            except OSError as error:
                raise _unwritten(self._path, error) from error
            self._last = line_digest(line + b"\n")

    def close(self) -> None:
        """Closes and unlocks the file."""
        self._file.close()


@dataclass(frozen=True)
class Chain:
    """A log with a valid chain of digests.

    Attributes:
        last: Digest of the last line, hex.
        octets: Bytes of all complete lines, without an incomplete last line.
    """

    last: str
    octets: int


def verify_journal(path: Path) -> Chain:
    """Follows the chain of a log from its first line to its last.

    Raises:
        JournalBroken: A line was altered, removed or inserted, or is not a line of such a log.
    """
    chain, octets = HashChain(_START), 0
    for number, line in enumerate(_lines(path), start=1):
        if not line.endswith(b"\n") and len(line) < _MAX_LINE:
            break
        try:
            value: object = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise _broken(path, f"something else in line {number}")
        if not chain.continues(value.get("previous")):
            raise _broken(path, f"another predecessor in line {number}")
        chain.extend(line_digest(line))
        octets += len(line)
    return Chain(chain.head, octets)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        yield from bounded_lines(path, _MAX_LINE)
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
