"""The mean gradient of a step: right, weighted by examples, the same bits in worker order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from coterie.parameters.sharding import SLICES, slices_of
from coterie.ps.core.aggregation import (
    Gradients,
    dense_norm,
    is_finite,
    push_weights,
    slice_norms,
    sum_gradients,
)
from tests.ps.calls import mean_gradients

DIM, DENSE, ROWS = 3, 5, 20


def push(seed: int, examples: int) -> Gradients:
    random = np.random.default_rng(seed)
    count = int(random.integers(0, 8))
    ids = np.sort(random.choice(ROWS, count, replace=False)).astype(np.int32)
    return Gradients(
        examples=examples,
        loss_sum=float(random.random() * examples),
        dense_p=random.normal(size=DENSE).astype(np.float32) * examples,
        row_ids_u=ids,
        rows_ud=random.normal(size=(count, DIM)).astype(np.float32) * examples,
        correct=int(random.integers(0, examples + 1)),
    )


PUSHES = st.lists(
    st.builds(push, st.integers(0, 2**32), st.integers(1, 300)), min_size=1, max_size=6
)


@given(PUSHES)
def test_mean_equals_a_float64_reference(pushes: list[Gradients]) -> None:
    mean = mean_gradients(pushes)
    examples = sum(p.examples for p in pushes)
    dense = sum(p.dense_p.astype(np.float64) for p in pushes) / examples
    table = np.zeros((ROWS, DIM))
    for p in pushes:
        table[p.row_ids_u] += p.rows_ud
    touched = sorted({int(i) for p in pushes for i in p.row_ids_u})
    assert mean.examples == examples
    assert mean.loss_sum == sum(p.loss_sum for p in pushes)
    assert mean.correct == sum(p.correct for p in pushes)
    assert np.allclose(mean.dense_p, dense, rtol=1e-5, atol=1e-5)
    assert mean.row_ids_u.tolist() == touched
    assert np.allclose(mean.rows_ud, table[touched] / examples, rtol=1e-5, atol=1e-5)
    assert mean.dense_p.dtype == mean.rows_ud.dtype == np.float32
    assert mean.row_ids_u.dtype == np.int32


@given(PUSHES)
def test_the_same_pushes_give_the_same_bits_and_stay_unchanged(pushes: list[Gradients]) -> None:
    before = [(p.dense_p.tobytes(), p.rows_ud.tobytes()) for p in pushes]
    first, second = mean_gradients(pushes), mean_gradients(list(pushes))
    assert first.dense_p.tobytes() == second.dense_p.tobytes()
    assert first.rows_ud.tobytes() == second.rows_ud.tobytes()
    assert [(p.dense_p.tobytes(), p.rows_ud.tobytes()) for p in pushes] == before


def test_workers_count_by_their_examples() -> None:
    """Three examples with gradient 1 and one with gradient 5 have mean 2."""
    none = np.zeros(0, np.int32)
    rows = np.zeros((0, DIM), np.float32)
    many = Gradients(3, 0.0, np.full(DENSE, 3, np.float32), none, rows)
    few = Gradients(1, 0.0, np.full(DENSE, 5, np.float32), none, rows)
    assert mean_gradients([many, few]).dense_p.tolist() == [2.0] * DENSE


def test_a_row_that_one_worker_touched_is_still_divided_by_all_examples() -> None:
    dense = np.zeros(DENSE, np.float32)
    a = Gradients(1, 0.0, dense, np.array([3], np.int32), np.full((1, DIM), 8, np.float32))
    b = Gradients(3, 0.0, dense, np.array([4], np.int32), np.full((1, DIM), 4, np.float32))
    mean = mean_gradients([a, b])
    assert mean.row_ids_u.tolist() == [3, 4]
    assert mean.rows_ud.tolist() == [[2.0] * DIM, [1.0] * DIM]


def test_pushes_may_be_read_only_as_they_are_on_the_wire() -> None:
    p = push(1, 4)
    p.dense_p.setflags(write=False)
    p.rows_ud.setflags(write=False)
    assert mean_gradients([p]).dense_p.flags.writeable


@given(PUSHES, st.data())
def test_every_push_counts_with_its_own_weight(
    pushes: list[Gradients], data: st.DataObject
) -> None:
    eighths = st.lists(st.integers(0, 8), min_size=len(pushes), max_size=len(pushes))
    weights = [count / 8 for count in data.draw(eighths)]
    total = sum_gradients(pushes, weights)
    dense = sum(w * p.dense_p.astype(np.float64) for w, p in zip(weights, pushes, strict=True))
    table = np.zeros((ROWS, DIM))
    for weight, p in zip(weights, pushes, strict=True):
        table[p.row_ids_u] += weight * p.rows_ud
    assert np.allclose(total.dense_p, dense, rtol=1e-5, atol=1e-3)
    assert np.allclose(total.rows_ud, table[total.row_ids_u], rtol=1e-5, atol=1e-3)


COUNTS = st.lists(st.integers(1, 500), min_size=1, max_size=6)


@given(COUNTS, st.data())
def test_a_weight_is_the_share_capped_and_the_norm_bounded(
    examples: list[int], data: st.DataObject
) -> None:
    """By definition: weight x examples = min(share, cap) x min(1, bound / norm of the mean)."""
    cap = data.draw(st.floats(0.05, 1.0))
    bound = data.draw(st.one_of(st.none(), st.floats(0.01, 10.0)))
    norms = data.draw(
        st.lists(st.floats(0.0, 100.0), min_size=len(examples), max_size=len(examples))
    )
    squares = [(norm * count) ** 2 for norm, count in zip(norms, examples, strict=True)]
    weights = push_weights(examples, squares, update_norm=bound, party_weight=cap)
    for weight, count, norm in zip(weights, examples, norms, strict=True):
        share = min(count / sum(examples), cap)
        if bound is not None and norm > bound:
            share *= bound / norm
        assert weight * count == pytest.approx(share, rel=1e-9)


@pytest.mark.parametrize("parties", [2, 3, 5, 6, 7])
@given(count=st.integers(1, 10_000))
def test_a_party_just_at_the_cap_has_the_very_factor_of_a_run_without_caps(
    parties: int, count: int
) -> None:
    """Bit for bit, or sums would not be scaled once, and the model would be another one."""
    cap = 1 / parties
    assume(count <= cap * (parties * count))  # no rounding of the cap itself
    weights = push_weights([count] * parties, None, update_norm=None, party_weight=cap)
    assert weights == (1 / (parties * count),) * parties


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", ["dense", "rows"])
def test_values_that_are_not_finite_are_found_wherever_they_are(part: str, value: float) -> None:
    p = Gradients(
        1, 0.0, np.ones(DENSE, np.float32), np.array([3], np.int32), np.ones((1, DIM), np.float32)
    )
    assert is_finite(p)
    (p.dense_p if part == "dense" else p.rows_ud[0])[1] = value
    assert not is_finite(p)


def test_sums_that_overflow_are_found() -> None:
    p = push(1, 4)
    p.dense_p[0] = np.finfo(np.float32).max
    assert is_finite(p)
    assert not is_finite(sum_gradients([p, p], [1.0, 1.0]))


@given(st.builds(push, st.integers(0, 2**32), st.integers(1, 300)), st.sampled_from([1.0, 1e25]))
def test_norms_are_sums_of_squares_by_slice_in_float64(p: Gradients, scale: float) -> None:
    """A float32 square of 1e25 is infinite, and a bound would take such a gradient away whole."""
    p = Gradients(
        p.examples,
        p.loss_sum,
        p.dense_p * np.float32(scale),
        p.row_ids_u * 50_000,
        p.rows_ud * np.float32(scale),
    )
    assert dense_norm(p, DENSE) == pytest.approx(sum(float(x) ** 2 for x in p.dense_p))
    expected = [0.0] * SLICES
    for slice_, row in zip(slices_of(p.row_ids_u).tolist(), p.rows_ud.tolist(), strict=True):
        expected[slice_] += sum(x**2 for x in row)
    assert slice_norms(p, DIM).tolist() == pytest.approx(expected)


def test_a_norm_is_of_what_changes_the_model_not_of_what_optimizers_keep_beside_it() -> None:
    p = Gradients(
        1,
        0.0,
        np.array([2, 1, 9], np.float32),
        np.array([3], np.int32),
        np.array([[3, 4, 9]], np.float32),
    )
    assert slice_norms(p, 2).sum() == 25
    assert dense_norm(p, 2) == 5
