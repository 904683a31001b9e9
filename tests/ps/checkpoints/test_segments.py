"""Segments: verified before they count, merged without loss, and refused if a disk made them up."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.arrays import FloatArray
from coterie.errors import CheckpointDamaged
from coterie.ps.checkpoints.codec import PlainFileCodec, Source
from coterie.ps.checkpoints.segment_files import (
    CHUNK_ROWS,
    MAGIC,
    Footer,
    Segment,
    SegmentFolder,
)
from coterie.ps.checkpoints.segments import merge_segments, restore_segment, write_segment
from coterie.ps.core.state import ModelState, Snapshot
from faults.disk import PowerCut
from tests.ps.conftest import small_contract

CONTRACT = small_contract(dense={"kind": "adagrad"}, rows={"kind": "adagrad"})
ROWS = 15


def snapshot(*rows: int, step: int = 1, dense: int = ROWS) -> Snapshot:
    """A segment's content; every number in it tells where it belongs, and at which step."""
    count = len(rows)

    def numbers(size: int, kind: int) -> FloatArray:
        return (np.arange(size) + 1000 * kind + 10_000 * step).astype(np.float32)

    return Snapshot(
        step=step,
        epoch_loss=1.5,
        epoch_examples=4,
        dense_p=numbers(dense, 1),
        dense_state=numbers(dense, 2),
        rows=np.array(rows, np.int32),
        values=numbers(2 * count, 3).reshape(count, 2),
        row_state=numbers(2 * count, 4).reshape(count, 2),
    )


@pytest.fixture
def folder(tmp_path: Path) -> SegmentFolder:
    return SegmentFolder(tmp_path, PlainFileCodec())


def restored(folder: SegmentFolder, segment: Segment) -> ModelState:
    state = ModelState(CONTRACT)
    assert restore_segment(folder, segment.digest, state) == segment
    return state


def refused(folder: SegmentFolder, segment: Segment) -> CheckpointDamaged:
    with pytest.raises(CheckpointDamaged, match=r"the checkpoint file .* is damaged") as refusal:
        restore_segment(folder, segment.digest, ModelState(CONTRACT))
    return refusal.value


def test_a_segment_restores_what_was_written(folder: SegmentFolder) -> None:
    written = snapshot(1, 4, 14)
    state = restored(folder, write_segment(folder, written))
    assert state.step == 1
    assert (state.epoch_loss, state.epoch_examples) == (1.5, 4)
    assert state.dense.tobytes() == written.dense_p.tobytes()
    assert state.optimizer.state.tobytes() == written.dense_state.tobytes()
    assert state.table.trained_rows().tolist() == [1, 4, 14]
    assert state.table.values_of(written.rows).tobytes() == written.values.tobytes()
    assert state.table.state_of(written.rows).tobytes() == written.row_state.tobytes()


def test_a_segment_is_synced_whole_before_it_has_its_name(folder: SegmentFolder) -> None:
    meanwhile: list[bool] = []
    disk = PowerCut(folder.directory)
    disk.on_sync = lambda path: meanwhile.append(path.name == "segment.partial")
    with disk.watching():
        segment = write_segment(folder, snapshot(1, 4, 14))
    path = folder.path(segment.digest)
    assert disk.content(path) == path.read_bytes()
    assert meanwhile == [True]


@dataclass(frozen=True)
class Worn(PlainFileCodec):
    """A disk that gives one bit back wrong, in the n-th file that is opened.

    Attributes:
        place: Of the byte.
        opening: Which opening it happens in, from 0.
    """

    place: int
    opening: int = 0
    opened: list[BinaryIO] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        object.__setattr__(self, "opened", [])

    def reader(self, file: BinaryIO, _name: str) -> Source:
        source = super().reader(file, _name)
        self.opened.append(file)
        return WornSource(source, self.place) if len(self.opened) == self.opening + 1 else source


class WornSource:
    """Gives one byte of a file back wrong."""

    def __init__(self, source: Source, place: int) -> None:
        self.size = source.size
        self._source = source
        self._wrong = place % source.size
        self._place = 0

    def seek(self, place: int) -> None:
        self._place = place
        self._source.seek(place)

    def read(self, count: int) -> bytes:
        octets = bytearray(self._source.read(count))
        if 0 <= self._wrong - self._place < len(octets):
            octets[self._wrong - self._place] ^= 1
        self._place += len(octets)
        return bytes(octets)


