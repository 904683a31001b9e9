"""Exported models take raw cells and give what the trainer's own evaluation gives."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coterie.arrays import FloatArray
from coterie.contract import Contract
from coterie.data.prepare.compression import RawFile
from coterie.data.prepare.encoding import encode_rows
from coterie.data.prepare.layout import Layout
from coterie.data.prepare.reader import CriteoReader
from coterie.errors import EnvironmentUnfit, ModelUnfit, OutputInUse
from coterie.serving.scoring import Scorer, probabilities
from coterie.trained.trained_model import TrainedModel
from faults.disk import no_room
from tests.conftest import REPOSITORY
from tests.lazily import Lazily
from tests.ps.conftest import small_contract
from tests.serving.conftest import Trained

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from coterie.serving import export as exporting
    from coterie.serving.export import Format
else:
    keras, tf = Lazily("keras"), Lazily("tensorflow")
    exporting = Lazily("coterie.serving.export")

pytestmark = pytest.mark.tensorflow

COUNT = 1000
FORMATS: list[Format] = ["saved_model", "keras"]
PAGE = REPOSITORY / "docs" / "export.md"

# Keras copies variables in a way that NumPy 2 warns of.
keras_saves = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# Runs where only TensorFlow can be imported: reads cells, prints probabilities.
PLAIN_TENSORFLOW = """
import json, sys
try:
    import coterie
    sys.exit("coterie can be imported")
except ImportError:
    pass
import tensorflow as tf
cells = json.load(open(sys.argv[2]))
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
scores = served(**{name: tf.constant(column) for name, column in cells.items()})
json.dump(scores["probability"].numpy().tolist(), sys.stdout)
"""


def expected(trained: Trained) -> FloatArray:
    """What the trainer's compiled step gives for the first rows of the raw file."""
    data = trained.contract.data
    reader = CriteoReader(RawFile(trained.raw), data, layout=Layout("clicked", label_needed=False))
    batch = encode_rows(next(reader.rows()), data)
    return probabilities(Scorer(trained.model).logits(batch))[:COUNT]


def columns(trained: Trained) -> dict[str, tf.Tensor]:
    return {name: tf.constant(cells) for name, cells in trained.cells(COUNT).items()}


