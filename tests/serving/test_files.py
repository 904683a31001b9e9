"""Evaluating and scoring files: what the run measured, whatever the layout, in order, or refused."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from coterie.contract import contract_digest
from coterie.data.prepare.layout import Layout
from coterie.errors import (
    DataSetDamaged,
    DataSetMismatch,
    EnvironmentUnfit,
    ModelDamaged,
    OutputInUse,
    RawDataInvalid,
)
from coterie.metrics.histogram import ScoreHistogram
from coterie.serving.evaluation import evaluate
from coterie.serving.opening import open_model
from coterie.serving.prediction import predict
from faults.disk import no_room
from tests.serving.conftest import ROWS, Trained

pytestmark = pytest.mark.tensorflow


def label_of(trained: Trained) -> str:
    return "clicked" if trained.raw.suffix == ".csv" else "label"


def scores_of(path: Path) -> pl.DataFrame:
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    return pl.read_csv(path, schema_overrides={"probability": pl.Float32})


def test_prepared_data_give_the_metrics_of_the_run(trained: Trained) -> None:
    seen, result = evaluate(trained.model, trained.data), trained.result
    assert seen.model_digest == result.model_digest
    assert trained.model.contract_digest == contract_digest(trained.contract)
    assert seen.parts["validation"].auc == result.validation_auc
    assert seen.parts["test"].auc == result.test_auc
    assert seen.parts["test"].accuracy == result.test_accuracy
    assert seen.parts["test"].log_loss == pytest.approx(result.test_logloss, rel=1e-12)
    assert seen.parts["test"].calibration == pytest.approx(result.test_calibration, rel=1e-12)


def test_one_party_s_data_can_be_evaluated_alone(dlrm: Trained) -> None:
    both, one = evaluate(dlrm.model, dlrm.data), evaluate(dlrm.model, dlrm.data / "bolt")
    assert 0 < one.parts["test"].examples < both.parts["test"].examples


def test_a_raw_file_is_evaluated_whole(trained: Trained) -> None:
    seen = evaluate(trained.model, trained.raw, layout=Layout(label_of(trained)))
    assert list(seen.parts) == ["all"]
    assert seen.parts["all"].examples == ROWS  # also behind the contract's row_limit
    assert seen.parts["all"].auc is not None
    assert seen.parts["all"].auc > 0.5


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_row_is_scored_in_order(trained: Trained, suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"scores{suffix}"
    done = predict(trained.model, trained.raw, out, layout=Layout(label_of(trained)))
    scores = scores_of(out)
    first = 2 if trained.raw.suffix == ".csv" else 1  # behind the header
    assert scores.schema == {"line": pl.Int64, "probability": pl.Float32}
    assert scores["line"].to_list() == list(range(first, first + ROWS))
    assert (done.rows, done.bad_rows, done.file) == (ROWS, 0, str(out))
    assert done.mean_probability == pytest.approx(scores["probability"].mean(), rel=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]

    evaluated = evaluate(trained.model, trained.raw, layout=Layout(label_of(trained))).parts["all"]
    probability = scores["probability"].to_numpy().astype(np.float64)
    again = ScoreHistogram.count(np.log(probability / (1 - probability)), labels_of(trained))
    assert again.metrics().log_loss == pytest.approx(evaluated.log_loss, abs=1e-6)


def labels_of(trained: Trained) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if trained.raw.suffix == ".csv":
        rows = list(csv.DictReader(trained.raw.read_text().splitlines()))
        return np.array([float(row["clicked"]) for row in rows])
    return np.array([float(line[0]) for line in trained.raw.read_text().splitlines()])


def test_rows_need_no_label_to_be_scored(trained: Trained, tmp_path: Path) -> None:
    unlabelled = tmp_path / "unlabelled.tsv"
    cells = trained.cells(50)
    lines = ["\t".join(row) for row in zip(*cells.values(), strict=True)]
    unlabelled.write_text("\n".join(lines) + "\n")
    predict(trained.model, trained.raw, tmp_path / "all.csv", layout=Layout(label_of(trained)))
    predict(trained.model, unlabelled, tmp_path / "some.csv")
    named = tmp_path / "named.tsv"
    named.write_text("\n".join(["\t".join(cells), *lines]) + "\n")
    predict(trained.model, named, tmp_path / "named.csv")
    expected = scores_of(tmp_path / "all.csv")["probability"][:50].to_list()
    assert scores_of(tmp_path / "some.csv")["probability"].to_list() == expected
    assert scores_of(tmp_path / "named.csv")["probability"].to_list() == expected
    with pytest.raises(RawDataInvalid, match="has no label"):
        evaluate(trained.model, unlabelled)
    with pytest.raises(RawDataInvalid, match="does not name every column"):
        evaluate(trained.model, named)


def test_bad_rows_are_refused_or_skipped_and_named(dlrm: Trained, tmp_path: Path) -> None:
    raw = tmp_path / "raw.tsv"
    lines = dlrm.raw.read_text().splitlines()[:20]
    raw.write_text("\n".join([*lines[:5], "bad", *lines[5:]]) + "\n")
    with pytest.raises(RawDataInvalid) as refusal:
        predict(dlrm.model, raw, tmp_path / "scores.csv")
    assert refusal.value.seen == "line 6: 1 cells instead of 40"
    assert not (tmp_path / "scores.csv").exists()
    done = predict(dlrm.model, raw, tmp_path / "scores.csv", max_bad_rows=1)
    assert (done.rows, done.bad_rows, done.bad_lines) == (
        20, 1, ("line 6: 1 cells instead of 40",)
    )  # fmt: skip
    kept = scores_of(tmp_path / "scores.csv")["line"].to_list()
    assert kept == [*range(1, 6), *range(7, 22)]
    assert evaluate(dlrm.model, raw, max_bad_rows=1).bad_lines == done.bad_lines


def test_a_file_of_a_header_alone_gives_no_scores(own_columns: Trained, tmp_path: Path) -> None:
    raw = tmp_path / "raw.csv"
    raw.write_text(own_columns.raw.read_text().splitlines()[0] + "\n")
    for suffix in (".csv", ".parquet"):
        out = tmp_path / f"scores{suffix}"
        done = predict(own_columns.model, raw, out, layout=Layout("clicked"))
        assert (done.rows, done.mean_probability) == (0, None)
        assert scores_of(out).is_empty()


@pytest.mark.parametrize("name", ["scores.txt", "scores", "scores.csv.gz"])
def test_predictions_have_one_of_two_suffixes(name: str, dlrm: Trained, tmp_path: Path) -> None:
    with pytest.raises(OutputInUse, match="no kind of file") as refusal:
        predict(dlrm.model, dlrm.raw, tmp_path / name)
    assert refusal.value.expected == ".csv or .parquet"


def test_predictions_overwrite_nothing(dlrm: Trained, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("precious")
    with pytest.raises(OutputInUse, match="exists"):
        predict(dlrm.model, dlrm.raw, tmp_path / "scores.csv")
    with pytest.raises(EnvironmentUnfit, match="cannot be written"):
        predict(dlrm.model, dlrm.raw, tmp_path / "scores.csv" / "x.csv")
    assert (tmp_path / "scores.csv").read_text() == "precious"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_full_disk_is_told_as_that(suffix: str, dlrm: Trained, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnfit, match="cannot be written") as refusal, no_room(100):
        predict(dlrm.model, dlrm.raw, tmp_path / f"scores.{suffix}")
    assert "too large" in refusal.value.seen.lower()
    assert not list(tmp_path.iterdir())


def test_data_of_another_contract_are_refused(
    dlrm: Trained, own_columns: Trained, tmp_path: Path
) -> None:
    with pytest.raises(DataSetMismatch, match="another contract's data section"):
        evaluate(dlrm.model, own_columns.data)
    with pytest.raises(DataSetMismatch, match="holds no prepared data set") as refusal:
        evaluate(dlrm.model, tmp_path)
    assert "acme, bolt" in refusal.value.expected
    with pytest.raises(RawDataInvalid, match="cannot be read"):
        evaluate(dlrm.model, tmp_path / "absent.tsv")


def test_damaged_data_are_refused(dlrm: Trained, tmp_path: Path) -> None:
    shutil.copytree(dlrm.data / "acme", tmp_path / "acme")
    octets = bytearray((tmp_path / "acme" / "test.shard").read_bytes())
    octets[-1] ^= 1
    (tmp_path / "acme" / "test.shard").write_bytes(octets)
    with pytest.raises(DataSetDamaged, match="SHA-256"):
        evaluate(dlrm.model, tmp_path / "acme")
    (tmp_path / "acme" / "manifest.json").write_text("{}")
    with pytest.raises(DataSetDamaged, match="content"):
        evaluate(dlrm.model, tmp_path / "acme")


def test_a_model_is_found_by_its_file_or_its_run(dlrm: Trained, tmp_path: Path) -> None:
    assert open_model(dlrm.folder).digest == dlrm.model.digest
    assert open_model(dlrm.folder / "model.coterie").digest == dlrm.model.digest
    for path, what in (
        (tmp_path, "holds no trained model"),
        (tmp_path / "absent", "cannot be read"),
        (dlrm.raw, "is damaged"),
    ):
        with pytest.raises(ModelDamaged, match=what):
            open_model(path)


def test_a_sealed_model_must_be_opened_first(tmp_path: Path) -> None:
    (tmp_path / "model.coterie.sealed").write_bytes(b"sealed")
    for path in (tmp_path, tmp_path / "model.coterie.sealed"):
        with pytest.raises(ModelDamaged, match="is sealed") as refusal:
            open_model(path)
        assert "coterie unseal" in refusal.value.remedy


def test_metrics_of_a_part_without_examples_are_not_defined(dlrm: Trained, tmp_path: Path) -> None:
    raw = tmp_path / "raw.tsv"
    raw.write_text("\n".join(dlrm.raw.read_text().splitlines()[:1]) + "\n")
    metrics = evaluate(dlrm.model, raw).parts["all"]
    assert metrics.examples == 1
    assert metrics.auc is None
    assert metrics.log_loss is not None
    assert math.isfinite(metrics.log_loss)