LARGE = 1_500_000  # parameters: a segment of 12 MB, which is read back in several pieces


@pytest.mark.parametrize("place", [0, 20, 5_000_000, 11_000_000, -40])
def test_what_the_disk_gives_back_is_compared_to_its_end(tmp_path: Path, place: int) -> None:
    folder = SegmentFolder(tmp_path, Worn(place))
    with pytest.raises(CheckpointDamaged, match=r"segment\.partial is damaged") as refusal:
        write_segment(folder, snapshot(1, 4, dense=LARGE))
    assert refusal.value.expected.startswith("SHA-256 ")
    assert refusal.value.expected != f"SHA-256 {refusal.value.seen}"
    assert [path.name for path in tmp_path.iterdir()] == ["segment.partial"], "it has no name yet"


def test_a_large_segment_is_read_back_whole(folder: SegmentFolder) -> None:
    segment = write_segment(folder, snapshot(1, 4, dense=LARGE))
    assert hashlib.sha256(folder.path(segment.digest).read_bytes()[:-32]).digest() == segment.digest


ROW_SETS = st.lists(st.integers(0, ROWS - 1), min_size=1, unique=True).map(sorted)


@given(older=ROW_SETS, newer=ROW_SETS)
def test_a_merged_segment_holds_every_row_once_and_of_both_the_newer(
    tmp_path_factory: pytest.TempPathFactory, older: list[int], newer: list[int]
) -> None:
    folder = SegmentFolder(tmp_path_factory.mktemp("merged"), PlainFileCodec())
    old, new = snapshot(*older, step=1), snapshot(*newer, step=2)
    merged = merge_segments(folder, write_segment(folder, old), write_segment(folder, new))
    expected = {
        row: (values.tolist(), state.tolist())
        for part in (old, new)
        for row, values, state in zip(part.rows.tolist(), part.values, part.row_state, strict=True)
    }
    state = restored(folder, merged)
    rows = state.table.trained_rows()
    found = zip(
        state.table.values_of(rows).tolist(), state.table.state_of(rows).tolist(), strict=True
    )
    assert dict(zip(rows.tolist(), found, strict=True)) == expected
    assert merged.rows == len(expected)
    assert state.step == 2
    assert state.dense.tobytes() == new.dense_p.tobytes()


# Each segment is opened twice: to count its rows, and to write them.
@pytest.mark.parametrize("opening", [0, 1, 2, 3, 4])
def test_a_segment_that_is_altered_while_it_is_merged_is_refused(
    tmp_path: Path, opening: int
) -> None:
    good = SegmentFolder(tmp_path, PlainFileCodec())
    segments = (
        write_segment(good, snapshot(1, 4, 5, step=1)),
        write_segment(good, snapshot(4, 14, step=2)),
    )
    names = {path.name for path in tmp_path.iterdir()}
    value = len(MAGIC) + 4 * 2 * ROWS + 4 + 2  # in the state of the first row
    folder = SegmentFolder(tmp_path, Worn(value, opening))
    with pytest.raises(CheckpointDamaged, match="is damaged"):
        merge_segments(folder, *segments)
    assert {path.name for path in tmp_path.iterdir()} - {"segment.partial"} == names


def with_value(change: Callable[[Snapshot], None]) -> Snapshot:
    made = snapshot(1, 4, 14)
    change(made)
    return made


def put(name: str, value: float) -> Callable[[Snapshot], None]:
    def change(made: Snapshot) -> None:
        getattr(made, name).flat[-1] = value

    return change


