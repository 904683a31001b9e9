"""A worker's step: right gradients, the same bits everywhere, nothing of a wrong shape."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coterie.arrays import Float64Array, FloatArray, IdArray
from coterie.contract import (
    AnyModelSection,
    DataSection,
    KerasModelSection,
    LayerSection,
    ModelSection,
    ParameterSection,
)
from coterie.errors import EnvironmentUnfit, MessageRefused, ModelUnfit
from coterie.training.step import WorkerStep, pad, sum_by_row, unique_rows

SMALL = ModelSection(embedding_dim=3, bottom=(5, 3), top=(4, 1))
COLUMNS = DataSection(
    numeric=("I1", "I2"), categorical=("C1", "C2", "C3"), column_rows={"C1": 4, "C2": 6}
)
BATCH = 8


@dataclass(frozen=True, eq=False)
class Examples:
    flat_p: FloatArray
    dense_bn: FloatArray
    embedded_bmd: FloatArray
    labels_b: FloatArray


def examples_for(model: AnyModelSection, data: DataSection, count: int, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    parameters = [
        rng.normal(0, parameter.standard_deviation, parameter.size)
        for parameter in model.dense_parameters(data)
    ]
    return Examples(
        np.concatenate(parameters).astype(np.float32),
        rng.random((count, len(data.numeric)), np.float32),
        rng.normal(size=(count, len(data.categorical), model.embedding_dim)).astype(np.float32),
        rng.integers(0, 2, count).astype(np.float32),
    )


def reference_logits(
    model: ModelSection,
    data: DataSection,
    flat_p: Float64Array,
    dense_bn: FloatArray,
    embedded_bmd: Float64Array,
) -> Float64Array:
    """The forward pass as Naumov et al. (2019) state it, in float64 numpy."""
    parts, start = [], 0
    for parameter in model.dense_parameters(data):
        parts.append(flat_p[start : start + parameter.size].reshape(parameter.shape))
        start += parameter.size
    layers = list(zip(parts[::2], parts[1::2], strict=True))
    hidden: Float64Array = dense_bn.astype(np.float64)
    for kernel, bias in layers[: len(model.bottom)]:
        hidden = np.maximum(hidden @ kernel + bias, 0)
    vectors = np.concatenate([hidden[:, None], embedded_bmd], axis=1)
    products = vectors @ vectors.transpose(0, 2, 1)
    rows, columns = np.tril_indices(vectors.shape[1], -1)
    hidden = np.concatenate([hidden, products[:, rows, columns]], axis=1)
    for kernel, bias in layers[len(model.bottom) : -1]:
        hidden = np.maximum(hidden @ kernel + bias, 0)
    kernel, bias = layers[-1]
    logits: Float64Array = (hidden @ kernel + bias)[:, 0]
    return logits


def reference_loss(
    model: ModelSection,
    data: DataSection,
    flat_p: Float64Array,
    x: Examples,
    embedded_bmd: Float64Array,
) -> float:
    logits = reference_logits(model, data, flat_p, x.dense_bn, embedded_bmd)
    return float(np.logaddexp(0, np.where(x.labels_b == 1, -logits, logits)).sum())


def digest_of_a_step(model: ModelSection, data: DataSection, batch: int) -> str:
    x = examples_for(model, data, batch)
    step = WorkerStep(model, data, batch, 1)
    result = step.gradients(x.flat_p, x.dense_bn, x.embedded_bmd, x.labels_b)
    scores = step.scores(x.flat_p, x.dense_bn, x.embedded_bmd)
    digest = hashlib.sha256(np.float64(result.loss_sum).tobytes())
    for array in (result.dense_p, result.embedded_bmd, scores):
        digest.update(array.tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def step() -> WorkerStep:
    return WorkerStep(SMALL, COLUMNS, BATCH, 1)


@pytest.mark.tensorflow
def test_scores_are_the_reference_s(step: WorkerStep) -> None:
    x = examples_for(SMALL, COLUMNS, BATCH)
    expected = reference_logits(
        SMALL, COLUMNS, x.flat_p.astype(np.float64), x.dense_bn, x.embedded_bmd.astype(np.float64)
    )
    scores = step.scores(x.flat_p, x.dense_bn, x.embedded_bmd)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("count", [BATCH, 5, 1, 2 * BATCH + 3])
def test_gradients_are_those_of_the_sum_of_losses(step: WorkerStep, count: int) -> None:
    x = examples_for(SMALL, COLUMNS, count, seed=count)
    flat, embedded = x.flat_p.astype(np.float64), x.embedded_bmd.astype(np.float64)
    result = step.gradients(x.flat_p, x.dense_bn, x.embedded_bmd, x.labels_b)
    assert result.examples == count
    assert result.loss_sum == pytest.approx(
        reference_loss(SMALL, COLUMNS, flat, x, embedded), rel=1e-5
    )

    width = 1e-6

    def slope(flat_change: Float64Array, embedded_change: Float64Array) -> float:
        up = reference_loss(SMALL, COLUMNS, flat + flat_change, x, embedded + embedded_change)
        down = reference_loss(SMALL, COLUMNS, flat - flat_change, x, embedded - embedded_change)
        return (up - down) / (2 * width)

    for gradient, base in ((result.dense_p, flat), (result.embedded_bmd, embedded)):
        assert gradient.dtype == np.float32
        assert gradient.shape == base.shape
        expected = np.zeros(base.size)
        for i in range(base.size):
            change = np.zeros(base.size)
            change[i] = width
            shaped = change.reshape(base.shape)
            expected[i] = (
                slope(shaped, np.zeros_like(embedded))
                if base is flat
                else slope(np.zeros_like(flat), shaped)
            )
        np.testing.assert_allclose(gradient.reshape(-1), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.tensorflow
def test_a_share_of_several_batches_is_their_sum_in_order_bit_for_bit(step: WorkerStep) -> None:
    x = examples_for(SMALL, COLUMNS, 2 * BATCH + 3)
    whole = step.gradients(x.flat_p, x.dense_bn, x.embedded_bmd, x.labels_b)
    parts = [
        step.gradients(x.flat_p, x.dense_bn[part], x.embedded_bmd[part], x.labels_b[part])
        for part in (slice(0, 8), slice(8, 16), slice(16, 19))
    ]
    assert np.array_equal(whole.dense_p, parts[0].dense_p + parts[1].dense_p + parts[2].dense_p)
    assert np.array_equal(whole.embedded_bmd, np.concatenate([one.embedded_bmd for one in parts]))
    assert whole.loss_sum == parts[0].loss_sum + parts[1].loss_sum + parts[2].loss_sum


@pytest.mark.tensorflow
def test_gradients_of_two_batches_add_up_to_those_of_both(step: WorkerStep) -> None:
    x = examples_for(SMALL, COLUMNS, BATCH)
    whole = step.gradients(x.flat_p, x.dense_bn, x.embedded_bmd, x.labels_b)
    parts = [
        step.gradients(x.flat_p, x.dense_bn[part], x.embedded_bmd[part], x.labels_b[part])
        for part in (slice(0, 3), slice(3, BATCH))
    ]
    np.testing.assert_allclose(parts[0].dense_p + parts[1].dense_p, whole.dense_p, atol=1e-5)
    assert parts[0].loss_sum + parts[1].loss_sum == pytest.approx(whole.loss_sum, rel=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("count", [BATCH, 5, 1, 2 * BATCH + 3])
def test_correct_predictions_are_counted_but_not_those_of_padding(
    step: WorkerStep, count: int
) -> None:
    x = examples_for(SMALL, COLUMNS, count, seed=count)
    parts = [slice(start, start + BATCH) for start in range(0, count, BATCH)]
    scores = np.concatenate(
        [step.scores(x.flat_p, x.dense_bn[part], x.embedded_bmd[part]) for part in parts]
    )
    result = step.gradients(x.flat_p, x.dense_bn, x.embedded_bmd, x.labels_b)
    assert result.correct == int(((scores > 0) == (x.labels_b > 0)).sum())


@pytest.mark.tensorflow
def test_weight_zero_takes_an_example_out(step: WorkerStep) -> None:
    x = examples_for(SMALL, COLUMNS, BATCH)
    weights = np.array([1, 1, 1, 0, 0, 0, 0, 0], np.float32)
    weighted = step.gradients(x.flat_p, x.dense_bn, x.embedded_bmd, x.labels_b, weights)
    fewer = step.gradients(x.flat_p, x.dense_bn[:3], x.embedded_bmd[:3], x.labels_b[:3])
    np.testing.assert_allclose(weighted.dense_p, fewer.dense_p, atol=1e-6)
    assert not weighted.embedded_bmd[3:].any()
    assert weighted.correct == fewer.correct


@pytest.mark.system
def test_another_process_computes_the_same_bits() -> None:
    code = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('test_step', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['test_step'] = module\n"
        "spec.loader.exec_module(module)\n"
        "print(module.digest_of_a_step(module.SMALL, module.COLUMNS, module.BATCH))\n"
        "print(module.digest_of_a_step(module.ModelSection(), module.DataSection(), 128))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, __file__], check=True, capture_output=True, text=True
    )
    assert run.stdout.split() == [
        digest_of_a_step(SMALL, COLUMNS, BATCH),
        digest_of_a_step(ModelSection(), DataSection(), 128),
    ]


@pytest.mark.tensorflow
def test_threads_of_one_process_compute_the_same_bits() -> None:
    alone = digest_of_a_step(ModelSection(), DataSection(), 128)
    with ThreadPoolExecutor(4) as threads:
        together = [
            threads.submit(digest_of_a_step, ModelSection(), DataSection(), 128) for _ in range(12)
        ]
        assert {future.result() for future in together} == {alone}


@pytest.mark.system
def test_several_intra_op_threads_compute_the_same_bits_every_time() -> None:
    code = (
        "import numpy as np\n"
        "from coterie.contract import DataSection, ModelSection\n"
        "from coterie.training.step import WorkerStep\n"
        "model, data = ModelSection(), DataSection()\n"
        "step = WorkerStep(model, data, 512, 4)\n"
        "rng = np.random.default_rng(0)\n"
        "flat = rng.normal(0, 0.05, step.parameters).astype(np.float32)\n"
        "x = rng.random((512, 13), np.float32)\n"
        "e = rng.normal(size=(512, 26, 16)).astype(np.float32)\n"
        "y = rng.integers(0, 2, 512).astype(np.float32)\n"
        "runs = [step.gradients(flat, x, e, y) for _ in range(10)]\n"
        "print(len({run.dense_p.tobytes() + run.embedded_bmd.tobytes() for run in runs}))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "1"


@pytest.mark.tensorflow
def test_another_keras_model_can_take_the_core_s_place() -> None:
    import keras

    def linear() -> object:
        dense = keras.Input((2,))
        embedded = keras.Input((3, 3))
        joined = keras.layers.Concatenate()([dense, keras.layers.Flatten()(embedded)])
        logits = keras.layers.Reshape(())(keras.layers.Dense(1)(joined))
        return keras.Model((dense, embedded), logits)

    class Linear(ModelSection):
        def dense_parameters(self, data: DataSection):  # type: ignore[no-untyped-def]  # noqa: ANN202
            from coterie.contract import DenseParameter

            width = len(data.numeric) + len(data.categorical) * self.embedding_dim
            return (
                DenseParameter("kernel", (width, 1), 0.1),
                DenseParameter("bias", (1,), 0.1),
            )

    model = Linear(embedding_dim=3, bottom=(3,), top=(1,))
    x = examples_for(model, COLUMNS, BATCH)
    step = WorkerStep(model, COLUMNS, BATCH, 1, linear)
    inputs = np.concatenate([x.dense_bn, x.embedded_bmd.reshape(BATCH, -1)], axis=1)
    expected = inputs @ x.flat_p[:-1] + x.flat_p[-1]
    np.testing.assert_allclose(
        step.scores(x.flat_p, x.dense_bn, x.embedded_bmd), expected, rtol=1e-4, atol=1e-5
    )

    with pytest.raises(EnvironmentUnfit, match="not the contract's dense parameters"):
        WorkerStep(SMALL, COLUMNS, BATCH, 1, linear)


def own_model(*, gamma: str = "norm/gamma", beta: str = "norm/beta") -> KerasModelSection:
    """Norm and output of the joined inputs; norm's two parameters have one shape."""
    return KerasModelSection(
        kind="keras",
        embedding_dim=3,
        layers=(
            LayerSection(name="flat", kind="Flatten", inputs=("embedded",)),
            LayerSection(name="joined", kind="Concatenate", inputs=("numeric", "flat")),
            LayerSection(name="norm", kind="LayerNormalization", inputs=("joined",)),
            LayerSection(name="out", kind="Dense", inputs=("norm",), options={"units": 1}),
        ),
        parameters=(
            ParameterSection(name=gamma, shape=(11,), standard_deviation=0.0, mean=1.0),
            ParameterSection(name=beta, shape=(11,), standard_deviation=0.0),
            ParameterSection(name="out/kernel", shape=(11, 1), standard_deviation=0.3),
            ParameterSection(name="out/bias", shape=(1,), standard_deviation=0.0),
        ),
    )


