"""The verbs for trained models print a summary or one JSON object, and let errors through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from coterie.cli.model import app as model_app
from coterie.cli.serving import evaluate, export, predict
from coterie.contract import KerasModelSection, parse_contract
from coterie.errors import ModelDamaged, ModelUnfit, OutputInUse
from tests.lazily import Lazily
from tests.serving.conftest import ROWS, Trained, with_model

if TYPE_CHECKING:
    import keras
else:
    keras = Lazily("keras")

pytestmark = pytest.mark.tensorflow

app = typer.Typer()
app.command()(evaluate)
app.command()(predict)
app.command()(export)
app.add_typer(model_app, name="model")


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_evaluate(dlrm: Trained) -> None:
    value = json.loads(run("evaluate", dlrm.folder, dlrm.data, "--json"))
    assert value["test"]["auc"] == dlrm.result.test_auc
    assert value["model_digest"] == dlrm.result.model_digest
    text = run("evaluate", dlrm.folder, dlrm.data)
    assert f"{dlrm.result.test_auc:.4f}" in text
    assert (value["test"]["auc_low"], value["test"]["auc_high"]) == pytest.approx(
        (dlrm.result.test_auc_low, dlrm.result.test_auc_high)
    )
    assert f"{dlrm.result.test_auc_low:.4f} to {dlrm.result.test_auc_high:.4f}" in text
    assert value["test"]["auc_error"] == dlrm.result.test_auc_error == 0
    assert ("test: only" in text) == bool(value["test"]["note"])
    assert dlrm.result.model_digest in text


def test_predict(dlrm: Trained, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    value = json.loads(run("predict", dlrm.folder, dlrm.raw, "--out", out, "--json"))
    assert (value["rows"], value["bad_rows"], value["file"]) == (ROWS, 0, str(out))
    bad = tmp_path / "bad.tsv"
    bad.write_text(dlrm.raw.read_text() + "bad\n")
    arguments = ("predict", dlrm.folder, bad, "--out", tmp_path / "more.csv")
    text = run(*arguments, "--max-bad-rows", "1")
    assert f"{ROWS:,} rows, 1 bad ones skipped" in text
    assert f"skipped line {ROWS + 1}: 1 cells instead of 40" in text
    with pytest.raises(OutputInUse):
        run(*arguments)


def test_the_label_of_a_header_is_named(own_columns: Trained, tmp_path: Path) -> None:
    value = json.loads(
        run("evaluate", own_columns.folder, own_columns.raw, "--label", "clicked", "--json")
    )
    assert value["all"]["examples"] == ROWS
    out = tmp_path / "scores.parquet"
    arguments = ("predict", own_columns.folder, own_columns.raw, "--out", out, "--json")
    assert json.loads(run(*arguments, "--label", "clicked"))["rows"] == ROWS


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_export(dcn: Trained, tmp_path: Path) -> None:
    value = json.loads(run("export", dcn.folder, tmp_path / "1", "--json"))
    assert value == {
        "out": str(tmp_path / "1"),
        "format": "saved_model",
        "model_digest": dcn.result.model_digest,
    }
    assert (tmp_path / "1" / "saved_model.pb").exists()
    text = run("export", dcn.folder, tmp_path / "m.keras", "--format", "keras")
    assert f"keras of model {dcn.result.model_digest}" in text
    with pytest.raises(ModelDamaged):
        run("export", tmp_path, tmp_path / "2")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_model_describe(tmp_path: Path) -> None:
    dense, embedded = keras.Input((13,)), keras.Input((26, 4))
    joined = keras.layers.Concatenate()([dense, keras.layers.Flatten()(embedded)])
    keras.Model([dense, embedded], keras.layers.Dense(1)(joined)).save(tmp_path / "own.keras")
    text = run("model", "describe", tmp_path / "own.keras")
    contract = parse_contract(with_model(text).encode(), "printed")
    assert isinstance(contract.model, KerasModelSection)
    value = json.loads(run("model", "describe", tmp_path / "own.keras", "--json"))
    assert KerasModelSection.model_validate(value) == contract.model


def test_what_is_no_keras_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.keras").write_text("no model")
    for name in ("own.keras", "absent.keras", "own.txt"):
        with pytest.raises(ModelUnfit, match="cannot be loaded") as refusal:
            run("model", "describe", tmp_path / name)
        assert refusal.value.seen