# Whoever writes the disk can make a right digest of wrong values.
MADE_UP: list[tuple[str, Snapshot, str]] = [
    *(
        (f"{name} {value}", with_value(put(name, value)), "finite values")
        for name in ("dense_p", "dense_state", "values", "row_state")
        for value in (math.nan, math.inf)
    ),
    ("a row past the table", snapshot(1, ROWS), "ascending rows of the table"),
    ("a row before the table", snapshot(-1, 4), "ascending rows of the table"),
    ("rows in another order", snapshot(1, 5, 4), "ascending rows of the table"),
    ("a row twice", snapshot(1, 4, 4), "ascending rows of the table"),
    ("more dense parameters", snapshot(1, dense=ROWS + 1), f"sizes {(ROWS, ROWS, 2, 2)}"),
    (
        "no state of rows",
        replace(snapshot(1), row_state=np.zeros((1, 0), np.float32)),
        f"sizes {(ROWS, ROWS, 2, 2)}",
    ),
]


@pytest.mark.parametrize(
    ("made", "expected"), [row[1:] for row in MADE_UP], ids=[row[0] for row in MADE_UP]
)
def test_what_cannot_be_a_model_is_refused(
    folder: SegmentFolder, made: Snapshot, expected: str
) -> None:
    assert refused(folder, write_segment(folder, made)).expected == expected


def test_rows_ascend_from_piece_to_piece(folder: SegmentFolder) -> None:
    """They are read in pieces of many rows; the order holds between them too."""
    data = CONTRACT.data.model_copy(update={"column_rows": {"C1": 2 * CHUNK_ROWS}})
    state = ModelState(CONTRACT.model_copy(update={"data": data}))
    good = snapshot(*range(CHUNK_ROWS + 1))
    segment = write_segment(folder, good)
    assert restore_segment(folder, segment.digest, state) == segment
    good.rows[-1] = good.rows[-2]  # the last of the first piece, once more
    segment = write_segment(folder, good)
    with pytest.raises(CheckpointDamaged) as refusal:
        restore_segment(folder, segment.digest, state)
    assert refusal.value.expected == "ascending rows of the table"


def by_hand(
    folder: SegmentFolder,
    *,
    magic: bytes = MAGIC,
    before_footer: bytes = b"",
    footer_bytes: int = 0,
) -> Segment:
    """A segment whose digest is right, whatever else is wrong with it."""
    made = snapshot(1, 4)
    written = folder.path(write_segment(folder, made).digest).read_bytes()
    footer = Footer(
        step=1,
        epoch_loss=1.5,
        epoch_examples=4,
        dense=ROWS,
        dense_state=ROWS,
        rows=2,
        dim=2,
        row_state=2,
    )
    end = footer.head_bytes + 2 * footer.record.itemsize
    text = footer.model_dump_json().encode().ljust(footer_bytes)
    content = magic + written[len(MAGIC) : end] + before_footer + text
    content += len(text).to_bytes(4, "little")
    digest = hashlib.sha256(content).digest()
    folder.path(digest).write_bytes(content + digest)
    return Segment(digest, 2)


def test_a_segment_by_hand_is_as_good_as_ours(folder: SegmentFolder) -> None:
    restored(folder, by_hand(folder))
    restored(folder, by_hand(folder, footer_bytes=4096))


def test_another_format_is_refused(folder: SegmentFolder) -> None:
    segment = by_hand(folder, magic=MAGIC.replace(b"1", b"2"))
    refusal = refused(folder, segment)
    assert refusal.expected == "a Coterie segment, version 1"
    assert refusal.seen == r"coterie segment 2\n"


def test_bytes_that_nobody_reads_are_refused(folder: SegmentFolder) -> None:
    segment = by_hand(folder, before_footer=b"more")
    size = folder.path(segment.digest).stat().st_size
    assert refused(folder, segment).expected == f"{size - 4} bytes"


def test_a_longer_footer_than_any_is_not_even_read(folder: SegmentFolder) -> None:
    segment = by_hand(folder, footer_bytes=4097)
    assert refused(folder, segment).expected == "a footer"


def test_every_altered_byte_of_a_segment_is_refused(folder: SegmentFolder) -> None:
    segment = write_segment(folder, snapshot(1, 4))
    path = folder.path(segment.digest)
    whole = path.read_bytes()
    for place in range(len(whole)):
        altered = bytearray(whole)
        altered[place] ^= 1 << place % 8
        path.write_bytes(altered)
        assert refused(folder, segment).remedy
    path.write_bytes(whole)
    restored(folder, segment)
