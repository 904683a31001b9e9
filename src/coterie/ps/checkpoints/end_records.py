"""Small records of a run's end beside the checkpoints: reports, departures, and the outcome.

All runs of a contract share contract and key, and each note is a separate file. So a note names the
run and the last step's checkpoint at which it was made, and is valid only with these.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from coterie.errors import CheckpointDamaged, SealBroken
from coterie.ps.checkpoints.files import SmallFiles
from coterie.ps.checkpoints.records import MAX_NOTE_BYTES, DurableCheckpoint

_MAGIC = b"coterie note 2\n"
_NAME = re.compile(r"^[a-z0-9-]{1,100}$")
_DIGEST_BYTES = 32


class EndRecords:
    """The notes of one run: magic, contract digest, run, checkpoint, name, content, SHA-256.

    Args:
        directory: Their folder.
        contract_digest: Digest of the run's contract.
        files: Writes and reads them.
    """

    def __init__(self, directory: Path, contract_digest: bytes, files: SmallFiles) -> None:
        self._directory = directory
        self._files = files
        self._head = _MAGIC + contract_digest

    def put(self, name: str, octets: bytes, *, run_id: str, checkpoint: bytes) -> None:
        """Writes a note durably.

        Args:
            name: Its name, of letters, digits and hyphens.
            octets: Its content.
            run_id: Name of the run, 64 hex digits.
            checkpoint: Digest of this shard's checkpoint of the last step, 32 bytes.

        Raises:
            OSError: It cannot be written.
        """
        if not _NAME.match(name) or len(octets) > MAX_NOTE_BYTES:
            raise AssertionError
        place = bytes.fromhex(run_id) + checkpoint
        content = self._head + place + name.encode() + b"\0" + octets
        self._files.write(self._path(name), content + hashlib.sha256(content).digest())

    def all(self, run_id: str, available: Iterable[DurableCheckpoint]) -> dict[str, bytes]:
        """Reads all notes.

        Args:
            run_id: Name of the run whose checkpoints are here, or empty.
            available: These checkpoints.

        Raises:
            CheckpointDamaged: One is incomplete, altered, renamed, of another contract or run, or
                of a checkpoint that is not here.
        """
        digests = {found.digest for found in available}
        notes: dict[str, bytes] = {}
        for path in _paths(self._directory):
            run, digest, content = self._read(path)
            if run != run_id:
                expected = f"a note of run {run_id}" if run_id else "no note without a checkpoint"
                raise _damaged(path, expected, f"one of run {run}")
            if digest not in digests:
                raise _damaged(path, f"its checkpoint, SHA-256 {digest.hex()}", "others")
            notes[_name_of(path)] = content
        return notes

    def forget(self, but: Iterable[DurableCheckpoint] = ()) -> None:
        """Removes all notes except those of some checkpoints."""
        kept = {found.digest for found in but}
        for path in _paths(self._directory):
            if not kept or self._read(path)[1] not in kept:
                path.unlink()

    def _path(self, name: str) -> Path:
        return self._directory / f"note-{name}.bin"

    def _read(self, path: Path) -> tuple[str, bytes, bytes]:
        """A note's run, checkpoint and content."""
        try:
            whole = self._files.read(path, MAX_NOTE_BYTES + 1024)
        except SealBroken as error:
            raise _damaged(path, error.expected, error.seen) from error
        content, digest = whole[:-_DIGEST_BYTES], whole[-_DIGEST_BYTES:]
        start = len(self._head) + 2 * _DIGEST_BYTES
        place, rest = content[len(self._head) : start], content[start:]
        name = _name_of(path).encode() + b"\0"
        genuine = hashlib.sha256(content).digest() == digest
        if not genuine or not content.startswith(self._head) or not rest.startswith(name):
            raise _damaged(path, "what was written", f"{len(whole)} bytes that are not")
        return place[:_DIGEST_BYTES].hex(), place[_DIGEST_BYTES:], rest[len(name) :]


def forget_end(directory: Path) -> None:
    """Removes all notes in a folder of checkpoints, if it exists."""
    for path in _paths(directory):
        path.unlink()


def _paths(directory: Path) -> list[Path]:
    return sorted(directory.glob("note-*.bin"))


def _name_of(path: Path) -> str:
    return path.stem.removeprefix("note-")


def _damaged(path: Path, expected: str, seen: str) -> CheckpointDamaged:
    return CheckpointDamaged(f"the note {path} is damaged or of another run", expected, seen)
