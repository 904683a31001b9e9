"""The server's optimizers against float64 formulas and against Keras."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coterie.contract import DenseOptimizer, RowOptimizer
from coterie.models.backend import configure_tensorflow
from coterie.ps.optimizers import dense_update, row_update

Floats = npt.NDArray[np.float32]
GRADIENTS = hnp.arrays(np.float32, (5, 6), elements=st.floats(-4, 4, width=32))
DENSE_KINDS = [
    DenseOptimizer(kind="sgd", learning_rate=0.1),
    DenseOptimizer(kind="adagrad", learning_rate=0.02),
    DenseOptimizer(kind="adagrad", learning_rate=0.5, initial_accumulator=0.1, epsilon=1e-3),
]
ROW_KINDS = [
    RowOptimizer(kind="sgd", learning_rate=0.1),
    RowOptimizer(kind="adagrad", learning_rate=0.02, initial_accumulator=0.1),
    RowOptimizer(kind="rowwise_adagrad", learning_rate=0.02),
    RowOptimizer(kind="rowwise_adagrad", learning_rate=0.5, initial_accumulator=0.5, epsilon=0.1),
]


def kind_of(settings: DenseOptimizer | RowOptimizer) -> str:
    return f"{settings.kind}-{settings.initial_accumulator}"


@pytest.mark.parametrize("settings", DENSE_KINDS, ids=kind_of)
@given(gradients=GRADIENTS)
def test_dense_updates_follow_the_formula(settings: DenseOptimizer, gradients: Floats) -> None:
    parameters = np.linspace(-1, 1, 6, dtype=np.float32)
    expected = parameters.astype(np.float64)
    sums = np.full(6, settings.initial_accumulator, np.float64)
    update = dense_update(settings, 6)
    for gradient in gradients:
        g = gradient.astype(np.float64)
        if settings.kind == "adagrad":
            sums += g * g
            g = g / (np.sqrt(sums) + settings.epsilon)
        expected -= settings.learning_rate * g
        update.apply(parameters, gradient.copy())
    assert np.allclose(parameters, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", ROW_KINDS, ids=kind_of)
@given(gradients=GRADIENTS)
def test_row_updates_follow_the_formula(settings: RowOptimizer, gradients: Floats) -> None:
    values = np.linspace(-1, 1, 24, dtype=np.float32).reshape(12, 2)
    expected = values.astype(np.float64)
    sums = np.full((12, 2), settings.initial_accumulator, np.float64)
    update = row_update(settings, 12, 2)
    for step, flat in enumerate(gradients):
        rows = np.array([step, step + 3, 11], np.int32)
        gradient = flat.reshape(3, 2)
        g = gradient.astype(np.float64)
        if settings.kind != "sgd":
            squares = g * g
            if settings.kind == "rowwise_adagrad":
                squares = squares.mean(axis=1, keepdims=True)
            sums[rows] += squares
            g = g / (np.sqrt(sums[rows]) + settings.epsilon)
        expected[rows] -= settings.learning_rate * g
        update.apply(values, rows, gradient)
    assert np.allclose(values, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", ROW_KINDS, ids=kind_of)
def test_rows_that_are_not_named_stay_as_they_are(settings: RowOptimizer) -> None:
    values = np.ones((6, 2), np.float32)
    update = row_update(settings, 6, 2)
    update.apply(values, np.array([1, 4], np.int32), np.ones((2, 2), np.float32))
    untouched = [0, 2, 3, 5]
    assert np.array_equal(values[untouched], np.ones((4, 2), np.float32))
    if update.state.size:
        assert not update.state[untouched].any()
        assert update.state[[1, 4]].all()


@pytest.mark.parametrize("settings", DENSE_KINDS, ids=kind_of)
def test_a_zero_gradient_changes_nothing(settings: DenseOptimizer) -> None:
    parameters = np.linspace(-1, 1, 4, dtype=np.float32)
    before = parameters.copy()
    dense_update(settings, 4).apply(parameters, np.zeros(4, np.float32))
    assert np.array_equal(parameters, before)


@pytest.mark.parametrize("settings", ROW_KINDS, ids=kind_of)
def test_a_rows_update_does_not_depend_on_the_others_of_its_step(settings: RowOptimizer) -> None:
    random = np.random.default_rng(1)
    gradient = random.normal(size=(5, 3)).astype(np.float32)
    rows = np.array([0, 2, 4, 5, 7], np.int32)
    together = random.normal(size=(8, 3)).astype(np.float32)
    apart = together.copy()
    row_update(settings, 8, 3).apply(together, rows, gradient)
    one_by_one = row_update(settings, 8, 3)
    for i in range(5):
        one_by_one.apply(apart, rows[i : i + 1], gradient[i : i + 1])
    assert together.tobytes() == apart.tobytes()


def test_rowwise_adagrad_keeps_one_sum_per_row() -> None:
    assert row_update(ROW_KINDS[2], 7, 3).state.shape == (7, 1)
    assert row_update(ROW_KINDS[1], 7, 3).state.shape == (7, 3)
    assert row_update(ROW_KINDS[0], 7, 3).state.size == 0


@pytest.mark.parametrize("initial", [0.1, 1.0])
def test_adagrad_agrees_with_keras(initial: float) -> None:
    configure_tensorflow(1)  # its settings hold for the whole process: other tests need these
    import keras

    rate, epsilon = 0.05, 1e-7
    random = np.random.default_rng(3)
    theirs = keras.Variable(np.ones(8, np.float32))
    optimizer = keras.optimizers.Adagrad(
        learning_rate=rate, initial_accumulator_value=initial, epsilon=epsilon
    )
    optimizer.build([theirs])
    ours = np.ones(8, np.float32)
    update = dense_update(
        DenseOptimizer(
            kind="adagrad", learning_rate=rate, initial_accumulator=initial, epsilon=epsilon
        ),
        8,
    )
    for _ in range(20):
        gradient = random.normal(size=8).astype(np.float32)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [theirs])
        update.apply(ours, gradient)
    assert np.allclose(ours, theirs.value.numpy(), rtol=1e-5, atol=1e-6)
