"""The split and the dealing are numpy's array_split, as in the reference DLRM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.data.split import MINIMUM_ROWS, Deal, deal_rows, split_rows


@given(st.integers(MINIMUM_ROWS, 10_000))
def test_the_split_is_the_reference_one(total: int) -> None:
    sevenths = np.array_split(np.arange(total), 7)
    test, validation = np.array_split(sevenths[6], 2)
    split = split_rows(total)
    assert list(split.train) == np.concatenate(sevenths[:6]).tolist()
    assert list(split.test) == test.tolist()
    assert list(split.validation) == validation.tolist()
    assert all((split.train, split.test, split.validation))


@pytest.mark.parametrize(
    ("total", "sizes"),
    [
        (14, (12, 1, 1)),
        (20, (18, 1, 1)),
        (21, (18, 2, 1)),
        (137_139, (117_548, 9_796, 9_795)),
        # Kaggle's published counts for the reference DLRM.
        (45_840_617, (39_291_958, 3_274_330, 3_274_329)),
    ],
)
def test_known_sizes(total: int, sizes: tuple[int, int, int]) -> None:
    split = split_rows(total)
    assert (len(split.train), len(split.test), len(split.validation)) == sizes


@given(
    st.integers(0, 500),
    st.integers(0, 500),
    st.integers(1, 20),
    st.sampled_from(["contiguous", "round-robin"]),
)
def test_dealing_is_a_fair_partition_in_file_order(
    start: int, rows: int, parties: int, deal: Deal
) -> None:
    shares = deal_rows(range(start, start + rows), deal, parties)
    assert len(shares) == parties
    assert sorted(row for share in shares for row in share) == list(range(start, start + rows))
    assert all(list(share) == sorted(share) for share in shares)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_both_ways_to_deal() -> None:
    assert [list(share) for share in deal_rows(range(1, 6), "contiguous", 2)] == [[1, 2, 3], [4, 5]]
    assert [list(share) for share in deal_rows(range(1, 6), "round-robin", 2)] == [
        [1, 3, 5],
        [2, 4],
    ]
