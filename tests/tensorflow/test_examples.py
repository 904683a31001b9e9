"""A program's examples are the verified ones, in memory that nobody can change any more."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from coterie.contract import load_contract
from coterie.data.dataset import DataSet, open_dataset
from coterie.data.manifest import SPLITS
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.synthetic import synthesize
from coterie.errors import DataSetDamaged
from coterie.tensorflow.examples import VARIABLE, give_examples
from tests.conftest import REPOSITORY

CONTRACT = load_contract(REPOSITORY / "examples" / "tensorflow" / "federated.toml")
ROWS = 40_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    synthesize(folder / "raw.tsv", rows=ROWS, seed=1)
    prepare(folder / "raw.tsv", folder / "prepared", CONTRACT, deal="round-robin")
    return folder / "prepared" / "acme"


@pytest.fixture
def given(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[DataSet, dict[str, str]]]:
    data_set = open_dataset(folder, CONTRACT.data, party="acme")
    monkeypatch.setenv(VARIABLE, "")
    give_examples(data_set)
    said: dict[str, str] = json.loads(os.environ[VARIABLE])
    yield data_set, said
    for split in SPLITS:
        os.close(int(said[split].rpartition("/")[2]))


def test_a_program_reads_the_records_of_every_file(
    given: tuple[DataSet, dict[str, str]],
) -> None:
    data_set, said = given
    for split, examples in zip(
        SPLITS, (data_set.train, data_set.validation, data_set.test), strict=True
    ):
        words = np.fromfile(said[split], "<i4").reshape(-1, 40)
        assert np.array_equal(words, examples.words)
    assert data_set.train.rows > 1 << 14  # more than one piece
    rest = [said[name] for name in ("numeric", "categorical", "table_rows")]
    assert [str(one) for one in rest] == ["13", "26", str(CONTRACT.data.total_rows)]


def test_nobody_can_change_them(given: tuple[DataSet, dict[str, str]]) -> None:
    for split in SPLITS:
        with Path(given[1][split]).open("r+b", buffering=0) as file, pytest.raises(PermissionError):
            file.write(b"x")


def test_a_file_that_changed_since_it_was_verified_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    data_set = open_dataset(folder, CONTRACT.data, party="acme")
    path = folder / data_set.manifest.entry("train").file
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with pytest.raises(DataSetDamaged):
            give_examples(data_set)
    finally:
        path.write_bytes(whole)
    assert VARIABLE not in os.environ
