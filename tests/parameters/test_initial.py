"""Initial values: functions of seed and position alone, distributed as the reference DLRM's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.arrays import FloatArray, Int64Array
from coterie.contract import DataSection, DenseParameter, ModelSection
from coterie.parameters.initial import initial_dense, initial_rows

SEEDS = st.integers(0, 2**63 - 1)


def rows_of(seed: int, rows: Int64Array, bound: float = 0.5, dim: int = 3) -> FloatArray:
    return initial_rows(seed, rows, np.full(rows.size, bound, np.float32), dim)


@given(SEEDS, st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=30, unique=True))
def test_a_row_does_not_depend_on_its_company_or_order(seed: int, rows: list[int]) -> None:
    together = rows_of(seed, np.array(rows, np.int64))
    reverse = rows_of(seed, np.array(rows[::-1], np.int64))
    assert together.tobytes() == reverse[::-1].tobytes()
    for i, row in enumerate(rows):
        assert rows_of(seed, np.array([row], np.int64)).tobytes() == together[i].tobytes()


@given(SEEDS, st.floats(2**-20, 1.0, width=32))
def test_rows_lie_within_their_bound(seed: int, bound: float) -> None:
    values = rows_of(seed, np.arange(100, dtype=np.int64), bound)
    assert values.dtype == np.float32
    assert np.abs(values).max() <= np.float32(bound)


def test_rows_are_uniform() -> None:
    values = rows_of(3, np.arange(100_000, dtype=np.int64), 1.0, 4).astype(np.float64).ravel()
    deviation = 1 / math.sqrt(3)
    assert abs(values.mean()) < 5 * deviation / math.sqrt(values.size)
    assert abs(values.std() / deviation - 1) < 0.005
    counts, _ = np.histogram(values, bins=20, range=(-1, 1))
    expected = values.size / 20
    # Pearson's statistic with 19 degrees of freedom exceeds 60 once in 10**5 times.
    assert ((counts - expected) ** 2 / expected).sum() < 60


def test_each_row_has_its_own_bound() -> None:
    bounds = np.array([1.0, 0.25], np.float32)
    both = initial_rows(1, np.array([5, 5], np.int64), bounds, 4)
    assert np.array_equal(both[1], both[0] * np.float32(0.25))


@pytest.mark.parametrize("other", [0, 2, 2**32 + 1, 2**63 - 1])
def test_another_seed_gives_other_rows(other: int) -> None:
    rows = np.arange(50, dtype=np.int64)
    correlation = np.corrcoef(rows_of(1, rows).ravel(), rows_of(other, rows).ravel())[0, 1]
    assert abs(correlation) < 0.5


def test_rows_do_not_repeat() -> None:
    values = rows_of(0, np.arange(2_000, dtype=np.int64), dim=4)
    assert np.unique(values, axis=0).shape == values.shape


def test_the_generator_is_splitmix64() -> None:
    """Outputs for seed 0, first row: computed here with Python's integers."""
    mask = 2**64 - 1
    gamma = 0x9E3779B97F4A7C15

    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    key = mix(gamma)
    unit = [(mix((key + (n + 1) * gamma) & mask) >> 40) / 2**23 - 1 for n in range(6)]
    values = rows_of(0, np.array([0, 1], np.int64), 1.0)
    assert np.allclose(values.ravel(), unit, rtol=0, atol=2**-22)


def test_dense_parameters_have_the_reference_deviations() -> None:
    parameters = ModelSection().dense_parameters(DataSection())
    values, start = initial_dense(11, parameters), 0
    assert values.dtype == np.float32
    for parameter in parameters:
        some = values[start : start + parameter.size].astype(np.float64)
        start += parameter.size
        if parameter.name.endswith("kernel"):
            assert parameter.standard_deviation == math.sqrt(2 / sum(parameter.shape))
        else:
            assert parameter.standard_deviation == math.sqrt(1 / parameter.shape[0])
        tolerance = 5 * parameter.standard_deviation / math.sqrt(some.size)
        assert abs(some.mean()) < tolerance
        if some.size > 1:
            assert abs(some.std() - parameter.standard_deviation) < tolerance
    assert start == values.size


def test_dense_parameters_are_normal() -> None:
    values = initial_dense(5, [DenseParameter("w", (400_000,), 2.0)]).astype(np.float64)
    assert abs(values.std() / 2 - 1) < 0.01
    within = [(np.abs(values) < 2 * k).mean() for k in (1, 2, 3)]
    assert np.allclose(within, [0.6827, 0.9545, 0.9973], atol=0.003)
    assert np.isfinite(values).all()


def test_dense_parameters_do_not_depend_on_how_they_are_cut() -> None:
    whole = initial_dense(9, [DenseParameter("w", (10, 3), 1.0)])
    cut = initial_dense(9, [DenseParameter("a", (7,), 1.0), DenseParameter("b", (23,), 1.0)])
    assert whole.tobytes() == cut.tobytes()


def test_rows_and_dense_parameters_are_separate_streams() -> None:
    rows = rows_of(4, np.arange(200, dtype=np.int64), 1.0, 4).ravel()
    dense = initial_dense(4, [DenseParameter("w", (800,), 1.0)])
    assert abs(np.corrcoef(rows, dense)[0, 1]) < 0.2


# 25 bits do not fit a float32; rounding makes the topmost value equal the bound.
def test_the_interval_is_open_at_the_top() -> None:
    """For seed 1 this position has the largest 24 bits that the generator can give."""
    row = np.array([11760556], np.int64)
    assert initial_rows(1, row, np.ones(1, np.float32), 1).max() < 1
