"""Segments: the files that checkpoints are made of. Each holds the rows touched in some steps.

    magic | dense | dense state | row records, ascending | footer (JSON) | its length (4) | SHA-256

A record is a row's number, its optimizer state, its values. The SHA-256 is over all before it and
names the file. Counts come last, so that two segments are merged in one pass over both; of a row
that both hold, the newer one's record stays.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.errors import CheckpointDamaged
from coterie.ps.state import ModelState, Snapshot

_MAGIC = b"coterie segment 1\n"
_MAX_FOOTER_BYTES = 4096
_TAIL_BYTES = 4 + 32
_CHUNK_ROWS = 1 << 16
_READ_BYTES = 1 << 22

Records = npt.NDArray[np.void]
Count = Annotated[int, Field(ge=0)]


class _Footer(BaseModel):
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
        return np.dtype(
            [
                ("row", "<i4"),
                ("state", "<f4", (self.row_state,)),
                ("values", "<f4", (self.dim,)),
            ]
        )

    @property
    def head_bytes(self) -> int:
        return len(_MAGIC) + 4 * (self.dense + self.dense_state)


@dataclass(frozen=True)
class Segment:
    """A segment on disk.

    Attributes:
        digest: SHA-256 of its content; 32 bytes.
        rows: Records in it.
    """

    digest: bytes
    rows: int


def segment_path(directory: Path, digest: bytes) -> Path:
    """Where a segment lies."""
    return directory / f"segment-{digest.hex()}.bin"


def write_segment(directory: Path, snapshot: Snapshot) -> Segment:
    """Writes a snapshot as a segment; returns once it is durable and verified.

    Raises:
        OSError: It cannot be written.
        CheckpointDamaged: What was read back is not what was written.
    """
    footer = _Footer(
        step=snapshot.step,
        epoch_loss=snapshot.epoch_loss,
        epoch_examples=snapshot.epoch_examples,
        dense=snapshot.dense_p.size,
        dense_state=snapshot.dense_state.size,
        rows=snapshot.rows.size,
        dim=snapshot.values.shape[1],
        row_state=snapshot.row_state.shape[1],
    )

    def parts() -> Iterator[bytes]:
        yield _MAGIC + _octets(snapshot.dense_p) + _octets(snapshot.dense_state)
        for start in range(0, footer.rows, _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            records = np.empty(snapshot.rows[chunk].size, footer.record)
            records["row"] = snapshot.rows[chunk]
            records["state"] = snapshot.row_state[chunk]
            records["values"] = snapshot.values[chunk]
            yield records.tobytes()

    return Segment(_write(directory, parts(), footer), footer.rows)


def merge_segments(directory: Path, older: Segment, newer: Segment) -> Segment:
    """Makes one segment of two neighbours, in bounded memory.

    Raises:
        OSError: It cannot be written.
        CheckpointDamaged: One of them is not whole.
    """
    with _Reader(directory, older.digest) as old, _Reader(directory, newer.digest) as new:
        rows = 0

        def parts() -> Iterator[bytes]:
            nonlocal rows
            yield new.head()
            for records in _merged(old.records(), new.records()):
                rows += records.size
                yield records.tobytes()
            old.check_digest()
            new.check_digest()

        old.head()
        size = old.footer.rows + new.footer.rows  # the footer is written when rows are counted
        digest = _write(
            directory, parts(), lambda: new.footer.model_copy(update={"rows": min(rows, size)})
        )
    return Segment(digest, rows)


def restore_segment(directory: Path, digest: bytes, state: ModelState) -> Segment:
    """Applies a segment to a state made from the same contract.

    Raises:
        CheckpointDamaged: It is torn or altered, or does not fit the state.
    """
    with _Reader(directory, digest) as reader:
        footer = reader.footer
        table = state.table
        expected = (state.dense.size, state.optimizer.state.size, table.dim, table.state_width)
        seen = (footer.dense, footer.dense_state, footer.dim, footer.row_state)
        if seen != expected:
            raise _damaged(reader.path, f"sizes {expected}", f"sizes {seen}")
        floats = np.frombuffer(reader.head()[len(_MAGIC) :], "<f4")
        dense, dense_state = np.split(floats, [footer.dense])
        _require_finite(reader.path, dense, dense_state)
        last = -1
        for records in reader.records():
            rows = records["row"].astype(np.int32)
            # Whoever writes the disk can make a right digest of wrong values.
            if rows[0] <= last or not np.all(rows[1:] > rows[:-1]) or rows[-1] >= table.rows:
                raise _damaged(reader.path, "ascending rows of the table", "others")
            _require_finite(reader.path, records["values"], records["state"])
            table.restore(rows, records["values"], records["state"])
            last = int(rows[-1])
        reader.check_digest()
    state.step, state.epoch_loss = footer.step, footer.epoch_loss
    state.epoch_examples = footer.epoch_examples
    state.dense[:] = dense
    state.optimizer.state[:] = dense_state
    return Segment(digest, footer.rows)


class _Reader:
    """Reads one segment from start to end, hashing as it goes."""

    def __init__(self, directory: Path, digest: bytes) -> None:
        self.path = segment_path(directory, digest)
        self._digest = digest
        self._hash = hashlib.sha256()
        try:
            self._file: BinaryIO = self.path.open("rb")
        except FileNotFoundError as error:
            raise _damaged(self.path, "the file", "none") from error
        try:
            self.footer, self._footer_octets = self._read_footer()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def head(self) -> bytes:
        """Magic, dense parameters and their state; first of all."""
        head = self._read(self.footer.head_bytes)
        if not head.startswith(_MAGIC):
            raise _damaged(self.path, "a Coterie segment, version 1", repr(head[: len(_MAGIC)]))
        return head

    def records(self) -> Iterator[Records]:
        """The row records, in pieces."""
        record = self.footer.record
        for start in range(0, self.footer.rows, _CHUNK_ROWS):
            count = min(_CHUNK_ROWS, self.footer.rows - start)
            yield np.frombuffer(self._read(count * record.itemsize), record)

    def check_digest(self) -> None:
        """Compares what was read; last of all.

        Raises:
            CheckpointDamaged: It is not what was written.
        """
        self._hash.update(self._footer_octets)
        if self._hash.digest() != self._digest:
            raise _damaged(self.path, f"SHA-256 {self._digest.hex()}", self._hash.hexdigest())

    def _read(self, size: int) -> bytes:
        octets = self._file.read(size)
        self._hash.update(octets)
        return octets

    def _read_footer(self) -> tuple[_Footer, bytes]:
        whole = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, whole - _TAIL_BYTES))
        tail = self._file.read(_TAIL_BYTES)
        length = int.from_bytes(tail[:4], "little")
        if len(tail) < _TAIL_BYTES or length > min(_MAX_FOOTER_BYTES, whole - _TAIL_BYTES):
            raise _damaged(self.path, "a footer", f"{whole} bytes without one")
        if tail[4:] != self._digest:
            raise _damaged(self.path, f"SHA-256 {self._digest.hex()}", tail[4:].hex())
        self._file.seek(whole - _TAIL_BYTES - length)
        text = self._file.read(length)
        try:
            footer = _Footer.model_validate_json(text)
        except ValidationError as error:
            raise _damaged(self.path, "a readable footer", "something else") from error
        expected = footer.head_bytes + footer.rows * footer.record.itemsize + length + _TAIL_BYTES
        if whole != expected:
            raise _damaged(self.path, f"{expected} bytes", f"{whole} bytes")
        self._file.seek(0)
        return footer, text + tail[:4]


def _merged(older: Iterator[Records], newer: Iterator[Records]) -> Iterator[Records]:
    """Both streams' records in order of rows; of a row in both, the newer one's."""
    old, new = next(older, None), next(newer, None)
    while old is not None or new is not None:
        if old is None or new is None:
            rest = new if old is None else old
            if rest is not None:
                yield rest
            old, new = next(older, None), next(newer, None)
            continue
        # Up to this row both pieces are complete.
        limit = min(int(old["row"][-1]), int(new["row"][-1]))
        old_end = int(np.searchsorted(old["row"], limit, side="right"))
        new_end = int(np.searchsorted(new["row"], limit, side="right"))
        kept = old[:old_end]
        kept = kept[~np.isin(kept["row"], new["row"][:new_end], assume_unique=True)]
        together = np.concatenate([kept, new[:new_end]])
        yield together[np.argsort(together["row"], kind="stable")]
        old = old[old_end:] if old_end < old.size else next(older, None)
        new = new[new_end:] if new_end < new.size else next(newer, None)


def _write(
    directory: Path, parts: Iterator[bytes], footer: _Footer | Callable[[], _Footer]
) -> bytes:
    """Writes aside, syncs, reads back, renames to the digest; returns the digest."""
    partial = directory / "segment.partial"
    digest = hashlib.sha256()
    with partial.open("w+b") as file:
        for part in parts:
            digest.update(part)
            file.write(part)
        made = footer() if callable(footer) else footer
        text = made.model_dump_json().encode()
        tail = text + len(text).to_bytes(4, "little")
        digest.update(tail)
        file.write(tail + digest.digest())
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        seen = hashlib.sha256()
        left = file.seek(0, os.SEEK_END) - 32
        file.seek(0)
        while left > 0:
            octets = file.read(min(_READ_BYTES, left))
            if not octets:
                break
            seen.update(octets)
            left -= len(octets)
    if seen.digest() != digest.digest():
        raise _damaged(partial, f"SHA-256 {digest.hexdigest()}", seen.hexdigest())
    partial.rename(segment_path(directory, digest.digest()))
    return digest.digest()


def _octets(array: npt.NDArray[np.float32]) -> bytes:
    return array.astype("<f4", copy=False).tobytes()


def _require_finite(path: Path, *arrays: npt.NDArray[np.float32]) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise _damaged(path, "finite values", "values that are not")


def _damaged(path: Path, expected: str, seen: str) -> CheckpointDamaged:
    return CheckpointDamaged(
        f"the checkpoint file {path} is damaged or of another run",
        expected=expected,
        seen=seen,
        remedy="restore the file from a copy, or start anew in an empty output directory",
    )