@pytest.mark.tensorflow
def test_a_contract_s_own_model_is_computed_as_it_is_written() -> None:
    model = own_model()
    x = examples_for(model, COLUMNS, BATCH)
    step = WorkerStep(model, COLUMNS, BATCH, 1)
    joined = np.concatenate([x.dense_bn, x.embedded_bmd.reshape(BATCH, -1)], axis=1)
    mean, variance = joined.mean(1, keepdims=True), joined.var(1, keepdims=True)
    gamma, beta, kernel, bias = np.split(x.flat_p, [11, 22, 33])
    expected = ((joined - mean) / np.sqrt(variance + 1e-3) * gamma + beta) @ kernel + bias
    scores = step.scores(x.flat_p, x.dense_bn, x.embedded_bmd)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)

    loss = step.gradients(x.flat_p, x.dense_bn, x.embedded_bmd, x.labels_b)
    nudged = x.flat_p - np.float32(1e-3) * loss.dense_p
    again = step.gradients(nudged, x.dense_bn, x.embedded_bmd, x.labels_b)
    drop = loss.loss_sum - again.loss_sum
    assert drop == pytest.approx(1e-3 * float((loss.dense_p**2).sum()), rel=0.05)


@pytest.mark.tensorflow
def test_equal_models_share_one_compilation() -> None:
    step, again = (WorkerStep(own_model(), COLUMNS, BATCH, 1) for _ in range(2))
    assert step._gradients is again._gradients


