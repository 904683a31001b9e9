"""The mean gradient of a step: right, weighted by examples, the same bits in worker order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from coterie.ps.aggregation import Gradients
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
