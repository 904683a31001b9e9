"""How workers' changes of a row become one: each rule against float64, by definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.arrays import Float64Array, FloatArray, IdArray
from coterie.contract import DenseOptimizer, LocalSection, RowOptimizer
from coterie.ps.core.aggregation import Gradients, is_finite, push_weights, sum_gradients
from coterie.ps.core.merging import DenseChange, RowChange, merge
from coterie.ps.core.optimizers import dense_update

DIM, DENSE, ROWS = 3, 5, 20
INITIAL = 0.25
KINDS = {"adagrad": DIM, "rowwise_adagrad": 1}


def local_of(merge: str, kind: str = "adagrad", initial: float = INITIAL) -> LocalSection:
    return LocalSection.model_validate(
        {
            "dense": DenseOptimizer(),
            "rows": RowOptimizer(kind=kind, initial_accumulator=initial),  # type: ignore[arg-type]
            "row_merge": merge,
        }
    )


def push(seed: int, examples: int, width: int) -> Gradients:
    """Changes and growth of up to eight rows, times the examples."""
    random = np.random.default_rng(seed)
    count = int(random.integers(0, 8))
    ids = np.sort(random.choice(ROWS, count, replace=False)).astype(np.int32)
    change, grown = random.normal(size=(count, DIM)), random.random((count, width))
    rows = np.hstack((change, grown)).astype(np.float32) * np.float32(examples)
    return Gradients(examples, 1.0, random.normal(size=DENSE).astype(np.float32), ids, rows)


def state_before(width: int) -> FloatArray:
    state: FloatArray = np.random.default_rng(1).random((ROWS, width)).astype(np.float32)
    return state


def zeros(ids: IdArray) -> FloatArray:
    return np.zeros((ids.size, DIM), np.float32)


PUSHES = st.lists(st.tuples(st.integers(0, 2**32), st.integers(1, 300)), min_size=1, max_size=5)


def table(pushes: list[Gradients], width: int) -> list[dict[int, Float64Array]]:
    """Each push's changes and growth by row, per example."""
    return [
        {
            int(i): values.astype(np.float64) / p.examples
            for i, values in zip(p.row_ids_u, p.rows_ud, strict=True)
        }
        for p in pushes
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cap", [1.0, 0.4])
@pytest.mark.parametrize("rule", ["mean", "touched", "adagrad"])
@given(drawn=PUSHES)
def test_rows_are_merged_by_the_rules_definition(
    rule: str, cap: float, kind: str, drawn: list[tuple[int, int]]
) -> None:
    width = KINDS[kind]
    before = state_before(width)
    pushes = [push(seed, count, width) for seed, count in drawn]
    examples = [p.examples for p in pushes]
    weights = push_weights(examples, None, update_norm=None, party_weight=cap)
    merged = merge(local_of(rule, kind), pushes, weights, DIM, lambda rows: before[rows])
    # What the cap leaves of each push.
    left = [weight * sum(examples) for weight in weights]
    by_worker = table(pushes, width)
    assert merged.row_ids_u.tolist() == sorted({row for rows in by_worker for row in rows})
    for row, found in zip(merged.row_ids_u.tolist(), merged.rows_ud, strict=True):
        having = [w for w, rows in enumerate(by_worker) if row in rows]
        parts = [left[w] * by_worker[w][row] for w in having]
        if rule == "adagrad":
            state = before[row].astype(np.float64) + INITIAL
            grown = np.sum([part[DIM:] for part in parts], axis=0)
            scales = [np.sqrt((state + part[DIM:]) / (state + grown)) for part in parts]
            shares = [part[:DIM] * scale for part, scale in zip(parts, scales, strict=True)]
            expected = np.concatenate((np.sum(shares, axis=0), grown))
        else:
            over = sum(examples[w] for w in having) if rule == "touched" else sum(examples)
            shares = [part * examples[w] / over for w, part in zip(having, parts, strict=True)]
            expected = np.sum(shares, axis=0)
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)
    dense = sum(w * p.dense_p.astype(np.float64) for w, p in zip(weights, pushes, strict=True))
    assert np.allclose(merged.dense_p, dense, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", ["touched", "adagrad"])
def test_a_row_that_one_worker_touched_takes_its_whole_change(rule: str) -> None:
    dense = np.zeros(DENSE, np.float32)
    rows = np.array([[1, 2, 4, 1, 1, 1]], np.float32)
    a = Gradients(2, 0.0, dense, np.array([3], np.int32), 2 * rows)
    b = Gradients(6, 0.0, dense, np.array([4], np.int32), 6 * rows)
    merged = merge(local_of(rule), [a, b], [1 / 8, 1 / 8], DIM, zeros)
    assert merged.row_ids_u.tolist() == [3, 4]
    assert merged.rows_ud.tolist() == [rows[0].tolist()] * 2


def test_two_workers_who_met_the_same_gradient_once_move_a_row_as_two_steps_of_adagrad_nearly() -> (
    None
):
    """In turns: g / sqrt(g2) + g / sqrt(2 g2). Merged: 2 g / sqrt(2 g2), which is between one and two."""
    one = Gradients(
        1,
        0.0,
        np.zeros(DENSE, np.float32),
        np.array([7], np.int32),
        np.array([[1, 1, 1, 4, 4, 4]], np.float32),
    )
    local = local_of("adagrad", initial=0.0)
    merged = merge(local, [one, one], [1 / 2, 1 / 2], DIM, zeros)
    assert merged.rows_ud[0] == pytest.approx([2**0.5] * DIM + [8] * DIM)


def test_a_row_whose_gradients_were_all_zero_stays() -> None:
    ids, rows = np.array([7], np.int32), np.zeros((1, 2 * DIM), np.float32)
    none = Gradients(1, 0.0, np.zeros(DENSE, np.float32), ids, rows)
    local = local_of("adagrad", initial=0.0)
    merged = merge(local, [none, none], [0.5, 0.5], DIM, zeros)
    assert not merged.rows_ud.any()


@pytest.mark.parametrize("rule", ["mean", "touched", "adagrad"])
@given(drawn=PUSHES)
def test_a_row_does_not_depend_on_which_others_are_on_its_shard(
    rule: str, drawn: list[tuple[int, int]]
) -> None:
    before = state_before(DIM)
    pushes = [push(seed, count, DIM) for seed, count in drawn]
    weights = push_weights([p.examples for p in pushes], None, update_norm=None, party_weight=0.5)

    def merged(rows: range) -> tuple[list[int], bytes]:
        held = [np.isin(p.row_ids_u, rows) for p in pushes]
        parts = [
            Gradients(p.examples, 0.0, p.dense_p, p.row_ids_u[own], p.rows_ud[own])
            for p, own in zip(pushes, held, strict=True)
        ]
        whole = merge(local_of(rule), parts, weights, DIM, lambda ids: before[ids])
        return whole.row_ids_u.tolist(), whole.rows_ud.tobytes()

    ids, values = merged(range(ROWS))
    (low, first), (high, second) = merged(range(ROWS // 2)), merged(range(ROWS // 2, ROWS))
    assert (ids, values) == (low + high, first + second)


@given(drawn=PUSHES)
def test_gradients_are_merged_as_ever(drawn: list[tuple[int, int]]) -> None:
    """Without local optimizers, and with the mean of their changes, bit for bit."""
    pushes = [push(seed, count, DIM) for seed, count in drawn]
    before = [p.rows_ud.tobytes() for p in pushes]
    weights = push_weights([p.examples for p in pushes], None, update_norm=None, party_weight=1.0)
    plain = sum_gradients(pushes, weights)
    for local in (None, local_of("mean")):
        merged = merge(local, pushes, weights, DIM, zeros)
        assert merged.rows_ud.tobytes() == plain.rows_ud.tobytes()
        assert merged.dense_p.tobytes() == plain.dense_p.tobytes()
    assert [p.rows_ud.tobytes() for p in pushes] == before


@pytest.mark.parametrize("rule", ["touched", "adagrad"])
def test_sums_that_overflow_are_found(rule: str) -> None:
    huge = np.full((1, 2 * DIM), 3e38, np.float32)
    p = Gradients(1, 0.0, np.zeros(DENSE, np.float32), np.array([3], np.int32), huge)
    state = np.zeros((1, DIM), np.float32)
    assert not is_finite(merge(local_of(rule), [p, p], [1.0, 1.0], DIM, lambda _: state))


@pytest.mark.parametrize("kind", ["adagrad", "rowwise_adagrad", "lazy_adam"])
def test_the_server_takes_the_change_and_keeps_what_the_state_grew_by(kind: str) -> None:
    local = RowOptimizer(kind=kind)  # type: ignore[arg-type]
    width = local.state_width(DIM)
    update = RowChange(RowOptimizer(learning_rate=0.5), local, ROWS, DIM)
    values = np.ones((ROWS, DIM), np.float32)
    rows = np.array([2, 5], np.int32)
    gradient = np.full((2, DIM + width), 4, np.float32)
    for step in range(2):
        update.apply(values, rows, gradient.copy(), step=step, factor=1.0)
    assert (values[rows] == -3).all()
    assert update.state.shape == (ROWS, width)
    assert (update.state[rows] == 8).all()
    others = np.setdiff1d(np.arange(ROWS), rows)
    assert (values[others] == 1).all()
    assert not update.state[others].any()


def test_the_servers_optimizer_takes_the_change_of_dense_parameters_and_keeps_the_sums() -> None:
    settings = DenseOptimizer(kind="nesterov", learning_rate=0.5)
    alone = dense_update(settings, DENSE)
    update = DenseChange(dense_update(settings, DENSE), np.full(2, 0.5, np.float32))
    expected, parameters = np.ones(DENSE, np.float32), np.ones(DENSE, np.float32)
    for step in range(3):
        change = np.arange(DENSE, dtype=np.float32) + step
        alone.apply(expected, change.copy(), step=step, factor=1.0)
        pushed = np.concatenate((change, np.array([4, -9], np.float32)))
        update.apply(parameters, pushed, step=step, factor=1.0)
    assert parameters.tobytes() == expected.tobytes()
    assert update.kept.tolist() == [12.5, 0.0]  # never below zero
    # All of it is in one array: what checkpoints keep, and put back in place.
    assert update.state.tobytes() == np.concatenate((alone.state, update.kept)).tobytes()
    update.state[:] = 1
    assert update.kept.tolist() == [1.0, 1.0]


def test_a_sum_of_squares_never_comes_to_lie_below_zero() -> None:
    """Or its root would be no number, and the row lost."""
    rows = np.array([0], np.int32)
    less = np.full((1, DIM + 2 * DIM), -1, np.float32)
    update = RowChange(RowOptimizer(), RowOptimizer(kind="lazy_adam"), 1, DIM)
    update.apply(np.ones((1, DIM), np.float32), rows, less, step=0, factor=1.0)
    assert update.state[0].tolist() == [-1.0] * DIM + [0.0] * DIM
    update = RowChange(RowOptimizer(), RowOptimizer(kind="rowwise_adagrad"), 1, DIM)
    update.apply(np.ones((1, DIM), np.float32), rows, less[:, : DIM + 1], step=0, factor=1.0)
    assert update.state.tolist() == [[0.0]]
