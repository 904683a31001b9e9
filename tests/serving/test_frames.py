"""Frames are scored as the file of their rows is; columns are kept beside the scores."""

from __future__ import annotations

import csv
import datetime as dt
import importlib
import math
import os
from pathlib import Path

import polars as pl
import pytest

import coterie
from coterie.data.prepare.data_frames import cell_text
from coterie.data.prepare.layout import Layout
from coterie.errors import RawDataInvalid, UsageError
from coterie.serving.prediction import predict
from tests.serving.conftest import Trained

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def scores(own_columns: Trained, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The scores of the file."""
    out = tmp_path_factory.mktemp("scores") / "scores.parquet"
    predict(own_columns.model, own_columns.raw, out, layout=Layout("clicked"))
    return pl.read_parquet(out)["probability"].to_list()


@pytest.mark.parametrize("infer", [True, False])
def test_a_frame_of_polars_gives_one_of_polars(
    infer: bool, own_columns: Trained, scores: list[float]
) -> None:
    types = {"price": pl.Float64, "age": pl.Int64} if infer else {}
    frame = pl.read_csv(own_columns.raw, infer_schema=False).cast(types)  # type: ignore[arg-type]
    scored = coterie.predict_frame(own_columns.model, frame, keep=["shop"])
    assert scored.columns == ["row", "shop", "probability"]
    assert scored["row"].to_list() == list(range(frame.height))
    assert scored["shop"].to_list() == frame["shop"].fill_null("").to_list()
    assert scored["probability"].to_list() == scores


def test_a_file_gives_a_frame(own_columns: Trained, scores: list[float]) -> None:
    scored = coterie.predict_frame(own_columns.model, own_columns.raw, label="clicked")
    assert scored.columns == ["line", "probability"]
    assert scored["line"].to_list() == list(range(2, 2 + len(scores)))
    assert scored["probability"].to_list() == scores


def test_a_frame_of_pandas_gives_one_of_pandas_with_its_index(
    own_columns: Trained, scores: list[float]
) -> None:
    pytest.importorskip("pandas")
    pandas = importlib.import_module("pandas")
    frame = pandas.read_csv(own_columns.raw)  # numbers with gaps are floats there
    frame.index = [f"u{i}" for i in range(len(frame))]
    scored = coterie.predict_frame(own_columns.model, frame[::-1], keep=["shop"])
    assert type(scored) is type(frame)
    assert list(scored.columns) == ["row", "shop", "probability"]
    assert list(scored.index) == list(frame.index)[::-1]
    assert scored["probability"].tolist() == scores[::-1]


def test_an_empty_frame_gives_an_empty_one(own_columns: Trained) -> None:
    frame = pl.read_csv(own_columns.raw, infer_schema=False).clear()
    scored = coterie.predict_frame(own_columns.model, frame)
    assert (scored.height, scored.columns) == (0, ["row", "probability"])


def test_columns_have_the_names_that_are_given(own_columns: Trained, scores: list[float]) -> None:
    frame = pl.read_csv(own_columns.raw, infer_schema=False).rename({"age": "Alter"})
    with pytest.raises(RawDataInvalid, match="the header of the frame") as refusal:
        coterie.predict_frame(own_columns.model, frame)
    assert refusal.value.seen.startswith("without age;")
    scored = coterie.predict_frame(own_columns.model, frame, columns={"age": "Alter"})
    assert scored["probability"].to_list() == scores


def test_bad_rows_of_a_frame_are_named_or_left_out(own_columns: Trained) -> None:
    frame = pl.read_csv(own_columns.raw, infer_schema=False).head(20)
    frame[3, "age"] = "old"
    with pytest.raises(RawDataInvalid, match="the frame has rows") as refusal:
        coterie.predict_frame(own_columns.model, frame)
    assert refusal.value.seen == "line 5: age = 'old' is not a 64-bit integer"
    scored = coterie.predict_frame(own_columns.model, frame, max_bad_rows=1)
    assert scored["row"].to_list() == [i for i in range(20) if i != 3]
    frame[3, "shop"] = "a\nb"
    with pytest.raises(RawDataInvalid, match="row 3 of the frame has a line end in column shop"):
        coterie.predict_frame(own_columns.model, frame)


@pytest.mark.parametrize("cell", [["a", "b"], {"a": "b"}])
def test_a_cell_of_several_values_is_no_id(cell: object, own_columns: Trained) -> None:
    frame = pl.read_csv(own_columns.raw, infer_schema=False).head(2)
    frame = frame.with_columns(shop=pl.Series([cell, cell]))
    with pytest.raises(RawDataInvalid, match="several values in column shop") as refusal:
        coterie.predict_frame(own_columns.model, frame)
    assert "lists are not supported" in refusal.value.expected


@pytest.mark.parametrize("given", [{"age": [1]}, [[1]], pl.LazyFrame({"age": [1]}), None])
def test_what_is_no_frame_is_not_asked_for_a_path_alone(
    given: object, own_columns: Trained
) -> None:
    with pytest.raises(UsageError) as refusal:
        coterie.predict_frame(own_columns.model, given)
    assert refusal.value.expected.startswith("a frame of polars or pandas")


def test_columns_are_kept_in_files_too(own_columns: Trained, tmp_path: Path) -> None:
    with own_columns.raw.open(newline="") as file:
        rows = list(csv.DictReader(file))[:30]
    for i, row in enumerate(rows):
        row["unused"] = ["", "a,b", 'say "x"', f"id {i}"][i % 4]
    raw = tmp_path / "raw.csv"
    with raw.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for suffix in ("csv", "parquet"):
        out = tmp_path / f"scores.{suffix}"
        predict(own_columns.model, raw, out, layout=Layout("clicked", kept=("unused",)))
        read = pl.read_parquet(out) if suffix == "parquet" else pl.read_csv(out)
        assert read.columns == ["line", "unused", "probability"]
        assert read["unused"].fill_null("").to_list() == [row["unused"] for row in rows]


@pytest.mark.parametrize(
    ("kept", "error", "said"),
    [
        (("nobody",), RawDataInvalid, "does not name a column that is to be kept"),
        (("shop", "shop"), UsageError, "would be called the same"),
        (("probability",), UsageError, "would be called the same"),
    ],
)
def test_columns_that_cannot_be_kept_are_refused(
    kept: tuple[str, ...],
    error: type[Exception],
    said: str,
    own_columns: Trained,
    tmp_path: Path,
) -> None:
    out = tmp_path / "scores.csv"
    with pytest.raises(error, match=said):
        predict(own_columns.model, own_columns.raw, out, layout=Layout("clicked", kept=kept))
    assert not out.exists()


def test_rows_without_a_header_have_no_columns_to_keep(dlrm: Trained, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no header"):
        predict(dlrm.model, dlrm.raw, tmp_path / "scores.csv", layout=Layout(kept=("id",)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (math.nan, ""),
        (30.0, "30"),
        (-0.0, "0"),
        (9.5, "9.5"),
        (1e300, "1e+300"),
        (7, "7"),
        (True, "true"),
        ("a b", "a b"),
        (dt.date(2026, 1, 31), "2026-01-31"),
    ],
)
def test_values_are_written_as_a_file_would_have_them(value: object, text: str) -> None:
    assert cell_text(value) == text


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_scores_go_to_files_whose_names_are_no_text(
    suffix: str, own_columns: Trained, scores: list[float], tmp_path: Path
) -> None:
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9/scores.")).with_suffix(f".{suffix}")
    predict(own_columns.model, own_columns.raw, out, layout=Layout("clicked"))
    with out.open("rb") as file:
        read = pl.read_parquet(file) if suffix == "parquet" else pl.read_csv(file)
    assert read["probability"].to_list() == pytest.approx(scores)