@pytest.mark.tensorflow
def test_parameters_of_one_shape_are_told_apart_by_name() -> None:
    swapped = own_model(gamma="norm/beta", beta="norm/gamma")
    with pytest.raises(ModelUnfit, match="not the contract's dense") as refusal:
        WorkerStep(swapped, COLUMNS, BATCH, 1)
    assert refusal.value.seen.startswith("norm/gamma (11,), norm/beta (11,), out/kernel (11, 1)")


@pytest.mark.tensorflow
def test_a_process_has_one_setting_of_threads(step: WorkerStep) -> None:
    x = examples_for(SMALL, COLUMNS, 1)
    step.scores(x.flat_p, x.dense_bn, x.embedded_bmd)
    WorkerStep(SMALL, COLUMNS, BATCH, 1)
    with pytest.raises(EnvironmentUnfit) as refusal:
        WorkerStep(SMALL, COLUMNS, BATCH, 2)
    assert "1 intra-op threads" in refusal.value.seen


@pytest.mark.system
def test_the_host_s_environment_does_not_reach_tensorflow() -> None:
    code = (
        "import os; os.environ.update(KERAS_BACKEND='jax', XLA_FLAGS='--xla_cpu_enable_fast_math')\n"
        "from coterie.training.step import configure_tensorflow\n"
        "configure_tensorflow(1)\n"
        "import keras; print(keras.backend.backend(), repr(os.environ['XLA_FLAGS']))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "tensorflow ''"
    assert run.stderr == ""


@pytest.mark.system
def test_importing_the_step_does_not_load_tensorflow() -> None:
    code = "import sys, coterie.training.step; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.system
def test_flags_that_tensorflow_has_already_read_are_refused() -> None:
    code = (
        "import os; os.environ['XLA_FLAGS'] = '--xla_cpu_enable_fast_math=true'\n"
        "import tensorflow\n"
        "from coterie.errors import EnvironmentUnfit\n"
        "from coterie.training.step import configure_tensorflow\n"
        "try: configure_tensorflow(1)\n"
        "except EnvironmentUnfit as refusal: print(refusal.what)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "XLA_FLAGS was set before TensorFlow was loaded"


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ("flat_p", "dense parameters"),
        ("dense_bn", "dense features"),
        ("embedded_bmd", "embedded rows"),
        ("labels_b", "labels"),
    ],
)
def test_arrays_of_a_wrong_shape_or_type_are_refused(
    step: WorkerStep, broken: str, named: str
) -> None:
    x = examples_for(SMALL, COLUMNS, BATCH)
    good = {name: getattr(x, name) for name in x.__dataclass_fields__}
    for bad in (good[broken].astype(np.float64), good[broken][..., :1], good[broken][None]):
        with pytest.raises(MessageRefused) as refusal:
            step.gradients(**{**good, broken: bad})
        assert named in refusal.value.what
    too_many = examples_for(SMALL, COLUMNS, BATCH + 1)
    with pytest.raises(MessageRefused, match="dense features"):
        step.scores(too_many.flat_p, too_many.dense_bn, too_many.embedded_bmd)


