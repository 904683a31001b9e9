"""The deal of rows to shards: complete, disjoint, even, and the same for everybody."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.parameters.sharding import SLICES, Sharding, slices_of


@given(st.integers(1, 5000), st.integers(1, 9))
def test_every_row_has_one_shard_and_one_place_there(rows: int, shards: int) -> None:
    sharding = Sharding(rows, shards)
    every = np.arange(rows, dtype=np.int32)
    owners = sharding.owners(every)
    for shard in range(shards):
        own = every[owners == shard]
        places = sharding.places(shard)
        found = places.of(own)
        assert np.all(found >= 0)
        assert np.all(found < max(places.count, 1))
        assert np.all(np.diff(found) > 0)
        assert places.rows_at(found.astype(np.int64)).tolist() == own.tolist()
        assert np.all(places.of(every[owners != shard]) < 0)


@given(st.integers(1, 64), st.lists(st.integers(0, 2**31 - 1), min_size=1))
def test_a_slice_is_one_shards_alone(shards: int, rows: list[int]) -> None:
    ids = np.array(rows, np.int32)
    block_owner = slices_of(ids).astype(int) % shards
    small = ids[ids < 100_000]
    assert Sharding(100_000, shards).owners(small).tolist() == (block_owner[ids < 100_000].tolist())


@pytest.mark.parametrize("shards", [2, 4, 64])
def test_shards_are_of_about_the_same_size(shards: int) -> None:
    rows = np.arange(4_000_000, dtype=np.int32)
    counts = np.bincount(Sharding(rows.size, shards).owners(rows), minlength=shards)
    assert counts.max() < 1.15 * counts.mean()
    assert np.unique(slices_of(rows)).size == SLICES
