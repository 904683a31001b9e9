"""Segments: the files of checkpoints. Each holds the rows that some steps touched.

    magic | dense | dense state | row records, ascending | footer (JSON) | its length (4) | SHA-256

A record is a row's number, its optimizer state, its values. The SHA-256 is over all before it and
names the file. If two merged segments hold the same row, the newer one's record stays. The file may
be sealed (``codec.py``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np

from coterie.arrays import FloatArray, RecordArray
from coterie.files import move_over, sync
from coterie.ps.checkpoints.segment_files import (
    CHUNK_ROWS,
    DIGEST_BYTES,
    MAGIC,
    SEGMENT,
    Footer,
    Segment,
    SegmentFolder,
    SegmentReader,
    damaged_file,
    opened_segment,
)
from coterie.ps.core.state import ModelState, Snapshot

_READ_BYTES = 1 << 22
_ROW_ONLY = np.dtype([("row", "<i4")])


def write_segment(folder: SegmentFolder, snapshot: Snapshot) -> Segment:
    """Writes a snapshot as a segment; returns once it is durable and verified.

    Raises:
        OSError: It cannot be written.
        CheckpointDamaged: The bytes that were read back differ.
    """
    footer = Footer(
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
        yield MAGIC + _octets(snapshot.dense_p) + _octets(snapshot.dense_state)
        for start in range(0, footer.rows, CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            records = np.empty(snapshot.rows[chunk].size, footer.record)
            records["row"] = snapshot.rows[chunk]
            records["state"] = snapshot.row_state[chunk]
            records["values"] = snapshot.values[chunk]
            yield records.tobytes()

    return Segment(_write(folder, parts(), footer), footer.rows)


def merge_segments(folder: SegmentFolder, older: Segment, newer: Segment) -> Segment:
    """Merges two neighbouring segments, in bounded memory.

    Both are read twice, since a sealed file must state its size first.

    Raises:
        OSError: It cannot be written.
        CheckpointDamaged: One of them is damaged.
    """
    with SegmentReader(folder, older.digest) as old, SegmentReader(folder, newer.digest) as new:
        old.head()
        new.head()
        merged = _merged(_rows_only(old.records()), _rows_only(new.records()))
        rows = sum(records.size for records in merged)
        old.check_digest()
        new.check_digest()
    with SegmentReader(folder, older.digest) as old, SegmentReader(folder, newer.digest) as new:

        def parts() -> Iterator[bytes]:
            yield new.head()
            for records in _merged(old.records(), new.records()):
                yield records.tobytes()
            old.check_digest()
            new.check_digest()

        old.head()
        digest = _write(folder, parts(), new.footer.model_copy(update={"rows": rows}))
    return Segment(digest, rows)


def restore_segment(folder: SegmentFolder, digest: bytes, state: ModelState) -> Segment:
    """Applies a segment to a state made from the same contract.

    Raises:
        CheckpointDamaged: It is incomplete or altered, or does not fit the state.
    """
    with SegmentReader(folder, digest) as reader:
        footer = reader.footer
        table = state.table
        expected = (state.dense.size, state.optimizer.state.size, table.dim, table.state_width)
        seen = (footer.dense, footer.dense_state, footer.dim, footer.row_state)
        if seen != expected:
            raise damaged_file(reader.path, f"sizes {expected}", f"sizes {seen}")
        floats = np.frombuffer(reader.head()[len(MAGIC) :], "<f4")
        dense, dense_state = np.split(floats, [footer.dense])
        _require_finite(reader.path, dense, dense_state)
        last = -1
        for records in reader.records():
            rows = records["row"].astype(np.int32)
            # A matching digest does not prove valid values: the host can compute it for any file.
            if rows[0] <= last or not np.all(rows[1:] > rows[:-1]) or rows[-1] >= table.rows:
                raise damaged_file(reader.path, "ascending rows of the table", "others")
            _require_finite(reader.path, records["values"], records["state"])
            table.restore(rows, records["values"], records["state"])
            last = int(rows[-1])
        reader.check_digest()
    state.step, state.epoch_loss = footer.step, footer.epoch_loss
    state.epoch_examples = footer.epoch_examples
    state.dense[:] = dense
    state.optimizer.state[:] = dense_state
    return Segment(digest, footer.rows)


def _merged(older: Iterator[RecordArray], newer: Iterator[RecordArray]) -> Iterator[RecordArray]:
    """Merges both streams' records in order of rows; of a row in both, the newer record stays."""
    old, new = next(older, None), next(newer, None)
    while old is not None or new is not None:
        if old is None or new is None:
            rest = new if old is None else old
            if rest is not None:
                yield rest
            old, new = next(older, None), next(newer, None)
            continue
        # Neither stream has a later piece with a row up to this one.
        limit = min(int(old["row"][-1]), int(new["row"][-1]))
        old_end = int(np.searchsorted(old["row"], limit, side="right"))
        new_end = int(np.searchsorted(new["row"], limit, side="right"))
        kept = old[:old_end]
        kept = kept[~np.isin(kept["row"], new["row"][:new_end], assume_unique=True)]
        together = np.concatenate([kept, new[:new_end]])
        yield together[np.argsort(together["row"], kind="stable")]
        old = old[old_end:] if old_end < old.size else next(older, None)
        new = new[new_end:] if new_end < new.size else next(newer, None)


def _rows_only(pieces: Iterator[RecordArray]) -> Iterator[RecordArray]:
    """The same records without state and values, which are cheaper to count."""
    for records in pieces:
        only = np.empty(records.size, _ROW_ONLY)
        only["row"] = records["row"]
        yield only


def _write(folder: SegmentFolder, parts: Iterator[bytes], footer: Footer) -> bytes:
    """Writes a temporary file, syncs, reads it back, renames it to its digest, which it returns."""
    partial = folder.directory / "segment.partial"
    digest = hashlib.sha256()
    text = footer.model_dump_json().encode()
    tail = text + len(text).to_bytes(4, "little")
    content = footer.head_bytes + footer.rows * footer.record.itemsize + len(tail)
    try:
        with partial.open("w+b") as file:
            target = folder.casing.writer(file, content + DIGEST_BYTES, SEGMENT)
            for part in chain(parts, [tail]):
                digest.update(part)
                target.write(part)
            target.write(digest.digest())
            target.finish()
            sync(file)
            file.seek(0)
            seen = hashlib.sha256()
            source = opened_segment(folder, file, partial)
            for start in range(0, content, _READ_BYTES):
                seen.update(source.read(min(_READ_BYTES, content - start)))
        if seen.digest() != digest.digest():
            raise damaged_file(partial, f"SHA-256 {digest.hexdigest()}", seen.hexdigest())
        move_over(partial, folder.path(digest.digest()))
    except OSError:
        with suppress(OSError):
            partial.unlink()  # to free its space
        raise
    return digest.digest()


def _octets(array: FloatArray) -> bytes:
    return array.astype("<f4", copy=False).tobytes()


def _require_finite(path: Path, *arrays: FloatArray) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise damaged_file(path, "finite values", "values that are not")
