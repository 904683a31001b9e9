"""Counting in pieces equals counting at once."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import DataSection
from coterie.data.prepare.numeric import MISSING
from coterie.data.prepare.staging import StagedRows, missing_hashes
from coterie.data.prepare.statistics import TrainingStatistics, among

pytestmark = pytest.mark.long


SMALL = DataSection(numeric=("I1",), categorical=("C1",), min_count=3)


def piece(numbers: list[int], hashes: list[int]) -> StagedRows:
    return StagedRows(
        np.zeros(len(numbers), np.int64),
        np.array(numbers, np.int64).reshape(-1, 1),
        np.array(hashes, np.uint64).reshape(-1, 1),
    )


@given(
    st.lists(
        st.lists(
            st.tuples(st.just(MISSING) | st.integers(-9, 9), st.integers(0, 5) | st.just(2**64 - 1))
        )
    )
)
def test_statistics(pieces: list[list[tuple[int, int]]]) -> None:
    statistics = TrainingStatistics(SMALL)
    for some in pieces:
        statistics.add(piece([number for number, _ in some], [id_hash for _, id_hash in some]))
    cells = [cell for some in pieces for cell in some]
    numbers = [number for number, _ in cells if number != MISSING]
    counts = Counter(id_hash for _, id_hash in cells)
    frequent = sorted(id_hash for id_hash, count in counts.items() if count >= 3)

    column = statistics.numeric()[0]
    assert column.minimum == min(numbers, default=None)
    assert column.maximum == max(numbers, default=None)
    assert column.mean == (sum(numbers) / len(numbers) if numbers else None)
    assert column.missing == len(cells) - len(numbers)
    assert column.negative == sum(number < 0 for number in numbers)

    ids = statistics.categorical()[0]
    assert statistics.frequent_hashes()[0].tolist() == frequent
    assert (ids.unique, ids.rare_ids) == (len(counts), len(counts) - len(frequent))
    rare_cells = sum(count for count in counts.values() if count < 3)
    assert ids.rare_share == rare_cells / max(1, len(cells))


def test_a_million_distinct_ids_in_many_pieces() -> None:
    statistics = TrainingStatistics(SMALL)
    for first in range(0, 3_000_000, 250_000):
        hashes = np.arange(first, first + 250_000, dtype=np.uint64) % np.uint64(1_000_003)
        rows = StagedRows(
            np.zeros(250_000, np.int64), np.zeros((250_000, 1), np.int64), hashes.reshape(-1, 1)
        )
        statistics.add(rows)
    column = statistics.categorical()[0]
    # Nine ids short of three full rounds.
    assert (column.unique, column.rare_ids) == (1_000_003, 9)


def test_missing_ids_are_the_hash_of_the_empty_cell() -> None:
    statistics = TrainingStatistics(SMALL)
    statistics.add(piece([0, 0, 0], [int(missing_hashes(SMALL)[0]), 1, 2]))
    assert statistics.categorical()[0].missing == 1


@given(st.sets(st.integers(0, 20)), st.lists(st.integers(0, 20)))
def test_among(known: set[int], asked: list[int]) -> None:
    seen = among(np.array(asked, np.uint64), np.array(sorted(known), np.uint64))
    assert seen.tolist() == [value in known for value in asked]