small_batches = hnp.arrays(
    np.int32,
    st.tuples(st.integers(0, 12), st.integers(1, 4)),
    elements=st.one_of(st.integers(0, 5), st.just(2**31 - 1)),
)


@given(small_batches)
def test_unique_rows_are_numpy_s(ids_bm: IdArray) -> None:
    rows = unique_rows(ids_bm)
    np.testing.assert_array_equal(rows.ids_u, np.unique(ids_bm))
    assert rows.ids_u.dtype == np.int32
    np.testing.assert_array_equal(rows.ids_u[rows.inverse_bm], ids_bm)


@given(small_batches, st.integers(0, 2**32))
def test_gradients_of_one_row_are_added_in_the_order_of_the_batch(
    ids_bm: IdArray, seed: int
) -> None:
    gradient_bmd = np.random.default_rng(seed).normal(size=(*ids_bm.shape, 3)).astype(np.float32)
    rows = unique_rows(ids_bm)
    expected = np.zeros((len(rows.ids_u), 3), np.float64)
    for row, gradient in zip(rows.inverse_bm.reshape(-1), gradient_bmd.reshape(-1, 3), strict=True):
        expected[row] += gradient
    sums = sum_by_row(gradient_bmd, rows)
    assert sums.dtype == np.float32
    np.testing.assert_array_equal(sums, expected.astype(np.float32))


def test_padding_adds_zeros_and_spares_full_batches() -> None:
    full = np.ones((4, 2), np.float32)
    assert pad(full, 4) is full
    padded = pad(full[:1], 4)
    assert padded.shape == (4, 2)
    assert padded.sum() == 2
