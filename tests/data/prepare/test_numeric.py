"""Decimal cells become whole numbers of their last place; what is no number is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from coterie.contract import Contract, DataSection, data_digest
from coterie.data.dataset import open_dataset
from coterie.data.prepare.compression import RawFile
from coterie.data.prepare.numeric import MISSING, decimal_cells
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.reader import CriteoReader
from coterie.errors import RawDataInvalid


def values(cells: list[str], places: int) -> tuple[list[int], list[bool]]:
    encoded = [cell.encode() for cell in cells]
    lengths = np.array([len(cell) for cell in encoded], np.int64)
    text = np.frombuffer(b"".join(encoded) + bytes(8), np.uint8)
    units, fits = decimal_cells(text, np.cumsum(lengths) - lengths, lengths, places)
    return units.tolist(), fits.tolist()


@given(st.lists(st.decimals(-(10**6), 10**6, places=3), min_size=1), st.integers(3, 6))
def test_cells_with_enough_places_are_exact(cells: list[Decimal], places: int) -> None:
    units, fits = values([str(cell) for cell in cells], places)
    assert units == [int(cell * 10**places) for cell in cells]
    assert all(fits)


@given(st.integers(-(10**9), 10**9))
def test_further_places_are_rounded(thousandths: int) -> None:
    cell = Decimal(thousandths) / 1000
    (units,), _ = values([str(cell)], 1)
    exact = int((cell * 10).to_integral_value(ROUND_HALF_EVEN))
    assert units == exact or abs(cell * 10 - units) == Decimal("0.5")


@pytest.mark.parametrize(
    ("cell", "units"),
    [("5", 500), ("5.", 500), (".5", 50), ("-0.5", -50), ("1e3", 100_000), ("2.5E-1", 25),
     ("-0", 0), ("007", 700), ("", 0)],
)  # fmt: skip
def test_numbers_may_be_written_so(cell: str, units: int) -> None:
    assert values([cell], 2) == ([units], [True])


@pytest.mark.parametrize(
    "cell",
    ["nan", "inf", "-inf", "+5", " 5", "5 ", "1_000", "1,5", ".", "-", "e5", "1e", "٣", "0x10",
     "1e300", "99999999999999999", "5\n"],
)  # fmt: skip
def test_what_is_no_number_is_told(cell: str) -> None:
    assert values([cell, "1"], 2) == ([0, 100], [False, True])


def test_files_with_decimals_are_prepared(
    tmp_path: Path, make_contract: Callable[[str, dict[str, int]], Contract]
) -> None:
    data = DataSection(
        numeric=("price", "I2"), categorical=("C1", "C2", "C3"), decimals={"price": 2}
    )
    contract = make_contract("sdt", {}).model_copy(update={"data": data})
    raw = tmp_path / "raw.tsv"
    lines = [f"{i % 2}\t{'' if i == 3 else f'{i}.25'}\t{i}\ta\tb\tc" for i in range(84)]
    raw.write_text("\n".join(lines) + "\n")
    (manifest,) = prepare(raw, tmp_path / "out", contract).manifests
    shard = open_dataset(tmp_path / "out" / "acme", data, party="acme").train
    prices = [0.0 if i == 3 else math.log1p(i + 0.25) for i in range(72)]
    assert shard.batch(0, 72).dense_bn[:, 0].tolist() == [np.float32(price) for price in prices]
    assert (manifest.numeric[0].minimum, manifest.numeric[0].maximum) == (25, 7125)
    assert (manifest.numeric[0].missing, manifest.numeric[1].maximum) == (1, 71)

    reader = CriteoReader(RawFile(raw), data)
    assert next(reader.rows()).numeric_bn[2:4].tolist() == [[225, 2], [MISSING, 3]]

    raw.write_text("1\tcheap\t5\ta\tb\tc\n1\t5\t5.5\ta\tb\tc\n")
    with pytest.raises(RawDataInvalid) as refusal:
        list(CriteoReader(RawFile(raw), data).rows())
    assert "line 1: price = 'cheap' is not a decimal number" in refusal.value.seen
    assert "line 2: I2 = '5.5' is not a 64-bit integer" in refusal.value.seen


def test_decimals_are_part_of_the_digest_only_where_there_are_some() -> None:
    without, with_ = DataSection(), DataSection(decimals={"I1": 1})
    assert "decimals" not in json.loads(without.model_dump_json())
    assert json.loads(with_.model_dump_json())["decimals"] == {"I1": 1}
    assert DataSection.model_validate_json(with_.model_dump_json()) == with_
    digests = {data_digest(DataSection(decimals={"I1": places})) for places in (1, 2)}
    assert len(digests | {data_digest(without)}) == 3


def test_the_digest_of_criteos_columns_never_changes() -> None:
    # Data that were prepared by older versions bind to it.
    expected = "fbc40a2ea9cb530f1a5ddc1f4593ee9ad5fc6e313def3647eb6a80f6111adc4a"
    assert data_digest(DataSection()).hex() == expected


@pytest.mark.parametrize(
    ("decimals", "what"),
    [({"C1": 2}, "decimals names C1"), ({"I1": 0}, "greater than or equal to 1"),
     ({"I1": 10}, "less than or equal to 9")],
)  # fmt: skip
def test_wrong_decimals_are_refused(decimals: dict[str, int], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        DataSection(decimals=decimals)
