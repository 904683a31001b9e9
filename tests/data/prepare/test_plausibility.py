"""What is odd about data is told when they are prepared, and ordinary data are left in peace."""

# ruff: noqa: ARG005  each lambda makes a cell from what it needs of the row
from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from coterie.contract import Contract, DataSection
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.synthetic import synthesize

DATA = DataSection(
    numeric=("age", "user_id", "price"), categorical=("shop", "tags"), decimals={"price": 2}
)
Row = list[str]
Make = Callable[[str, dict[str, int]], Contract]


def rows_of(count: int, **cells: Callable[[int, random.Random], str]) -> list[Row]:
    chance = random.Random(3)
    usual: dict[str, Callable[[int, random.Random], str]] = {
        "label": lambda i, r: str(int(r.random() < 0.3)),
        "age": lambda i, r: str(r.randint(18, 80)),
        "user_id": lambda i, r: str(r.randint(0, 90)),
        "price": lambda i, r: f"{r.random() * 100:.2f}",
        "shop": lambda i, r: f"s{r.randint(0, 9)}",
        "tags": lambda i, r: f"Mozilla/5.0 (X11; Linux) {r.randint(0, 5)}, Paris",
    }
    columns = usual | cells
    return [[make(i, chance) for make in columns.values()] for i in range(count)]


def warnings_of(tmp_path: Path, contract: Contract, rows: list[Row]) -> tuple[str, ...]:
    raw = tmp_path / "raw.tsv"
    raw.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return prepare(raw, tmp_path / "out", contract, deal="round-robin").warnings


@pytest.fixture
def contract(make_contract: Make) -> Contract:
    return make_contract("hfl", {}).model_copy(update={"data": DATA})


def test_nothing_is_odd_about_ordinary_rows(tmp_path: Path, contract: Contract) -> None:
    assert warnings_of(tmp_path, contract, rows_of(4000)) == ()


def test_nothing_is_odd_about_criteos_format(tmp_path: Path, make_contract: Make) -> None:
    synthesize(tmp_path / "raw.tsv", rows=3000, seed=1)
    contract = make_contract("hfl", {}).model_copy(update={"data": DataSection()})
    assert prepare(tmp_path / "raw.tsv", tmp_path / "out", contract).warnings == ()


@pytest.mark.parametrize(
    ("column", "make", "said"),
    [
        ("age", lambda i, r: str(1_700_000_000 + 7 * i), "age looks like an id or a time stamp"),
        ("user_id", lambda i, r: str(r.randint(10**6, 10**6 + 99)), "user_id looks like an id by"),
        ("age", lambda i, r: "7", "age is 7 in every row looked at"),
        ("age", lambda i, r: "", "age has no number"),
        (
            "age",
            lambda i, r: str(r.randint(-9, 9)),
            "negative numbers in 1,143 rows, which count as 0",
        ),
        ("tags", lambda i, r: "a|b|c", "tags has 4,000 of 4,000 cells with '|'"),
        ("tags", lambda i, r: "a|b" if i == 77 else "a", "tags has 1 of 4,000 cells with '|'"),
        ("tags", lambda i, r: "a,b" if i % 9 else "", "tags has 3,555 of 3,555 cells with ','"),
        ("shop", lambda i, r: f"{r.randint(1, 9)}.0", "shop has ids that are written as decimals"),
        ("shop", lambda i, r: f"s{i}", "shop has an id of its own in nearly every row"),
        ("label", lambda i, r: str(int(i > 2000)), "the file is sorted by its label"),
        ("label", lambda i, r: str(i // 500 % 2), "the file is sorted by its label"),
        ("label", lambda i, r: "0", "acme's test part has negative rows only: it gives no AUC"),
        ("label", lambda i, r: "1", "bolt's train part has positive rows only: nothing can be"),
    ],
)
def test_what_is_odd_is_told(
    column: str,
    make: Callable[[int, random.Random], str],
    said: str,
    tmp_path: Path,
    contract: Contract,
) -> None:
    told = warnings_of(tmp_path, contract, rows_of(4000, **{column: make}))
    assert any(said in warning for warning in told), told


def test_too_few_test_rows_are_told_before_the_run(tmp_path: Path, contract: Contract) -> None:
    (told,) = warnings_of(tmp_path, contract, rows_of(700))
    assert "there are 50 test rows, fewer than limits.evaluation_minimum (100)" in told
