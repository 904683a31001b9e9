"""The server's optimizers against float64 formulas and against Keras."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coterie.arrays import Float64Array, FloatArray
from coterie.contract import DenseOptimizer, RowOptimizer
from coterie.models.backend import configure_tensorflow
from coterie.ps.core.optimizers import dense_update, row_update

GRADIENTS = hnp.arrays(np.float32, (5, 6), elements=st.floats(-4, 4, width=32))
DENSE_KINDS = [
    DenseOptimizer(kind="sgd", learning_rate=0.1),
    DenseOptimizer(kind="momentum", learning_rate=0.1),
    DenseOptimizer(kind="nesterov", learning_rate=0.1),
    DenseOptimizer(kind="adam", learning_rate=0.05),
    DenseOptimizer(kind="adagrad", learning_rate=0.02),
    DenseOptimizer(kind="adagrad", learning_rate=0.5, initial_accumulator=0.1, epsilon=1e-3),
    DenseOptimizer(kind="factored_adagrad", learning_rate=0.02),
]
ROW_KINDS = [
    RowOptimizer(kind="sgd", learning_rate=0.1),
    RowOptimizer(kind="lazy_adam", learning_rate=0.05),
    RowOptimizer(kind="adagrad", learning_rate=0.02, initial_accumulator=0.1),
    RowOptimizer(kind="rowwise_adagrad", learning_rate=0.02),
    RowOptimizer(kind="rowwise_adagrad", learning_rate=0.5, initial_accumulator=0.5, epsilon=0.1),
]


def kind_of(settings: DenseOptimizer | RowOptimizer) -> str:
    return f"{settings.kind}-{settings.initial_accumulator}"


def adam(
    settings: DenseOptimizer | RowOptimizer,
    m: Float64Array,
    v: Float64Array,
    g: Float64Array,
    step: int,
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Adam's moments and direction in float64 (Kingma and Ba, 2015, the form before section 2.1)."""
    m = settings.beta_1 * m + (1 - settings.beta_1) * g
    v = settings.beta_2 * v + (1 - settings.beta_2) * g * g
    rate = np.sqrt(1 - settings.beta_2 ** (step + 1)) / (1 - settings.beta_1 ** (step + 1))
    return m, v, rate * m / (np.sqrt(v) + settings.epsilon)