@pytest.fixture(scope="module")
def exported(dlrm: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exporting.export(dlrm.model, tmp_path_factory.mktemp("export") / "1")


@pytest.mark.system
def test_a_saved_model_gives_the_trainers_predictions_without_coterie(
    trained: Trained, tmp_path: Path, without_coterie: Callable[[], dict[str, str]]
) -> None:
    exporting.export(trained.model, tmp_path / "1")
    cells = trained.cells(COUNT)
    names = exporting.input_names(cells)
    cells = {names[column]: column_cells for column, column_cells in cells.items()}
    (tmp_path / "cells.json").write_text(json.dumps(cells))
    run = subprocess.run(
        [sys.executable, "-c", PLAIN_TENSORFLOW, str(tmp_path / "1"), str(tmp_path / "cells.json")],
        check=False,
        capture_output=True,
        text=True,
        env=without_coterie(),
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    seen = np.array(json.loads(run.stdout), np.float32)
    assert seen.shape == (COUNT,)
    assert len(np.unique(seen)) > COUNT // 2
    np.testing.assert_allclose(seen, expected(trained), atol=1e-6, rtol=0)


@pytest.mark.parametrize("form", FORMATS)
def test_a_small_file_with_a_huge_table_is_not_exported(form: Format, tmp_path: Path) -> None:
    """Its index would need 7.5 GiB, several times over."""
    value = small_contract().model_dump(mode="json")
    value["data"]["column_rows"] = {"C1": 10**9, "C2": 10**9, "C3": 6}
    contract = Contract.model_validate(value)
    dense = sum(part.size for part in contract.model.dense_parameters(contract.data))
    rows = (np.zeros(0, np.int32), np.zeros((0, 2), np.float32))
    model = TrainedModel.of(contract, 1, np.zeros(dense, np.float32), *rows)
    assert model.file_bytes < 4096
    with pytest.raises(ModelUnfit, match="too many rows to be exported") as refusal:
        exporting.export(model, tmp_path / "out" / "model.keras", format=form)
    assert refusal.value.expected == "at most 134,217,728 rows in all"
    assert refusal.value.seen == "2,000,000,006 rows, an index of 8,000,000,024 bytes"
    assert "coterie predict" in refusal.value.remedy
    assert not list(tmp_path.iterdir())


def test_columns_that_tensorflow_cannot_tell_apart_get_underscores() -> None:
    names = exporting.input_names(["class", "class_", "I1", "import", "shop", "Shop", "SHOP"])
    assert names == {
        "class": "class__", "class_": "class_", "I1": "I1", "import": "import_",
        "shop": "shop", "Shop": "Shop_", "SHOP": "SHOP__",
    }  # fmt: skip


@keras_saves
def test_a_keras_file_gives_the_trainers_predictions(trained: Trained, tmp_path: Path) -> None:
    exporting.export(trained.model, tmp_path / "model.keras", format="keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    seen = loaded(columns(trained)).numpy()
    np.testing.assert_allclose(seen, expected(trained), atol=1e-6, rtol=0)
    batches = tf.data.Dataset.from_tensor_slices(columns(trained)).batch(300)
    np.testing.assert_allclose(loaded.predict(batches, verbose=0), seen, atol=1e-6)


@pytest.mark.system
@keras_saves
def test_a_keras_file_loads_in_another_process(dlrm: Trained, tmp_path: Path) -> None:
    exporting.export(dlrm.model, tmp_path / "model.keras", format="keras")
    code = (
        "import sys, coterie.serving.layers, keras\n"
        "model = keras.models.load_model(sys.argv[1])\n"
        "print(type(model).__name__, len(model.numeric), len(model.categorical))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.keras")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.split() == ["ServingModel", "13", "26"]


def test_numbers_may_come_as_numbers(dlrm: Trained, exported: Path) -> None:
    served = tf.saved_model.load(str(exported)).signatures["numbers"]
    cells = columns(dlrm)
    for name in dlrm.contract.data.numeric:
        texts = dlrm.cells(COUNT)[name]
        numbers = [float(text) if text else float("nan") for text in texts]
        cells[name] = tf.constant(numbers, tf.float64)
    seen = served(**cells)["probability"].numpy()
    np.testing.assert_allclose(seen, expected(dlrm), atol=1e-6, rtol=0)


def test_ids_that_nobody_trained_share_the_out_of_vocabulary_vector(exported: Path) -> None:
    served = tf.saved_model.load(str(exported)).signatures["serving_default"]
    names = served.structured_input_signature[1]
    rows = [dict.fromkeys(names, "") for _ in range(3)]
    for row, strange in zip(rows, ("never seen", "日本語", "x" * 500), strict=True):
        row["C9"] = strange
    cells = {name: tf.constant([row[name] for row in rows]) for name in names}
    assert np.isfinite(served(**cells)["probability"].numpy()).all()


def test_a_cell_that_is_no_number_is_refused_by_name(exported: Path) -> None:
    served = tf.saved_model.load(str(exported)).signatures["serving_default"]
    names = served.structured_input_signature[1]
    cells = {name: tf.constant(["?" if name == "I3" else ""]) for name in names}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\?"):
        served(**cells)


def row_format(request: str, names: set[str]) -> dict[str, tf.Tensor]:
    """Tensors of a body of TensorFlow Serving's REST predict call, in its row format."""
    body = json.loads(request)
    assert set(body) <= {"signature_name", "instances"}
    assert all(set(instance) == names for instance in body["instances"])
    return {name: tf.constant([instance[name] for instance in body["instances"]]) for name in names}


def test_the_documented_rest_call_gives_the_documented_shape(exported: Path) -> None:
    request, answer = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    signature = json.loads(request)["signature_name"]
    served = tf.saved_model.load(str(exported)).signatures[signature]
    outputs = served(**row_format(request, set(served.structured_input_signature[1])))
    assert list(outputs) == ["probability"]  # one output: the answer lists plain numbers
    predictions = outputs["probability"].numpy().tolist()
    assert len(predictions) == len(json.loads(answer)["predictions"]) == 2
    assert all(0 < value < 1 for value in predictions)


def test_the_page_names_the_signatures_that_there_are(exported: Path) -> None:
    signatures = tf.saved_model.load(str(exported)).signatures
    text = PAGE.read_text(encoding="utf-8")
    assert sorted(signatures) == ["numbers", "serving_default"]
    for name, served in signatures.items():
        assert f"`{name}`" in text
        specs = served.structured_input_signature[1]
        assert {spec.shape.as_list()[0] for spec in specs.values()} == {None}
        assert len(specs) == 39


def test_a_saved_model_holds_no_python_objects(exported: Path) -> None:
    files = {
        path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()
    }
    assert {"saved_model.pb", "variables/variables.index"} <= files
    assert not [name for name in files if name.endswith((".py", ".pkl", ".pickle"))]


@pytest.mark.parametrize("format_", FORMATS)
def test_nothing_is_overwritten_and_nothing_is_left_behind(
    format_: Format, dlrm: Trained, tmp_path: Path
) -> None:
    out = tmp_path / "there.keras"
    out.touch()
    with pytest.raises(OutputInUse, match="exists"):
        exporting.export(dlrm.model, out, format=format_)
    assert out.read_bytes() == b""
    with pytest.raises(EnvironmentUnfit, match="cannot be written"):
        exporting.export(dlrm.model, out / "below.keras", format=format_)
    assert [path.name for path in tmp_path.iterdir()] == ["there.keras"]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_full_disk_is_an_error_of_the_tree_and_nothing_is_left_behind(
    format_: Format, dlrm: Trained, tmp_path: Path
) -> None:
    with pytest.raises(EnvironmentUnfit, match="cannot be written") as refusal, no_room(2000):
        exporting.export(dlrm.model, tmp_path / "out.keras", format=format_)
    assert "too large" in refusal.value.seen.lower()
    assert not list(tmp_path.iterdir())


def test_a_keras_file_ends_in_keras(dlrm: Trained, tmp_path: Path) -> None:
    with pytest.raises(OutputInUse, match="no name of a Keras file"):
        exporting.export(dlrm.model, tmp_path / "model", format="keras")


def test_a_model_without_trained_rows_can_be_exported(dlrm: Trained, tmp_path: Path) -> None:
    contract, dense = dlrm.contract, dlrm.model.dense
    none = np.zeros((0, contract.model.embedding_dim), np.float32)
    untrained = TrainedModel.of(contract, 1, np.array(dense), np.zeros(0, np.int32), none)
    served = tf.saved_model.load(str(exporting.export(untrained, tmp_path / "1")))
    scores = served.signatures["serving_default"](**columns(dlrm))["probability"].numpy()
    assert np.isfinite(scores).all()
    shutil.rmtree(tmp_path / "1")


def test_a_path_that_tensorflow_cannot_name_is_refused(dlrm: Trained, tmp_path: Path) -> None:
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    with pytest.raises(EnvironmentUnfit, match="TensorFlow cannot write to") as refusal:
        exporting.export(dlrm.model, out)
    assert "text in UTF-8" in refusal.value.expected
    assert not list(tmp_path.iterdir())
