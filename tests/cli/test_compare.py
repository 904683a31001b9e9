"""``coterie compare``: finished runs side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.contract import Contract, StartSection
from coterie.runs.result_file import read_result, write_result
from tests.cli.conftest import Run
from tests.report.runs import HFL, SDT, write_run


def changed(contract: Contract, **training: object) -> Contract:
    return contract.model_copy(update={"training": contract.training.model_copy(update=training)})


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    contracts = (HFL, changed(HFL, batch=256, seed=8), changed(SDT, batch=256))
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder, contract in zip(folders, contracts, strict=True):
        write_run(folder, contract)
    return folders


def rows(text: str) -> dict[str, list[str]]:
    lines = [line.strip("│┃ \n").replace("┃", "│").split("│") for line in text.splitlines()]
    return {
        cells[0].strip(): [one.strip() for one in cells[1:]] for cells in lines if len(cells) > 1
    }


def test_runs_stand_side_by_side_with_what_differs(runs: list[Path], run: Run) -> None:
    ran = run("compare", *runs)
    assert ran.code == 0
    table = rows(ran.out)
    assert table["contract"] == ["hfl-example", "hfl-example", "sdt-example"]
    assert table["training.batch"] == ["128", "256", "256"]
    assert table["training.seed"] == ["7", "8", "7"]
    assert not {"training.epochs", "model.embedding_dim"} & set(table)
    assert len(set(table["test AUC"])) == 1
    assert "one, " in ran.out.splitlines()[-1]
    assert "models equal, bit for bit" in ran.out


def test_a_run_that_went_on_from_another_is_said(runs: list[Path], run: Run) -> None:
    before = read_result(runs[0])
    start = StartSection(
        model=before.model_digest, contract=before.contract_digest, step=7, optimizer_state="new"
    )
    after = read_result(runs[1]).model_copy(
        update={"start": start, "model_digest": "ef" * 32, "model_step": 5}
    )
    write_result(runs[1], after)
    shown = run("compare", *runs).out
    table = rows(shown)
    assert table["went on from model, updates"][-1] == f"{before.model_digest[:16]}, 7"
    assert table["model of step"][1] == "5"
    assert f"{runs[1]} went on from the model of {runs[0]}" in shown


def test_the_same_as_json(runs: list[Path], run: Run) -> None:
    value = run("compare", *runs, "--json").value
    assert {"training.batch", "training.seed"} <= set(value["differing"])  # type: ignore[call-overload]
    assert isinstance(value["runs"], list)
    assert [one["path"] for one in value["runs"]] == [str(path) for path in runs]
    assert value["runs"][1]["hyperparameters"]["training.batch"] == 256


def test_other_data_sections_are_told(runs: list[Path], tmp_path: Path, run: Run) -> None:
    data = HFL.data.model_copy(update={"min_count": 9})
    write_run(tmp_path / "other", HFL.model_copy(update={"data": data}))
    assert "different [data] sections" in run("compare", runs[0], tmp_path / "other").out
    assert "different [data] sections" not in run("compare", *runs[:2]).out


def test_a_folder_without_a_result_is_named(runs: list[Path], tmp_path: Path, run: Run) -> None:
    (tmp_path / "none").mkdir()
    ran = run("compare", runs[0], tmp_path / "none", "--json")
    assert ran.value["error"] == "ResultUnreadable"
    assert run("compare", tmp_path / "absent").code == 2