@pytest.mark.parametrize("settings", DENSE_KINDS, ids=kind_of)
@given(gradients=GRADIENTS)
def test_dense_updates_follow_the_formula(settings: DenseOptimizer, gradients: FloatArray) -> None:
    parameters = np.linspace(-1, 1, 6, dtype=np.float32)
    expected = parameters.astype(np.float64)
    sums = np.full(6, settings.initial_accumulator, np.float64)
    update = dense_update(settings, 6)
    first = np.zeros(6)
    for step, gradient in enumerate(gradients):
        factor = 1 / (step + 1)
        rate = settings.learning_rate * factor
        g = gradient.astype(np.float64)
        if settings.kind.endswith("adagrad"):  # a vector's sums are not factored
            sums += g * g
            g = g / (np.sqrt(sums) + settings.epsilon)
        elif settings.kind == "momentum":
            first = settings.momentum * first + rate * g
            g = first / rate
        elif settings.kind == "nesterov":
            first = settings.momentum * first + rate * g
            g = settings.momentum * first / rate + g
        elif settings.kind == "adam":
            first, sums, g = adam(settings, first, sums, g, step)
        expected -= rate * g
        update.apply(parameters, gradient.copy(), step=step, factor=factor)
    assert np.allclose(parameters, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", ROW_KINDS, ids=kind_of)
@given(gradients=GRADIENTS)
def test_row_updates_follow_the_formula(settings: RowOptimizer, gradients: FloatArray) -> None:
    values = np.linspace(-1, 1, 24, dtype=np.float32).reshape(12, 2)
    expected = values.astype(np.float64)
    sums = np.full((12, 2), settings.initial_accumulator, np.float64)
    first = np.zeros((12, 2))
    update = row_update(settings, 12, 2)
    for step, flat in enumerate(gradients):
        factor = 1 / (step + 1)
        rows = np.array([step, step + 3, 11], np.int32)
        gradient = flat.reshape(3, 2)
        g = gradient.astype(np.float64)
        if settings.kind == "lazy_adam":
            first[rows], sums[rows], g = adam(settings, first[rows], sums[rows], g, step)
        elif settings.kind != "sgd":
            squares = g * g
            if settings.kind == "rowwise_adagrad":
                squares = squares.mean(axis=1, keepdims=True)
            sums[rows] += squares
            g = g / (np.sqrt(sums[rows]) + settings.epsilon)
        expected[rows] -= settings.learning_rate * factor * g
        update.apply(values, rows, gradient, step=step, factor=factor)
    assert np.allclose(values, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", ROW_KINDS, ids=kind_of)
def test_rows_that_are_not_named_stay_as_they_are(settings: RowOptimizer) -> None:
    values = np.ones((6, 2), np.float32)
    update = row_update(settings, 6, 2)
    update.apply(
        values, np.array([1, 4], np.int32), np.ones((2, 2), np.float32), step=0, factor=1.0
    )
    untouched = [0, 2, 3, 5]
    assert np.array_equal(values[untouched], np.ones((4, 2), np.float32))
    if update.state.size:
        assert not update.state[untouched].any()
        assert update.state[[1, 4]].all()


@pytest.mark.parametrize("settings", DENSE_KINDS, ids=kind_of)
def test_a_zero_gradient_changes_nothing(settings: DenseOptimizer) -> None:
    parameters = np.linspace(-1, 1, 4, dtype=np.float32)
    before = parameters.copy()
    dense_update(settings, 4).apply(parameters, np.zeros(4, np.float32), step=0, factor=1.0)
    assert np.array_equal(parameters, before)


@pytest.mark.parametrize("settings", ROW_KINDS, ids=kind_of)
def test_a_rows_update_does_not_depend_on_the_others_of_its_step(settings: RowOptimizer) -> None:
    random = np.random.default_rng(1)
    gradient = random.normal(size=(5, 3)).astype(np.float32)
    rows = np.array([0, 2, 4, 5, 7], np.int32)
    together = random.normal(size=(8, 3)).astype(np.float32)
    apart = together.copy()
    row_update(settings, 8, 3).apply(together, rows, gradient, step=2, factor=0.5)
    one_by_one = row_update(settings, 8, 3)
    for i in range(5):
        one_by_one.apply(apart, rows[i : i + 1], gradient[i : i + 1], step=2, factor=0.5)
    assert together.tobytes() == apart.tobytes()


@given(gradients=hnp.arrays(np.float32, (4, 17), elements=st.floats(-4, 4, width=32)))
def test_a_kernels_sums_of_squares_are_kept_for_its_rows_and_columns(gradients: FloatArray) -> None:
    shapes = [(2, 2, 3), (5,)]  # the first axes of a kernel together, and a bias
    settings = DenseOptimizer(
        kind="factored_adagrad", learning_rate=0.1, initial_accumulator=0.2, epsilon=1e-3
    )
    update = dense_update(settings, 17, shapes)
    assert update.state.size == settings.sums(shapes) == 4 + 3 + 5
    parameters = np.zeros(17, np.float32)
    expected = np.zeros(17)
    rows, columns, bias = (np.full(n, 0.2) for n in (4, 3, 5))
    for step, gradient in enumerate(gradients):
        kernel, g = np.split(gradient.astype(np.float64), [12])
        kernel = kernel.reshape(4, 3)
        rows += (kernel**2).mean(axis=1)
        columns += (kernel**2).mean(axis=0)
        bias += g * g
        direction = kernel / (np.sqrt(np.outer(rows, columns) / rows.mean()) + 1e-3)
        expected[:12] -= 0.1 * direction.reshape(-1)
        expected[12:] -= 0.1 * g / (np.sqrt(bias) + 1e-3)
        update.apply(parameters, gradient.copy(), step=step, factor=1.0)
    assert np.allclose(parameters, expected, rtol=1e-4, atol=1e-5)


def test_factored_sums_are_those_of_every_element_where_squares_are_a_product() -> None:
    """Then nothing is lost by keeping rows and columns alone."""
    gradient = np.outer([1, 2, 3], [4, 5]).astype(np.float32).reshape(-1)
    parameters = np.zeros((2, 6), np.float32)
    for kind, own in zip(("adagrad", "factored_adagrad"), parameters, strict=True):
        settings = DenseOptimizer(kind=kind)  # type: ignore[arg-type]
        update = dense_update(settings, 6, [(3, 2)])
        for step in range(3):
            update.apply(own, gradient.copy(), step=step, factor=1.0)
    assert np.allclose(parameters[0], parameters[1], rtol=1e-5)


def test_state_is_as_wide_as_the_optimizer_needs() -> None:
    widths = [row_update(kind, 7, 3).state.shape[1] for kind in ROW_KINDS]
    assert widths == [0, 6, 3, 1, 1]


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "settings",
    [
        DenseOptimizer(kind="sgd", learning_rate=0.05),
        DenseOptimizer(kind="momentum", learning_rate=0.05, momentum=0.8),
        DenseOptimizer(kind="nesterov", learning_rate=0.05, momentum=0.8),
        DenseOptimizer(kind="adagrad", learning_rate=0.05, initial_accumulator=0.1, epsilon=1e-7),
        DenseOptimizer(kind="adagrad", learning_rate=0.05, initial_accumulator=1.0, epsilon=1e-7),
        DenseOptimizer(kind="adam", learning_rate=0.05, beta_1=0.8, beta_2=0.99, epsilon=1e-7),
    ],
    ids=kind_of,
)
def test_dense_optimizers_agree_with_keras(settings: DenseOptimizer) -> None:
    configure_tensorflow(1)  # its settings hold for the whole process: other tests need these
    import keras

    rate = settings.learning_rate
    optimizers = {
        "sgd": lambda: keras.optimizers.SGD(rate),
        "momentum": lambda: keras.optimizers.SGD(rate, momentum=settings.momentum),
        "nesterov": lambda: keras.optimizers.SGD(rate, momentum=settings.momentum, nesterov=True),
        "adagrad": lambda: keras.optimizers.Adagrad(
            rate,
            initial_accumulator_value=settings.initial_accumulator,
            epsilon=settings.epsilon,
        ),
        "adam": lambda: keras.optimizers.Adam(
            rate, beta_1=settings.beta_1, beta_2=settings.beta_2, epsilon=settings.epsilon
        ),
    }
    random = np.random.default_rng(3)
    theirs = keras.Variable(np.ones(8, np.float32))
    optimizer = optimizers[settings.kind]()
    optimizer.build([theirs])
    ours = np.ones(8, np.float32)
    update = dense_update(settings, 8)
    for step in range(20):
        gradient = random.normal(size=8).astype(np.float32)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [theirs])
        update.apply(ours, gradient, step=step, factor=1.0)
    assert np.allclose(ours, theirs.value.numpy(), rtol=1e-5, atol=1e-6)


def test_blocks_do_not_show_in_the_result() -> None:
    """More parameters than a block holds: each is updated as if it were alone."""
    for settings in DENSE_KINDS:
        random = np.random.default_rng(5)
        start = random.normal(size=70_001).astype(np.float32)
        gradient = random.normal(size=70_001).astype(np.float32)
        whole = start.copy()
        dense_update(settings, whole.size).apply(whole, gradient.copy(), step=0, factor=1.0)
        for place in (0, 32_767, 32_768, 70_000):
            one = start[place : place + 1].copy()
            alone = gradient[place : place + 1].copy()
            dense_update(settings, 1).apply(one, alone, step=0, factor=1.0)
            assert one.tobytes() == whole[place : place + 1].tobytes()
