"""A segment's file: its path, its footer, and a reader that hashes while it reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.arrays import RecordArray
from coterie.errors import CheckpointDamaged, SealBroken
from coterie.files import reading, unreadable
from coterie.ps.checkpoints.codec import FileCodec, Source
from coterie.text import first_octets

MAGIC = b"coterie segment 1\n"
DIGEST_BYTES = 32
CHUNK_ROWS = 1 << 16
SEGMENT = "segment"
_MAX_FOOTER_BYTES = 4096
_TAIL_BYTES = 4 + DIGEST_BYTES

Count = Annotated[int, Field(ge=0)]


class Footer(BaseModel):
    """The footer of a segment, which describes its content."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    step: Count
    epoch_loss: float
    epoch_examples: Count
    dense: Count
    dense_state: Count
    rows: Count
    dim: Count
    row_state: Count

    @property
    def record(self) -> np.dtype[np.void]:
        """The record type of a row."""
        return np.dtype(
            [
                ("row", "<i4"),
                ("state", "<f4", (self.row_state,)),
                ("values", "<f4", (self.dim,)),
            ]
        )

    @property
    def head_bytes(self) -> int:
        """Bytes before the records."""
        return len(MAGIC) + 4 * (self.dense + self.dense_state)


@dataclass(frozen=True)
class Segment:
    """A segment on disk.

    Attributes:
        digest: SHA-256 of its content; 32 bytes.
        rows: Records in it.
    """

    digest: bytes
    rows: int


@dataclass(frozen=True)
class SegmentFolder:
    """The folder of segments, and their encoding.

    Attributes:
        directory: The folder.
        casing: Encoding of the files.
    """

    directory: Path
    casing: FileCodec

    def path(self, digest: bytes) -> Path:
        """Path of a segment's file."""
        return self.directory / f"segment-{self.casing.name_of(digest)}.bin"


class SegmentReader:
    """Reads one segment from start to end, and hashes it."""

    def __init__(self, folder: SegmentFolder, digest: bytes) -> None:
        self.path = folder.path(digest)
        self._digest = digest
        self._hash = hashlib.sha256()
        try:
            self._file: BinaryIO = self.path.open("rb")
        except FileNotFoundError as error:
            raise damaged_file(self.path, "the file", "none") from error
        except OSError as error:
            raise unreadable(str(self.path), error) from error
        try:
            with reading(self.path):
                self._source = opened_segment(folder, self._file, self.path)
            self.footer, self._footer_octets = self._read_footer()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def head(self) -> bytes:
        """Reads magic, dense parameters and their state; call it first."""
        head = self._read(self.footer.head_bytes)
        if not head.startswith(MAGIC):
            seen = first_octets(head[: len(MAGIC)])
            raise damaged_file(self.path, "a Coterie segment, version 1", seen)
        return head

    def records(self) -> Iterator[RecordArray]:
        """Yields the row records in pieces."""
        record = self.footer.record
        for start in range(0, self.footer.rows, CHUNK_ROWS):
            count = min(CHUNK_ROWS, self.footer.rows - start)
            yield np.frombuffer(self._read(count * record.itemsize), record)

    def check_digest(self) -> None:
        """Compares the digest; call it last.

        Raises:
            CheckpointDamaged: The segment has changed.
        """
        self._hash.update(self._footer_octets)
        if self._hash.digest() != self._digest:
            raise damaged_file(self.path, f"SHA-256 {self._digest.hex()}", self._hash.hexdigest())

    def _read(self, size: int) -> bytes:
        try:
            with reading(self.path):
                octets = self._source.read(size)
        except SealBroken as error:
            raise damaged_file(self.path, error.expected, error.seen) from error
        self._hash.update(octets)
        return octets

    def _read_footer(self) -> tuple[Footer, bytes]:
        whole = self._source.size
        tail = self._part(max(0, whole - _TAIL_BYTES), _TAIL_BYTES)
        length = int.from_bytes(tail[:4], "little")
        if len(tail) < _TAIL_BYTES or length > min(_MAX_FOOTER_BYTES, whole - _TAIL_BYTES):
            raise damaged_file(self.path, "a footer", f"{whole} bytes without one")
        if tail[4:] != self._digest:
            raise damaged_file(self.path, f"SHA-256 {self._digest.hex()}", tail[4:].hex())
        text = self._part(whole - _TAIL_BYTES - length, length)
        try:
            footer = Footer.model_validate_json(text)
        except ValidationError as error:
            raise damaged_file(self.path, "a readable footer", "something else") from error
        expected = footer.head_bytes + footer.rows * footer.record.itemsize + length + _TAIL_BYTES
        if whole != expected:
            raise damaged_file(self.path, f"{expected} bytes", f"{whole} bytes")
        self._source.seek(0)
        return footer, text + tail[:4]

    def _part(self, place: int, size: int) -> bytes:
        try:
            with reading(self.path):
                self._source.seek(place)
                return self._source.read(size)
        except SealBroken as error:
            raise damaged_file(self.path, error.expected, error.seen) from error


def opened_segment(folder: SegmentFolder, file: BinaryIO, path: Path) -> Source:
    """The content of a segment's file.

    Raises:
        CheckpointDamaged: It is not sealed like this run's.
    """
    try:
        return folder.casing.reader(file, SEGMENT)
    except SealBroken as error:
        raise damaged_file(path, error.expected, error.seen) from error


def damaged_file(path: Path, expected: str, seen: str) -> CheckpointDamaged:
    """The error of a damaged file."""
    return CheckpointDamaged(
        f"the checkpoint file {path} is damaged or of another run", expected, seen
    )
