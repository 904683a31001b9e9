"""Keys have the order of float32, and dyadic intervals are where they should be."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coterie.metrics.ordered import (
    HIGHEST_KEY,
    LOWEST_KEY,
    common_levels,
    floors,
    keys_of,
    values_of,
)

LARGEST = np.finfo(np.float32).max
finite = hnp.arrays(
    np.float32,
    st.integers(0, 40),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@given(finite)
def test_keys_order_numbers_as_they_are_and_stand_for_them(values: np.ndarray) -> None:
    keys = keys_of(values)
    np.testing.assert_array_equal(values_of(keys), values)
    np.testing.assert_array_equal(
        np.sign(np.subtract.outer(keys, keys)),
        np.sign(np.subtract.outer(values.astype(float), values)),
    )


def test_neighbours_in_float32_are_neighbours_in_keys() -> None:
    values = np.array([-LARGEST, -2.0, -1e-45, 0.0, 1e-45, 0.3, 1e30], np.float32)
    after = np.nextafter(values, np.float32(np.inf))
    np.testing.assert_array_equal(keys_of(after) - keys_of(values), 1)
    assert keys_of(np.array([0.0, -0.0], np.float32)).tolist() == [2**31, 2**31]
    assert keys_of(np.array([-LARGEST, LARGEST], np.float32)).tolist() == [LOWEST_KEY, HIGHEST_KEY]
    assert values_of(np.array([0, 2**32 - 1])).tolist() == [-LARGEST, LARGEST]


@given(st.lists(st.tuples(*[st.integers(0, 2**32 - 1)] * 2), min_size=1))
def test_the_common_interval_holds_both_keys_and_no_half_of_it_does(
    pairs: list[tuple[int, int]],
) -> None:
    first, last = np.array(pairs, np.int64).T
    levels = common_levels(first, last)
    starts = floors(first, levels)
    for (one, other), level, start in zip(pairs, levels.tolist(), starts.tolist(), strict=True):
        assert start % 2**level == 0
        assert start <= min(one, other) <= max(one, other) < start + 2**level
        assert one == other if level == 0 else (one >> level - 1) != (other >> level - 1)
