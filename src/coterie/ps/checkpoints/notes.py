"""Small records beside the checkpoints: who has reported, who has left, what came out."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from coterie.errors import CheckpointDamaged, SealBroken
from coterie.ps.checkpoints.files import SmallFiles
from coterie.ps.checkpoints.records import MAX_NOTE_BYTES

_MAGIC = b"coterie note 1\n"
_NAME = re.compile(r"^[a-z0-9-]{1,100}$")
_DIGEST_BYTES = 32


class Notes:
    """The notes of one run; each is a file: magic, contract digest, content, SHA-256.

    Args:
        directory: Where they lie.
        contract_digest: Of the run.
        files: Writes and reads them.
    """

    def __init__(self, directory: Path, contract_digest: bytes, files: SmallFiles) -> None:
        self._directory = directory
        self._files = files
        self._head = _MAGIC + contract_digest

    def put(self, name: str, octets: bytes) -> None:
        """Keeps a note durably.

        Raises:
            OSError: It cannot be written.
        """
        if not _NAME.match(name) or len(octets) > MAX_NOTE_BYTES:
            raise AssertionError
        content = self._head + name.encode() + b"\0" + octets
        self._files.write(self._path(name), content + hashlib.sha256(content).digest())

    def all(self) -> dict[str, bytes]:
        """Every note.

        Raises:
            CheckpointDamaged: One is torn, altered, renamed or of another contract.
        """
        return {
            path.stem.removeprefix("note-"): self._read(path)
            for path in sorted(self._directory.glob("note-*.bin"))
        }

    def forget(self) -> None:
        """Removes every note."""
        for path in self._directory.glob("note-*.bin"):
            path.unlink()

    def _path(self, name: str) -> Path:
        return self._directory / f"note-{name}.bin"

    def _read(self, path: Path) -> bytes:
        try:
            whole = self._files.read(path, MAX_NOTE_BYTES + 1024)
        except SealBroken as error:
            raise _damaged(path, error.expected, error.seen) from error
        content, digest = whole[:-_DIGEST_BYTES], whole[-_DIGEST_BYTES:]
        head = self._head + path.stem.removeprefix("note-").encode() + b"\0"
        if hashlib.sha256(content).digest() != digest or not content.startswith(head):
            raise _damaged(path, "what was written", f"{len(whole)} bytes that are not")
        return content[len(head) :]


def _damaged(path: Path, expected: str, seen: str) -> CheckpointDamaged:
    return CheckpointDamaged(
        f"the note {path} is damaged or of another run",
        expected=expected,
        seen=seen,
        remedy="restore the folder from a copy, or start anew in an empty output directory",
    )
