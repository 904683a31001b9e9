"""The DLRM computes what its authors' program computes, and is a Keras model like any other."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from coterie.arrays import FloatArray
from coterie.contract import DataSection, ModelSection
from coterie.errors import DataError
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.tensorflow


GOLDEN = REPOSITORY.parent / "shared" / "dlrm" / "golden_tiny_run.json"

SMALL = ModelSection(embedding_dim=3, bottom=(5, 3), top=(4, 1))
COLUMNS = DataSection(
    numeric=("I1", "I2"), categorical=("C1", "C2"), column_rows={"C1": 4, "C2": 6}
)


def as_floats(values: object) -> FloatArray:
    return np.array(values, np.float32)


def test_the_reference_program_s_printed_run_is_reproduced() -> None:
    if not GOLDEN.exists():
        pytest.skip(f"the reference's printed run is not here: {GOLDEN}")
    import keras
    import tensorflow as tf

    from coterie.models.dlrm import DLRM
    from coterie.models.embedding import FeatureConfig, TableConfig

    run = json.loads(GOLDEN.read_text())
    dim = run["architecture"]["bottom"][-1]
    tables = [TableConfig(f"table_{i}", len(rows), dim) for i, rows in enumerate(run["embeddings"])]
    model = DLRM(
        [FeatureConfig(table.name, table) for table in tables],
        bottom=run["architecture"]["bottom"][1:],
        top=run["architecture"]["top"][1:],
        top_output="sigmoid",
    )
    hots = max(len(ids) for batch in run["batches"] for table in batch["ids"] for ids in table)
    model.build(((None, run["architecture"]["bottom"][0]), (None, len(tables), hots)))
    model.tables.assign_rows(
        {table.name: as_floats(rows) for table, rows in zip(tables, run["embeddings"], strict=True)}
    )
    layers = run["bottom_layers"] + run["top_layers"]
    for variable, value in zip(
        model.core.trainable_variables,
        itertools.chain.from_iterable(
            (as_floats(layer["kernel_out_in"]).T, as_floats(layer["bias"])) for layer in layers
        ),
        strict=True,
    ):
        variable.assign(value)

    optimizer, loss_function = keras.optimizers.SGD(0.01), model.loss_function()
    losses = []
    for batch in run["batches"]:
        ids = np.full((len(batch["target"]), len(tables), hots), -1, np.int32)
        for i, table in enumerate(batch["ids"]):
            for j, hot in enumerate(table):
                ids[j, i, : len(hot)] = hot
        with tf.GradientTape() as tape:
            prediction = model((as_floats(batch["dense"]), ids))
            loss = loss_function(as_floats(batch["target"]), prediction)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        losses.append(float(loss))
    np.testing.assert_allclose(losses, run["losses"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "data"), [(ModelSection(), DataSection()), (SMALL, COLUMNS)], ids=["criteo", "small"]
)
def test_the_core_s_variables_are_the_contract_s_dense_parameters(
    model: ModelSection, data: DataSection
) -> None:
    from coterie.models.dlrm import DLRMCore

    core = DLRMCore(model.bottom, model.top, name="core")
    core.build(((None, len(data.numeric)), (None, len(data.categorical), model.embedding_dim)))
    assert [(v.path.removeprefix("core/"), tuple(v.shape)) for v in core.trainable_variables] == [
        (parameter.name, parameter.shape) for parameter in model.dense_parameters(data)
    ]
    assert core.non_trainable_variables == []
    for variable, parameter in zip(
        core.trainable_variables, model.dense_parameters(data), strict=True
    ):
        if parameter.size > 10_000:
            spread = float(np.std(variable.value.numpy()))
            assert spread == pytest.approx(parameter.standard_deviation, rel=0.05)


def test_pairs_are_the_strict_lower_triangle_row_by_row() -> None:
    from coterie.models.dlrm import DotInteraction

    vectors = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    pairs = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]
    expected = np.stack([(vectors[:, i] * vectors[:, j]).sum(1) for i, j in pairs], axis=1)
    layer = DotInteraction()
    np.testing.assert_allclose(np.array(layer(vectors)), expected, rtol=1e-5, atol=1e-6)
    assert layer.compute_output_shape((None, 4, 3)) == (None, 6)


def test_tables_sum_multi_hot_rows_and_skip_padding() -> None:
    from coterie.models.embedding import EmbeddingTables, FeatureConfig, TableConfig

    shared = TableConfig("shared", 4, 3)
    layer = EmbeddingTables([FeatureConfig("a", shared), FeatureConfig("b", shared)])
    layer.build((None, 2, 2))
    assert len(layer.trainable_variables) == 1
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    layer.assign_rows({"shared": rows})
    ids = np.array([[[1, 3], [2, -1]], [[-1, -1], [0, 0]]], np.int32)
    expected = [[rows[1] + rows[3], rows[2]], [np.zeros(3), 2 * rows[0]]]
    np.testing.assert_array_equal(np.array(layer(ids)), np.array(expected, np.float32))
    np.testing.assert_array_equal(
        np.array(layer(np.array([[1, 2]], np.int32))), [[rows[1], rows[2]]]
    )


# Keras 3.15 writes variables through NumPy's old protocol.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_model_is_saved_and_loaded_by_keras(tmp_path: Path) -> None:
    import keras

    from coterie.models.dlrm import DLRM
    from coterie.models.embedding import FeatureConfig, TableConfig

    model = DLRM(
        [FeatureConfig(f"C{i}", TableConfig(f"C{i}", 4 + i, 3)) for i in range(2)],
        bottom=SMALL.bottom,
        top=SMALL.top,
    )
    model.build(((None, 2), (None, 2)))
    rng = np.random.default_rng(0)
    dense, ids = rng.random((5, 2), np.float32), rng.integers(0, 4, (5, 2)).astype(np.int32)
    before = np.array(model((dense, ids)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, DLRM)
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(np.array(loaded((dense, ids))), before)


def test_a_model_learns_with_keras_own_fit() -> None:
    import keras

    from coterie.models.dlrm import DLRM
    from coterie.models.embedding import FeatureConfig, TableConfig

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    dense, ids = rng.random((512, 2), np.float32), rng.integers(0, 4, (512, 2)).astype(np.int32)
    labels = (ids[:, 0] >= 2).astype(np.float32)
    model = DLRM(
        [FeatureConfig(f"C{i}", TableConfig(f"C{i}", 4, 3)) for i in range(2)],
        bottom=SMALL.bottom,
        top=SMALL.top,
    )
    model.compile(optimizer=keras.optimizers.Adagrad(0.1), loss=model.loss_function())
    history = model.fit((dense, ids), labels, batch_size=64, epochs=5, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]


def test_a_flat_buffer_fills_the_variables_in_order() -> None:
    from coterie.models.dlrm import DLRMCore, assign_flat

    core = DLRMCore(SMALL.bottom, SMALL.top)
    core.build(((None, 2), (None, 2, 3)))
    size = sum(parameter.size for parameter in SMALL.dense_parameters(COLUMNS))
    flat = np.arange(size, dtype=np.float32)
    assign_flat(core.trainable_variables, flat)
    values = [variable.value.numpy().reshape(-1) for variable in core.trainable_variables]
    np.testing.assert_array_equal(np.concatenate(values), flat)
    with pytest.raises(DataError, match="do not fit the model"):
        assign_flat(core.trainable_variables, flat[:-1])
