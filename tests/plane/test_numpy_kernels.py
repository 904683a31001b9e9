"""What the kernels compute, number by number: NumPy's against loops of the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from coterie.arrays import FloatArray, IdArray
from coterie.plane.kernels import Factors
from coterie.plane.numpy_kernels import NumpyKernels

KERNELS = NumpyKernels()
SEEDS = st.integers(0, 1 << 32)
WEIGHTS = st.sampled_from([[0.5, 0.5, 0.5], [0.5, 0.25, 1 / 3], [1 / 3, 0.5, 0.5]])
RATE, INITIAL, EPSILON = np.float32(0.3), np.float32(0.1), np.float32(0.01)


def numbers(seed: int, *shape: int) -> FloatArray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def in_order(parts: Iterable[np.float32], weights: Sequence[float]) -> np.float32:
    """The sum of numbers, each with its weight; one scaling if all weights are equal."""
    equal = len(set(weights)) == 1
    total = np.float32(0)
    for part, weight in zip(parts, weights, strict=True):
        total += part if equal else part * np.float32(weight)
    return total * np.float32(weights[0]) if equal else total


@given(SEEDS, WEIGHTS)
def test_a_sum_is_in_the_order_of_the_pushes(seed: int, weights: list[float]) -> None:
    pushes = list(numbers(seed, 3, 7))
    kept = [push.copy() for push in pushes]
    seen = KERNELS.sum_dense(pushes, Factors.of(weights))
    expected = [in_order((push[i] for push in kept), weights) for i in range(7)]
    np.testing.assert_array_equal(seen, expected)
    np.testing.assert_array_equal(pushes, kept)


@given(SEEDS, WEIGHTS)
def test_a_row_that_a_push_does_not_have_adds_nothing(seed: int, weights: list[float]) -> None:
    places = [np.array(ids, np.int32) for ids in ([0, 2, 3], [2], [1, 2])]
    pushes = [numbers(seed + i, place.size, 3) for i, place in enumerate(places)]
    seen = KERNELS.sum_rows(pushes, places, 5, Factors.of(weights))
    zero = np.zeros(3, np.float32)
    for row in range(5):
        given_ = [
            push[list(place).index(row)] if row in place else zero
            for push, place in zip(pushes, places, strict=True)
        ]
        for d in range(3):
            assert seen[row, d] == in_order((one[d] for one in given_), weights)


@given(st.lists(st.integers(0, 9), max_size=20))
def test_distinct_ids_are_numpy_s_unique(ids: list[int]) -> None:
    given_ = np.array(ids, np.int32)
    for seen, expected in zip(
        KERNELS.unique(given_), np.unique(given_, return_inverse=True), strict=True
    ):
        np.testing.assert_array_equal(seen, expected)


def test_entries_are_added_in_double_precision() -> None:
    gradient = np.array([[1e8], [1], [1], [-1e8]], np.float32)
    summed = KERNELS.sum_by_row(gradient, np.array([0, 0, 0, 0], np.int32), 2)
    np.testing.assert_array_equal(summed, np.array([[2], [0]], np.float32))


@given(SEEDS)
def test_updates_follow_their_formulas(seed: int) -> None:
    p, g, s = numbers(seed, 3, 40_000)  # more than a block
    s = np.abs(s)
    plain, adaptive, sums = p.copy(), p.copy(), s.copy()
    KERNELS.dense_sgd(plain, g.copy(), RATE)
    np.testing.assert_array_equal(plain, p - g * RATE)
    KERNELS.dense_adagrad(adaptive, sums, g.copy(), RATE, EPSILON)
    np.testing.assert_array_equal(sums, s + g * g)
    np.testing.assert_array_equal(adaptive, p - g * RATE / (np.sqrt(sums) + EPSILON))


def per_element(gradient: FloatArray) -> FloatArray:
    return gradient * gradient


def per_row(gradient: FloatArray) -> FloatArray:
    means: FloatArray = (gradient * gradient).mean(axis=1, keepdims=True, dtype=np.float32)
    return means


@given(SEEDS, st.sampled_from([per_element, per_row]))
def test_only_the_named_rows_change(seed: int, squares: Callable[[FloatArray], FloatArray]) -> None:
    before, g = numbers(seed, 6, 5), numbers(seed + 1, 2, 5)
    rows: IdArray = np.array([4, 1], np.int32)
    plain, table = before.copy(), before.copy()
    KERNELS.row_sgd(plain, rows, g, RATE)
    np.testing.assert_array_equal(plain[rows], before[rows] - g * RATE)
    state = np.zeros((6, squares(g).shape[1]), np.float32)
    expected, sums = before[rows], state[rows]
    for _ in range(2):
        KERNELS.row_adagrad(table, state, rows, g, rate=RATE, initial=INITIAL, epsilon=EPSILON)
        sums = sums + squares(g)
        expected = expected - g * RATE / (np.sqrt(sums + INITIAL) + EPSILON)
    np.testing.assert_array_equal(table[rows], expected)
    np.testing.assert_array_equal(state[rows], sums)
    for array in (plain, table):
        np.testing.assert_array_equal(np.delete(array, rows, 0), np.delete(before, rows, 0))
