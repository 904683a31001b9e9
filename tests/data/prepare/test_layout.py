"""A raw file's first line says where the contract's columns are; the rest is parsed as Criteo's."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie.contract import Contract, DataSection
from coterie.data.prepare.compression import RawFile
from coterie.data.prepare.header import column_name
from coterie.data.prepare.layout import Layout
from coterie.data.prepare.numeric import MISSING
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.reader import CriteoReader
from coterie.errors import RawDataInvalid

DATA = DataSection(numeric=("age", "price", "visits"), categorical=("shop", "C2", "C3", "C4", "C5"))
COLUMNS = ("label", *DATA.numeric, *DATA.categorical)
Row = list[str]
ROW = ["1", "5", "", "-3", "a", "b,b", "", "d", "e"]
CELL = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r"), max_size=8)
NUMBER = st.just("") | st.integers(-(2**63) + 1, 2**63 - 1).map(str)


def read(
    path: Path, layout: Layout | None = None, *, max_bad_rows: int = 0, block_bytes: int = 8 << 20
) -> tuple[list[Row], CriteoReader]:
    """A file's rows as the cells that they were parsed from, in the contract's order."""
    reader = CriteoReader(
        RawFile(path), DATA, layout=layout, max_bad_rows=max_bad_rows, block_bytes=block_bytes
    )
    rows: list[Row] = []
    for block in reader.rows():
        text = block.text.tobytes()
        for i, label in enumerate(block.labels_b.tolist()):
            numbers = ["" if n == MISSING else str(n) for n in block.numeric_bn[i].tolist()]
            spans = zip(block.starts_bm[i].tolist(), block.lengths_bm[i].tolist(), strict=True)
            rows.append([str(label), *numbers, *(text[s : s + n].decode() for s, n in spans)])
    return rows, reader


def write(path: Path, rows: list[Row], delimiter: str) -> Path:
    target = io.StringIO()
    if delimiter == "\t":
        target.writelines("\t".join(row) + "\n" for row in rows)
    else:
        csv.writer(target, lineterminator="\n").writerows(rows)
    path.write_text(target.getvalue(), encoding="utf-8", newline="")
    return path


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["0", "1"]), *[NUMBER] * 3, *[CELL] * 5).map(list), min_size=1
    ),
    st.sampled_from(["\t", ","]),
    st.permutations([*COLUMNS, "comment"]),
    st.integers(16, 400),
)
def test_named_columns_may_come_in_any_order_and_among_others(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Row],
    delimiter: str,
    header: list[str],
    block_bytes: int,
) -> None:
    path = tmp_path_factory.mktemp("raw") / "raw"
    named = [dict(zip(COLUMNS, row, strict=True)) | {"comment": "x y"} for row in rows]
    lines = [header, *([row[name] for name in header] for row in named)]
    seen, reader = read(write(path, lines, delimiter), block_bytes=block_bytes)
    assert seen == [
        [str(int(cell)) if cell and 1 <= i <= 3 else cell for i, cell in enumerate(row)]
        for row in rows
    ]
    assert reader.labelled


@pytest.mark.parametrize("delimiter", ["\t", ","])
@pytest.mark.parametrize("header", [True, False])
def test_all_layouts_prepare_the_same_data_set(
    delimiter: str,
    header: bool,
    tmp_path: Path,
    make_contract: Callable[[str, dict[str, int]], Contract],
) -> None:
    contract = make_contract("hfl", {}).model_copy(update={"data": DATA})
    rows = [[str(i % 2), str(i), "", "7", f"s{i % 3}", "x,y", "", "é", "z"] for i in range(84)]
    shards = []
    for name, lines, separator in (
        ("plain", rows, "\t"),
        ("other", [list(COLUMNS), *rows] if header else rows, delimiter),
    ):
        prepare(write(tmp_path / f"{name}.txt", lines, separator), tmp_path / name, contract)
        shards.append([(tmp_path / name / "acme" / f"{split}.shard").read_bytes() for split in (
            "train", "validation", "test")])  # fmt: skip
    assert shards[0] == shards[1]


def test_the_label_has_the_name_that_is_given(tmp_path: Path) -> None:
    header = ["clicked" if name == "label" else name for name in reversed(COLUMNS)]
    path = write(tmp_path / "raw.csv", [header, ROW[::-1]], ",")
    assert read(path, Layout("clicked"))[0] == [ROW]
    with pytest.raises(RawDataInvalid, match="does not name every column") as refusal:
        read(path)
    assert refusal.value.seen.startswith("without label; it names ")
    assert "--label" in refusal.value.remedy


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_rows_that_are_to_be_scored_need_no_label(delimiter: str, tmp_path: Path) -> None:
    unlabelled = Layout(label_needed=False)
    without = [list(COLUMNS[1:]), ROW[1:]]
    for lines in (without, without[1:]):
        rows, reader = read(write(tmp_path / "raw", lines, delimiter), unlabelled)
        assert rows == [["0", *ROW[1:]]]
        assert not reader.labelled
    rows, reader = read(write(tmp_path / "raw", [ROW], delimiter), unlabelled)
    assert rows == [ROW]
    assert reader.labelled


def test_a_row_whose_ids_are_names_of_columns_is_no_header(tmp_path: Path) -> None:
    row = ["0", "1", "2", "3", "shop", "C2", "C3", "label", "age"]
    assert read(write(tmp_path / "raw", [row, row], "\t"))[0] == [row, row]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_byte_order_marks_and_carriage_returns_are_not_part_of_names(
    mark: bytes, end: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "raw.csv"
    path.write_bytes(mark + ",".join(COLUMNS).encode() + end + b"1,5,,-3,a,b,,d,e" + end)
    assert read(path)[0] == [["1", "5", "", "-3", "a", "b", "", "d", "e"]]


@pytest.mark.parametrize(
    ("header", "what", "seen"),
    [
        (["label", "age", "price"], "does not name every column", "without visits, shop, C2"),
        ([*COLUMNS, "age"], "names a column twice", "age"),
        ([name.upper() for name in COLUMNS], "does not name", "without label, age, price"),
    ],
)
def test_a_header_must_name_every_column_once(
    header: list[str], what: str, seen: str, tmp_path: Path
) -> None:
    with pytest.raises(RawDataInvalid, match=what) as refusal:
        read(write(tmp_path / "raw", [header, ROW], "\t"))
    assert refusal.value.seen.startswith(seen)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,5,,-3,a,b,,d", "8 cells instead of 9"),
        (b'1,5,,-3,a,"b,,d,e', "a quoted cell does not end on its line"),
        (b'1,5,,-3,a,"b" b,,d,e', "cells are not separated by commas: ',' expected after '\"'"),
        (b'1,5,,-3,a,"b\tb",,d,e', "a tab or carriage return within a cell"),
        (b"1,5,,-3,a,\xff,,d,e", "not valid UTF-8"),
        (b"1,5.5,,-3,a,b,,d,e", "age = '5.5' is not a 64-bit integer"),
        (b"yes,5,,-3,a,b,,d,e", "label 'yes' is not 0 or 1"),
        (b"", "0 cells instead of 9"),
    ],
)
@pytest.mark.parametrize("block_bytes", [16, 8 << 20])
def test_bad_lines_are_named_by_their_line_in_the_file(
    line: bytes, reason: str, block_bytes: int, tmp_path: Path
) -> None:
    path = tmp_path / "raw.csv"
    good = b"1,5,,-3,a,b,,d,e"
    path.write_bytes(b"\n".join([",".join(COLUMNS).encode(), good, line, good]) + b"\n")
    with pytest.raises(RawDataInvalid) as refusal:
        read(path, block_bytes=block_bytes)
    assert refusal.value.seen.startswith(f"line 3: {reason}")
    reader = CriteoReader(RawFile(path), DATA, max_bad_rows=1, block_bytes=block_bytes)
    assert np.concatenate([rows.lines_b for rows in reader.rows()]).tolist() == [2, 4]


def test_a_file_of_a_header_alone_has_no_rows(
    tmp_path: Path, make_contract: Callable[[str, dict[str, int]], Contract]
) -> None:
    contract = make_contract("hfl", {}).model_copy(update={"data": DATA})
    with pytest.raises(RawDataInvalid, match="has no rows"):
        prepare(write(tmp_path / "raw", [list(COLUMNS)], "\t"), tmp_path / "out", contract)


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_bad_row_among_the_first_does_not_make_the_others_bad(
    bad: int, delimiter: str, tmp_path: Path
) -> None:
    lines = [delimiter.join(ROW).replace("b,b", "bb")] * 5
    lines[bad] = lines[bad].rpartition(delimiter)[0]
    path = tmp_path / "raw"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows, reader = read(path, max_bad_rows=1)
    assert len(rows) == 4
    assert reader.bad.lines == [f"line {bad + 1}: 8 cells instead of 9"]


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_a_byte_order_mark_before_a_row_is_no_part_of_it(delimiter: str, tmp_path: Path) -> None:
    path = write(tmp_path / "raw", [ROW, ROW], delimiter)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(path)[0] == [ROW, ROW]


def test_a_header_without_any_column_of_the_contract_is_no_bad_row(tmp_path: Path) -> None:
    header = [f"Spalte {name}" for name in "abcdefghi"]
    path = write(tmp_path / "raw", [header, ROW], ",")
    with pytest.raises(RawDataInvalid, match="does not name every column") as refusal:
        read(path, max_bad_rows=5)
    assert "it names Spalte a, Spalte b" in refusal.value.seen
    assert "--column NAME=HEADER" in refusal.value.remedy


def test_lines_before_the_header_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "raw", [["sep=,"], [], list(COLUMNS), ROW], ",")
    with pytest.raises(RawDataInvalid, match="is not its first line") as refusal:
        read(path, max_bad_rows=5)
    assert "tail -n +3" in refusal.value.remedy


@pytest.mark.parametrize("header", [["price", "visits"], ["Preis", "Besuche"]])
def test_rows_that_are_scored_do_not_miss_a_label(header: list[str], tmp_path: Path) -> None:
    path = write(tmp_path / "raw", [header, ["1"] * len(header)], ",")
    with pytest.raises(RawDataInvalid) as refusal:
        read(path, Layout(label_needed=False))
    assert refusal.value.expected == "all columns by name"
    assert "label" not in refusal.value.seen + refusal.value.remedy


def test_a_headers_names_are_read_as_a_contract_can_hold_them(tmp_path: Path) -> None:
    header = ["label", " age", "price ", "visits", "shop", "C 2", "C-3", "C4", "C5"]
    with pytest.raises(RawDataInvalid) as refusal:
        read(write(tmp_path / "raw", [header, ROW], ","))
    assert refusal.value.seen.startswith("without C2, C3;")
    given = Layout(columns={"C2": "C 2", "C3": "C-3"})
    assert read(write(tmp_path / "raw", [header, ROW], ","), given)[0] == [ROW]


def test_columns_are_kept_beside_the_rows(tmp_path: Path) -> None:
    lines = [["id", *COLUMNS], ["u1", *ROW], ["u2", *ROW[:-1]], ["u 3", *ROW]]
    path = write(tmp_path / "raw", lines, ",")
    reader = CriteoReader(
        RawFile(path), DATA, layout=Layout(kept=("id", "shop")), max_bad_rows=1, block_bytes=16
    )
    kept = [cells for block in reader.rows() for cells in block.kept]
    assert kept == [("u1", "a"), ("u 3", "a")]


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_rows_without_a_label_are_called_so_where_one_is_needed(
    delimiter: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "raw", [ROW[1:]] * 5, delimiter)
    with pytest.raises(RawDataInvalid, match="has no label, or lacks another column") as refusal:
        read(path, max_bad_rows=9)
    assert "9 cells" in refusal.value.expected
    assert "8 cells" in refusal.value.seen


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
def test_rows_of_another_width_are_counted_by_what_separates_their_cells(
    delimiter: str, tmp_path: Path
) -> None:
    path = tmp_path / "raw"
    path.write_text(f"{delimiter.join('1234567')}\n" * 5, encoding="utf-8")
    with pytest.raises(RawDataInvalid, match="no row that fits") as refusal:
        read(path, max_bad_rows=9)
    assert "line 1: 7 cells instead of 9" in refusal.value.seen
    assert "a first line that names the columns" in refusal.value.remedy


@pytest.mark.parametrize(
    ("twice", "chooses"), [(["age", "age"], False), (["User Age", "User-Age"], True)]
)
def test_which_of_two_columns_is_meant_is_said_where_their_names_differ(
    twice: list[str], chooses: bool, tmp_path: Path
) -> None:
    data = DataSection(numeric=(column_name(twice[0]),), categorical=("shop",))
    path = write(tmp_path / "raw", [["label", *twice, "shop"], ["1", "2", "3", "x"]], ",")
    with pytest.raises(RawDataInvalid, match="names a column twice") as refusal:
        list(CriteoReader(RawFile(path), data).rows())
    assert ("--column NAME=HEADER" in refusal.value.remedy) is chooses


def test_a_cell_that_is_too_long_for_a_quoted_line_is_called_so(tmp_path: Path) -> None:
    path = write(tmp_path / "raw", [list(COLUMNS), [*ROW[:-1], "x" * 200_000]], ",")
    with pytest.raises(RawDataInvalid) as refusal:
        read(path)
    assert refusal.value.seen == "line 2: a cell of more than 131,072 characters"
