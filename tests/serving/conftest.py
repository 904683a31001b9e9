"""Trained models of three kinds, with the data and the result of the run that trained them."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from coterie.contract import Contract, parse_contract
from coterie.data.prepare.layout import Layout
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.synthetic import synthesize
from coterie.models.backend import configure_tensorflow
from coterie.nodes.launch import run_in_process
from coterie.runs.result import RunResult
from coterie.trained.trained_model import MODEL_NAME, TrainedModel
from tests.conftest import REPOSITORY
from tests.system.conftest import contract_text

ROWS = 2500
DLRM = "[model]\nembedding_dim = 4\nbottom = [8, 4]\ntop = [8, 1]\n"
DCN = """[model]
kind = "keras"
embedding_dim = 4
layers = [
    { name = "flat", kind = "Flatten", inputs = ["embedded"] },
    { name = "x_0", kind = "Concatenate", inputs = ["numeric", "flat"] },
    { name = "cross", kind = "Dense", inputs = ["x_0"], options = { units = 117 } },
    { name = "product", kind = "Multiply", inputs = ["x_0", "cross"] },
    { name = "crossed", kind = "Add", inputs = ["product", "x_0"] },
    { name = "pairs", kind = "DotInteraction", inputs = ["embedded"] },
    { name = "joined", kind = "Concatenate", inputs = ["crossed", "pairs"] },
    { name = "logit", kind = "Dense", inputs = ["joined"], options = { units = 1 } },
]
parameters = [
    { name = "cross/kernel", shape = [117, 117], standard_deviation = 0.09 },
    { name = "cross/bias", shape = [117], standard_deviation = 0.0 },
    { name = "logit/kernel", shape = [442, 1], standard_deviation = 0.06 },
    { name = "logit/bias", shape = [1], standard_deviation = 0.0 },
]
"""
# Three of Criteo's numeric columns and five of its categorical ones, under names of their own.
OWN_COLUMNS = {
    "clicked": 0, "Visits": 2, "price": 5, "age": 7,
    "shop": 15, "class": 22, "Shop": 27, "C1": 14, "item": 25,
}  # fmt: skip
NUMERIC, CATEGORICAL = list(OWN_COLUMNS)[1:4], list(OWN_COLUMNS)[4:]


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        model: What it left.
        result: Its result.
        folder: Its directory.
        data: The data that were prepared for it.
        raw: What they were prepared from.
    """

    model: TrainedModel
    result: RunResult
    folder: Path
    data: Path
    raw: Path

    @property
    def contract(self) -> Contract:
        return self.model.contract

    def cells(self, count: int) -> dict[str, list[str]]:
        """The first cells of every column, as they are in the raw file."""
        data = self.contract.data
        if self.raw.suffix == ".csv":
            rows = list(csv.reader(self.raw.read_text().splitlines()))
            header = rows.pop(0)
        else:
            rows = [line.split("\t") for line in self.raw.read_text().splitlines()]
            header = ["label", *data.numeric, *data.categorical]
        return {
            name: [row[header.index(name)] for row in rows[:count]]
            for name in (*data.numeric, *data.categorical)
        }


@pytest.fixture(scope="session", autouse=True)
def tensorflow_of_one_thread() -> None:
    """TensorFlow's settings hold for a whole process."""
    configure_tensorflow(1)


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "raw.tsv"
    synthesize(path, rows=ROWS, seed=11)
    return path


@pytest.fixture(scope="session")
def own_raw(raw: Path) -> Path:
    """The same rows with other columns, as a CSV file with a header."""
    path = raw.with_suffix(".csv")
    lines = [line.split("\t") for line in raw.read_text().splitlines()]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*reversed(OWN_COLUMNS), "unused"])
        for line in lines:
            row = {name: line[at] for name, at in OWN_COLUMNS.items()}
            if row["price"]:
                row["price"] = f"{int(row['price']) / 100:.3f}"
            writer.writerow([*reversed(row.values()), "a,b"])
    return path


def train(folder: Path, raw: Path, text: str, label: str = "label") -> Trained:
    contract = parse_contract(text.encode(), "test")
    prepare(raw, folder / "data", contract, deal="round-robin", layout=Layout(label))
    result = run_in_process(contract, folder / "data", lambda _: None, out=folder / "run")
    model = TrainedModel.read(folder / "run" / MODEL_NAME)
    return Trained(model, result, folder / "run", folder / "data", raw)


def with_model(section: str) -> str:
    text = contract_text("hfl")
    start = text.index("[model]")
    return text[:start] + section + text[text.index("[training]") :]


@pytest.fixture(scope="session")
def dlrm(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("dlrm"), raw, with_model(DLRM))


@pytest.fixture(scope="session")
def dcn(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("dcn"), raw, with_model(DCN))


@pytest.fixture(scope="session")
def own_columns(own_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    columns = f"[data]\nnumeric = {NUMERIC}\ncategorical = {CATEGORICAL}\n"
    columns += "decimals = { price = 2 }\nrow_limit = 2000\n"
    text = with_model(DLRM).replace("[data]\n", columns)
    return train(tmp_path_factory.mktemp("own"), own_raw, text, "clicked")


@pytest.fixture(params=["dlrm", "dcn", "own_columns"])
def trained(request: pytest.FixtureRequest) -> Trained:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Trained)
    return found


@pytest.fixture(scope="session")
def without_coterie() -> Callable[[], dict[str, str]]:
    """The environment of a process in which ``import coterie`` fails."""

    def environment() -> dict[str, str]:
        blocker = REPOSITORY / "tests" / "serving" / "blocked"
        return {**os.environ, "PYTHONPATH": str(blocker), "TF_CPP_MIN_LOG_LEVEL": "3"}

    return environment
