"""Columns are proposed for a file: what is proposed prepares that very file."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie.contract import Contract, DataSection
from coterie.data.prepare.layout import Layout
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.sampling import ProposedColumns, propose_columns
from coterie.errors import RawDataInvalid, UsageError

Make = Callable[[str, dict[str, int]], Contract]


def shop(count: int = 500) -> list[list[str]]:
    r = random.Random(5)
    header = ["order id", "Clicked", "User Age", "basket", "shop", "country", "constant", "user_id"]
    return [header] + [
        [
            str(10**6 + i),
            r.choice(["true", "false"]),
            r.choice(["NA", "31.0", "47.0", "19.0"]),
            f"{r.random() * 50:.2f}",
            f"s{r.randint(0, 30)}",
            r.choice(["de", "fr", "null"]),
            "x",
            str(r.randint(10_000, 10_099)),
        ]
        for i in range(count)
    ]


def written(path: Path, rows: list[list[str]], delimiter: str = ",") -> Path:
    path.write_text("".join(delimiter.join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def proposed(path: Path, label: str | None = None) -> ProposedColumns:
    found = propose_columns(path, label)
    assert found is not None
    return found


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_types_sizes_and_label_are_found(delimiter: str, tmp_path: Path) -> None:
    found = proposed(written(tmp_path / "shop.csv", shop(), delimiter))
    assert found.label == "Clicked"
    assert found.numeric == ("User_Age", "basket")
    assert found.decimals == {"basket": 2}
    assert found.categorical == ("shop", "country", "user_id")
    assert found.column_rows == {"shop": 100, "country": 10, "user_id": 200}
    assert found.dialect == "table"
    assert found.rows == 500
    assert found.columns == {}
    assert set(found.left_out) == {"order id", "constant"}


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_what_is_proposed_prepares_the_file(
    delimiter: str, tmp_path: Path, make_contract: Make
) -> None:
    rows = shop()
    if delimiter == ";":
        rows = [[cell.replace(".", ",") for cell in row] for row in rows]
        rows = [[cell.removesuffix(",0") for cell in row] for row in rows]
    path = written(tmp_path / "shop.csv", rows, delimiter)
    found = proposed(path)
    data = DataSection(
        numeric=found.numeric,
        categorical=found.categorical,
        decimals=dict(found.decimals),
        column_rows=dict(found.column_rows),
    )
    contract = make_contract("hfl", {}).model_copy(update={"data": data})
    layout = Layout(found.label, dialect=found.dialect, columns=found.columns)
    report = prepare(path, tmp_path / "out", contract, layout=layout)
    assert (report.source.rows, report.source.bad_rows) == (500, 0)
    assert report.manifests[0].numeric[0].missing > 0
    assert report.manifests[0].categorical[1].missing > 0
    assert report.manifests[0].numeric[1].maximum is not None
    assert report.manifests[0].numeric[1].maximum > 4000  # units of a hundredth


def test_a_plain_file_needs_no_dialect(tmp_path: Path) -> None:
    rows = [["label", "n", "shop"]] + [[str(i % 2), str(i % 7), f"s{i % 3}"] for i in range(60)]
    found = proposed(written(tmp_path / "raw.csv", rows))
    assert (found.dialect, found.numeric, found.categorical) == ("strict", ("n",), ("shop",))


def test_names_that_are_written_alike_are_told_apart(tmp_path: Path) -> None:
    rows = [["label", "n a", "n-a", "shop"]]
    rows += [[str(i % 2), str(i % 7), str(i % 5), f"s{i % 3}"] for i in range(60)]
    found = proposed(written(tmp_path / "raw.csv", rows))
    assert found.numeric == ("n_a", "n_a_2")
    assert found.columns == {"n_a": "n a", "n_a_2": "n-a"}


def test_the_number_of_rows_of_a_large_file_is_estimated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coterie.data.prepare.sampling.SAMPLE_ROWS", 100)
    found = proposed(written(tmp_path / "shop.csv", shop(5000)))
    assert found.rows == pytest.approx(5000, rel=0.05)


@pytest.mark.parametrize(
    ("rows", "label", "error", "said"),
    [
        ([["a", "b", "c"], ["0", "1", "x"], ["1", "0", "y"]], None, UsageError, "not clear which"),
        ([["a", "b"], ["3", "x"]], None, UsageError, "not clear which"),
        ([["a", "b"], ["3", "x"]], "c", UsageError, "has no column c"),
        ([["a", "b"], ["3", "x"]], "a", RawDataInvalid, "a is no label"),
        ([["label", "b"], ["1", "x"], ["0", "y"]], None, RawDataInvalid, "no numeric column"),
        ([["label", "b"], ["1", "5"], ["0", "7"]], None, RawDataInvalid, "no categorical column"),
        ([["label", "b"]], None, RawDataInvalid, "a header alone"),
        ([["1", "5", "x"], ["0", "7", "y"]], None, RawDataInvalid, "has no header"),
        ([["label"], ["1"], ["0"]], None, RawDataInvalid, "one column alone"),
        ([["label", "n", "n"], ["1", "5", "x"]], None, RawDataInvalid, "names a column twice"),
        ([["label", "n", ""], ["1", "5", "x"]], None, RawDataInvalid, "with empty names"),
        (
            [["label", "n"], ["1", "5"], ["0", "7"], ["TOTAL", "9"]],
            None,
            RawDataInvalid,
            "label seems to be",
        ),
        ([["sep=,"], ["label", "n"], ["1", "5"]], None, RawDataInvalid, "is not its first line"),
        (
            [["# of May"], ["# by me"], ["label", "n"], ["1", "5"]],
            None,
            RawDataInvalid,
            "is not its first",
        ),
        ([["label", "n"], ["1"], ["0"]], None, RawDataInvalid, "no row that fits its header"),
    ],
)
def test_what_cannot_be_proposed_for_is_refused(
    rows: list[list[str]],
    label: str | None,
    error: type[Exception],
    said: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=said):
        propose_columns(written(tmp_path / "raw.csv", rows), label)


def test_criteos_own_form_needs_no_columns(tmp_path: Path) -> None:
    row = ["0", *["1"] * 13, *["ab"] * 26]
    assert propose_columns(written(tmp_path / "raw.tsv", [row] * 20, "\t")) is None


@settings(max_examples=80)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_proposed_for_or_refused(
    tmp_path_factory: pytest.TempPathFactory, octets: bytes, header: bool
) -> None:
    path = tmp_path_factory.mktemp("raw") / "raw.csv"
    path.write_bytes((b"label,a,b\n1,2,x\n0,3,y\n" if header else b"") + octets)
    with contextlib.suppress(RawDataInvalid, UsageError):
        propose_columns(path)


@pytest.mark.parametrize("words", [("-1", "1"), ("click", "none"), ("1", "2")])
def test_a_column_that_is_called_a_label_is_not_taken_for_another(
    words: tuple[str, str], tmp_path: Path
) -> None:
    rows = [["clicked", "n", "shop", "member"]]
    rows += [[words[i % 2], str(i % 7), f"s{i % 3}", str(i % 5 % 2)] for i in range(60)]
    with pytest.raises(RawDataInvalid, match="clicked seems to be the label") as refusal:
        propose_columns(written(tmp_path / "raw.csv", rows))
    assert words[0] in refusal.value.seen
    assert proposed(tmp_path / "raw.csv", "member").label == "member"


def test_the_index_of_a_data_frame_is_left_out(tmp_path: Path) -> None:
    rows = [["", "label", "n", "shop"]]
    rows += [[str(i), str(i % 2), str(i % 7), f"s{i % 3}"] for i in range(60)]
    found = proposed(written(tmp_path / "raw.csv", rows))
    assert (found.numeric, found.categorical) == (("n",), ("shop",))
    assert "index of a data frame" in found.left_out["the first column"]


def test_rows_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    rows = [["label", "n", "shop"]] + [[str(i % 2), str(i % 7), f"s{i % 3}"] for i in range(60)]
    path = written(tmp_path / "raw.csv", rows)
    assert (proposed(path).skipped, proposed(path).unread) == (0, "")
    path.write_bytes(path.read_bytes() + "1,3,Zürich\n0,4\n".encode("latin-1"))
    found = proposed(path)
    assert (found.skipped, found.rows) == (2, 60)
    assert found.unread.startswith("line 62: not valid UTF-8; convert the file")


def test_few_words_among_numbers_are_told(tmp_path: Path) -> None:
    rows = [["label", "n", "shop", "age"]]
    rows += [[str(i % 2), str(i % 7), f"s{i % 3}", str(20 + i % 40)] for i in range(100)]
    rows[7][3] = rows[9][3] = "unknown"
    found = proposed(written(tmp_path / "raw.csv", rows))
    assert found.categorical == ("shop", "age")
    assert found.doubtful == {
        "age": "all but 2 of 100 cells are numbers; others are unknown: write numbers there, or nothing, and draft the "
        "contract again"
    }
    with pytest.raises(RawDataInvalid, match="no numeric column") as refusal:
        propose_columns(written(tmp_path / "raw.csv", [[row[0], *row[2:]] for row in rows]))
    assert refusal.value.seen.startswith("age: all but 2 of 100 cells are numbers")


@pytest.mark.parametrize("written_as", ["${}.25", "{}.5 €", "{}%", "1,{}00.75", "1'{}00"])
def test_numbers_with_other_signs_are_told(written_as: str, tmp_path: Path) -> None:
    rows = [["label", "n", "shop", "price"]]
    rows += [
        [str(i % 2), str(i % 7), f"s{i % 3}", written_as.format(i % 9 + 1)] for i in range(100)
    ]
    found = proposed(written(tmp_path / "raw.tsv", rows, "\t"))
    assert found.doubtful["price"].startswith("cells are numbers with other signs, such as ")


@pytest.mark.parametrize("cell", ["{} Main Street", "A-{}", "{}abc"])
def test_texts_with_digits_are_no_numbers(cell: str, tmp_path: Path) -> None:
    rows = [["label", "n", "shop"]]
    rows += [[str(i % 2), str(i % 7), cell.format(i % 9)] for i in range(100)]
    assert proposed(written(tmp_path / "raw.tsv", rows, "\t")).doubtful == {}
