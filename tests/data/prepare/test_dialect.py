"""Cells as other programs write them: turned into the contract's way, or named with what would turn them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import DataSection
from coterie.data.prepare.compression import RawFile
from coterie.data.prepare.dialect import CellReader
from coterie.data.prepare.header import column_name
from coterie.data.prepare.layout import Layout
from coterie.data.prepare.numeric import MISSING
from coterie.data.prepare.reader import MAX_CELL_BYTES, CriteoReader
from coterie.errors import RawDataInvalid

DATA = DataSection(numeric=("age", "price"), categorical=("shop",), decimals={"price": 2})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["0.0", "30.0", "9.5", "a"], ["0", "30", "9.5", "a"]),
        (["1.0", "-30.", "+9.5", "a b"], ["1", "-30", "9.5", "a b"]),
        (["True", "3e1", "1e3", "a"], ["1", "30", "1e3", "a"]),
        (["FALSE", " 1.5e+1 ", " 9.5 ", " a "], ["0", "15", "9.5", " a "]),
        (["yes", "NA", "NaN", "NA"], ["1", "", "", "NA"]),
        (["no", "null", "None", "null"], ["0", "", "", ""]),
        (["1", "true", "false", "true"], ["1", "1", "0", "true"]),
        (["1", "#N/A", r"\N", "<NA>"], ["1", "", "", ""]),
        (["2", "30.5", "9,5", "x"], ["2", "30.5", "9,5", "x"]),  # left to the parser, to be refused
    ],
)
def test_the_dialect_table_turns_cells(written: list[str], read: list[str]) -> None:
    assert CellReader(DATA, "table").read(written) == read


def test_decimal_commas_are_read_where_semicolons_separate() -> None:
    reader = CellReader(DATA, "table", decimal_comma=True)
    assert reader.read(["1", "3", "1234,50", "1,5"]) == ["1", "3", "1234.50", "1,5"]


@given(st.lists(st.text(max_size=6), min_size=4, max_size=4))
def test_strict_cells_are_as_they_are_and_turning_twice_changes_nothing(cells: list[str]) -> None:
    assert CellReader(DATA).read(cells) == cells
    table = CellReader(DATA, "table")
    once = table.read(cells)
    assert table.read(once) == once


def test_words_for_missing_cells_are_given_in_either_dialect() -> None:
    assert CellReader(DATA, missing=["?", "NA"]).read(["1", "?", "NA", "NA"]) == ["1", "", "", ""]


def rows_of(path: Path, layout: Layout) -> list[tuple[int, ...]]:
    reader = CriteoReader(RawFile(path), DATA, layout=layout)
    return [
        (label, *(-1 if n == MISSING else n for n in numbers))
        for rows in reader.rows()
        for label, numbers in zip(rows.labels_b.tolist(), rows.numeric_bn.tolist(), strict=True)
    ]


def test_a_file_of_a_data_frame_is_read(tmp_path: Path) -> None:
    path = tmp_path / "raw.csv"
    path.write_text("clicked;Age;Price;shop\nTrue;30.0;9,99;a\nFalse;NA;;b\n", encoding="utf-8")
    columns = {"age": "Age", "price": "Price"}
    layout = Layout("clicked", dialect="table", columns=columns)
    assert rows_of(path, layout) == [(1, 30, 999), (0, -1, -1)]


@pytest.mark.parametrize("dialect", ["strict", "table"])
def test_cells_without_a_header_are_turned_too(dialect: str, tmp_path: Path) -> None:
    path = tmp_path / "raw.tsv"
    path.write_text("0.0\t30.0\t1.5\ta\n" * 3, encoding="utf-8")
    if dialect == "table":
        assert rows_of(path, Layout(dialect="table")) == [(0, 30, 150)] * 3
        return
    with pytest.raises(RawDataInvalid) as refusal:
        rows_of(path, Layout())
    assert "--dialect table reads this label as 0" in refusal.value.remedy


@pytest.mark.parametrize(
    ("row", "remedy"),
    [
        ("1\t5.0\t1\ta", "--dialect table reads 5.0 as 5; [data] decimals = { age = 1 }"),
        ("1\t5.25\t1\ta", "[data] decimals = { age = 2 }"),
        ("1\tNA\t1\ta", "--dialect table takes NA for a missing cell; so does --missing"),
        ("1\t5\tnull\ta", "--dialect table takes null for a missing cell"),
        ("true\t5\t1\ta", "--dialect table reads this label as 1"),
        ("1\t5\t1,5\ta", "decimal commas"),
        ("1\t1e3\t1\ta", "--dialect table reads 1e3 as 1000"),
        ("-1\t5\t1\ta", "write labels as 0 and 1"),
        ("click\t5\t1\ta", "write labels as 0 and 1"),
    ],
)
def test_a_refused_cell_is_answered_with_what_reads_it(
    row: str, remedy: str, tmp_path: Path
) -> None:
    path = tmp_path / "raw.tsv"
    path.write_text("0\t1\t2\tx\n" * 5 + row + "\n", encoding="utf-8")
    with pytest.raises(RawDataInvalid, match="do not fit") as refusal:
        rows_of(path, Layout())
    assert remedy in refusal.value.remedy
    assert "1 cells" not in refusal.value.expected
    assert "a label, 2 numbers and 1 ids: 4 cells separated by tabs" in refusal.value.expected


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("User Age", "User_Age"),
        (" User-Age (years) ", "User_Age_years"),
        ("2020 sales", "c2020_sales"),
        ("Größe", "Gr_e"),
        ("_id", "id"),
        ("shop", "shop"),
    ],
)
def test_names_that_no_contract_can_hold_have_one_that_it_can(written: str, name: str) -> None:
    assert column_name(written) == name
    DataSection(numeric=(name,))


@pytest.mark.parametrize("column", [1, 2, 3])
def test_a_cell_of_absurd_length_is_a_bad_row_and_is_not_hashed(
    column: int, tmp_path: Path
) -> None:
    row = ["1", "1", "2", "x"]
    row[column] = "7" * (MAX_CELL_BYTES + 1)
    path = tmp_path / "raw.tsv"
    path.write_text("0\t1\t2\tx\n" + "\t".join(row) + "\n", encoding="utf-8")
    with pytest.raises(RawDataInvalid) as refusal:
        rows_of(path, Layout())
    assert refusal.value.seen == (
        f"line 2: {('age', 'price', 'shop')[column - 1]} has {MAX_CELL_BYTES + 1} bytes; "
        f"{MAX_CELL_BYTES} are the most"
    )


def test_hints_that_say_the_same_of_other_cells_are_told_once(tmp_path: Path) -> None:
    path = tmp_path / "raw.tsv"
    ages = ["5.0", "6.0", "7.25", "-8.0", "null", "NA"]
    path.write_text("".join(f"1\t{age}\t1\ta\n" for age in ages), encoding="utf-8")
    with pytest.raises(RawDataInvalid) as refusal:
        rows_of(path, Layout())
    assert refusal.value.remedy.startswith(
        "--dialect table reads 5.0 as 5; [data] decimals = { age = 1 } in the contract reads decimal numbers; "
        "[data] decimals = { age = 2 } in the contract reads decimal numbers; "
        "--dialect table takes null for a missing cell; so does --missing, which names any word; "
    )
    assert refusal.value.remedy.count("a missing cell") == 1


def test_what_is_wrong_with_many_rows_is_not_answered_with_leaving_them_out(
    tmp_path: Path,
) -> None:
    path = tmp_path / "raw.tsv"
    good = "1\t5\t1\ta\n"
    for bad, skipped in ((40, False), (1, True)):
        path.write_text(good * 60 + "-1\t5\t1\ta\n" * bad, encoding="utf-8")
        with pytest.raises(RawDataInvalid, match="do not fit") as refusal:
            rows_of(path, Layout())
        assert ("--max-bad-rows N" in refusal.value.remedy) is skipped
