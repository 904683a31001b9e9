"""A shuffled order: every row once an epoch, from numbers alone, and the same wherever a run goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import DataSection, TrainingSection
from coterie.data.example_files import ExampleFileWriter, open_examples
from coterie.data.examples import PIECE_ROWS, Examples
from coterie.ps.core.schedule import Lane
from coterie.training.order import WINDOW_PIECES, RowOrder, shuffled

KEYS = st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 1023), st.integers(0, 9999))
DATA = DataSection(numeric=("I1",), categorical=("C1",), rows=1_000_000)
WINDOW_ROWS = PIECE_ROWS * WINDOW_PIECES


@given(st.integers(1, 3000), KEYS)
def test_every_row_has_one_place(rows: int, key: tuple[int, int, int]) -> None:
    found = shuffled(np.arange(rows), rows, key)
    assert sorted(found.tolist()) == list(range(rows))


@given(st.integers(1, 3000), KEYS, st.data())
def test_a_place_has_the_same_row_whatever_else_is_asked_for(
    rows: int, key: tuple[int, int, int], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, rows - 1))
    stop = data.draw(st.integers(start, rows))
    part = shuffled(np.arange(start, stop), rows, key)
    assert part.tolist() == shuffled(np.arange(rows), rows, key)[start:stop].tolist()


@pytest.mark.parametrize(
    "rows", [PIECE_ROWS, WINDOW_ROWS - 1, 2 * WINDOW_ROWS + 5 * PIECE_ROWS + 77]
)
def test_many_rows_are_mixed_a_few_pieces_at_a_time(rows: int) -> None:
    found = shuffled(np.arange(rows), rows, (1, 2, 3))
    assert np.array_equal(np.sort(found), np.arange(rows))
    for start in range(0, rows, WINDOW_ROWS):
        pieces = np.unique(found[start : start + WINDOW_ROWS - PIECE_ROWS] // PIECE_ROWS)
        assert len(pieces) <= WINDOW_PIECES + 1
    firsts = found[:: WINDOW_ROWS // 4]
    assert np.any(np.diff(firsts) < 0) or rows <= WINDOW_ROWS // 4
    assert rows <= WINDOW_ROWS or found[:WINDOW_ROWS].max() >= WINDOW_ROWS, "from all of the file"


def test_seed_worker_and_epoch_each_give_another_order() -> None:
    orders = {
        tuple(shuffled(np.arange(500), 500, key).tolist())
        for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)]
    }
    assert len(orders) == 5


def test_the_order_is_even() -> None:
    """Of 2,000 orders of 16 rows, each row is at each place about as often: chi-squared."""
    seen = np.zeros((16, 16))
    for epoch in range(2000):
        seen[np.arange(16), shuffled(np.arange(16), 16, (5, 0, epoch))] += 1
    statistic = ((seen - 125) ** 2 / 125).sum()
    assert 150 < statistic < 310, "225 degrees of freedom: mean 225, deviation 21"


def test_known_rows_stay_where_they_are() -> None:
    """A run that was begun by another build goes on with the same rows."""
    assert shuffled(np.arange(10), 10, (7, 1, 2)).tolist() == [6, 1, 4, 0, 3, 2, 7, 8, 9, 5]


def shard_of(rows: int) -> Examples:
    """Rows whose only id is their number."""
    words = np.zeros((rows, 3), np.int32)
    words[:, 2] = np.arange(rows)
    return Examples(words, DATA)


@pytest.mark.parametrize("kind", ["file", "shuffled"])
def test_every_epoch_trains_every_row_once(kind: str) -> None:
    training = TrainingSection(batch=32, epochs=3)
    lane = Lane.of(training, 1000, steps_per_epoch=32, steps=96)
    order = RowOrder("file" if kind == "file" else "shuffled", training.seed, 0)
    epochs = [
        np.concatenate(
            [order.batch(shard_of(1000), lane, 32 * epoch + s).ids_bm[:, 0] for s in range(32)]
        )
        for epoch in range(3)
    ]
    for rows in epochs:
        assert sorted(rows.tolist()) == list(range(1000))
    assert (len({tuple(rows.tolist()) for rows in epochs}) == 1) == (kind == "file")


def test_a_run_that_goes_on_counts_its_starts_epochs() -> None:
    """Whole ones: with other rows an epoch may have another number of steps."""
    lane = Lane.of(TrainingSection(batch=32, epochs=3), 1000, steps_per_epoch=32, steps=96)
    shard, whole = shard_of(1000), RowOrder("shuffled", 7, 0)
    for updates, epochs in ((32, 1), (64 + 31, 2)):
        going_on = RowOrder("shuffled", 7, 0, updates)
        for step in (0, 31):
            seen = going_on.batch(shard, lane, step).ids_bm
            expected = whole.batch(shard, lane, 32 * epochs + step).ids_bm
            assert seen.tolist() == expected.tolist()


def test_a_file_gives_the_rows_that_memory_gives(tmp_path: Path) -> None:
    rows = WINDOW_ROWS + 3 * PIECE_ROWS + 5
    shard = shard_of(rows)
    with (tmp_path / "shard").open("wb") as file:
        writer = ExampleFileWriter(file, DATA, rows)
        writer.append(shard.words)
        digest = writer.finish()
    on_disk = open_examples(tmp_path / "shard", DATA, expected_digest=bytes.fromhex(digest))
    lane = Lane.of(TrainingSection(batch=4096), rows, steps_per_epoch=44, steps=44)
    order = RowOrder("shuffled", 3, 1)
    for step in (0, 17, 43):
        here, there = order.batch(shard, lane, step), order.batch(on_disk, lane, step)
        assert np.array_equal(here.ids_bm, there.ids_bm)
        assert here.ids_bm.size
