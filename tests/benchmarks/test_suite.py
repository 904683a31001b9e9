"""The benchmark suite's arithmetic and tables; not its figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from benchmarks.comparing import Compared, Unavailable, take_turns
from benchmarks.markdown import MARK, document, write_page
from benchmarks.peers.model import COLUMNS, NUMERIC, batches, column_rows
from benchmarks.results import CaseName, CaseResult, Results, read_results
from benchmarks.runs import Setup, contract_of
from tests.conftest import REPOSITORY

ROOT = REPOSITORY


def speeds(**turns: list[float]) -> Compared:
    return Compared(
        repetitions={
            name.replace("_", " "): [{"examples_per_second": value} for value in values]
            for name, values in turns.items()
        },
        absent={},
    )


def test_figures_are_added_turn_by_turn_and_absent_where_they_were_not_measured() -> None:
    compared = Compared(
        repetitions={"a": [{"x": 1, "y": 9}, {"x": 5, "y": 1}, {"x": 2, "y": 2}]}, absent={}
    )
    assert compared.median("a", "x", "y") == 6
    assert compared.median("a", "z") is None


def test_things_take_turns() -> None:
    order: list[str] = []

    def thing(name: str, value: float) -> dict[str, float]:
        order.append(name)
        return {"speed": value * len(order)}

    compared = take_turns({"a": lambda: thing("a", 1), "b": lambda: thing("b", 10)}, 3, "test")

    assert order == ["a", "b", "a", "b", "a", "b"]
    assert compared.median("a", "speed") == 3
    assert compared.median("b", "speed") == 40
    assert compared.ratio("b", "a", "speed") == pytest.approx(40 / 3)


def test_what_cannot_run_is_named_and_not_tried_again() -> None:
    tries: list[int] = []

    def missing() -> dict[str, float]:
        tries.append(1)
        raise Unavailable("it is not installed")

    compared = take_turns({"a": lambda: {"speed": 1.0}, "b": missing}, 3, "test")

    assert len(tries) == 1
    assert compared.absent == {"b": "it is not installed"}
    assert compared.median("b", "speed") is None
    assert compared.ratio("a", "b", "speed") is None


def test_goals_say_what_was_measured_and_whether_it_is_enough() -> None:
    titles = ("HFL 4 x 128", "HFL 4 x 2,048", "SDT 2 x 128", "SDT 2 x 2,048")
    overhead = {
        title: speeds(plaintext=[104.0, 110.0, 90.0], ra_tls=[100.0] * 3) for title in titles
    }
    for compared in overhead.values():
        compared.repetitions["ra-tls"] = compared.repetitions.pop("ra tls")
    case = CaseResult(machine={"cpu": "fast", "cores": "2"}, quick=False, results=overhead)

    text = document(Results(cases={"overhead": case}))

    assert "| attested / plaintext training time, HFL 4 x 128: at most 1.08 | 1.04 | yes |" in text
    assert "| checkpoints every two seconds: at least 0.95" in text
    assert "| not measured |" in text
    assert "- cpu: fast" in text
    assert "| HFL 4 x 128 | 104 | 100 | 1.04 |" in text


def test_a_goal_that_is_missed_is_shown_as_missed() -> None:
    slow = {
        title: Compared(
            repetitions={
                "plaintext": [{"examples_per_second": 130.0}],
                "ra-tls": [{"examples_per_second": 100.0}],
            },
            absent={},
        )
        for title in ("HFL 4 x 128", "HFL 4 x 2,048", "SDT 2 x 128", "SDT 2 x 2,048")
    }
    case = CaseResult(machine={}, quick=True, results=slow)
    text = document(Results(cases={"overhead": case}))
    assert "SDT 2 x 2,048: at most 1.05 | 1.30 | **no** |" in text
    assert "Tried out only: these figures say nothing." in text


def test_the_page_shows_what_was_measured() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    measured = read_results(ROOT / "benchmarks" / "measured.json")
    assert measured.cases
    assert not any(case.quick for case in measured.cases.values())
    assert page.partition(MARK)[2].strip() == document(measured).strip()


def test_cases_that_were_not_measured_are_named() -> None:
    text = document(Results(cases={}))
    assert text.endswith("## Not measured yet\n\n" + ", ".join(get_args(CaseName)) + "\n")


def test_a_pages_own_text_is_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"why\n{MARK}\nold\n")
    write_page(page, "new\n")
    assert page.read_text() == f"why\n{MARK}\n\nnew\n"


def test_results_outlive_the_process(tmp_path: Path) -> None:
    case = CaseResult(machine={}, quick=False, results={"t": speeds(a=[1.0], b=[2.0])})
    path = tmp_path / "benchmarks.json"
    assert read_results(path) == Results()
    path.write_text(Results(cases={"overhead": case}).model_dump_json())
    assert read_results(path).cases == {"overhead": case}


@pytest.mark.parametrize(
    "setup",
    [
        Setup(),
        Setup("sdt", 2, 2048, steps=64),
        Setup(workers=16, shards=4, rows=33_762_577, checkpoint_steps=7),
    ],
)
def test_setups_are_contracts(setup: Setup) -> None:
    contract = contract_of(setup)
    assert len(contract.by_role("worker")) == setup.workers
    assert len(contract.by_role("ps")) == setup.shards
    assert contract.training.batch == setup.batch
    assert setup.rows <= contract.data.total_rows < setup.rows + COLUMNS


def test_peers_train_on_what_the_model_takes() -> None:
    made = batches(64, 1000, seed=1)
    for batch in made:
        assert batch.dense_bn.shape == (64, NUMERIC)
        assert batch.ids_bm.shape == (64, COLUMNS)
        assert batch.labels_b.shape == (64,)
        columns = batch.ids_bm // column_rows(1000)
        assert (columns == np.arange(COLUMNS)).all(), "every column has its own rows"
    assert not (made[0].ids_bm == made[1].ids_bm).all()


@pytest.mark.system
@pytest.mark.parametrize(
    "module",
    [
        "benchmarks",
        "benchmarks.gate",
        "benchmarks.nodes",
        "benchmarks.tables",
        "benchmarks.thin_line",
        *(
            f"benchmarks.peers.{path.stem}"
            for path in sorted((ROOT / "benchmarks" / "peers").glob("*.py"))
            if "__main__" in path.read_text()
        ),
    ],
)
def test_programs_say_what_they_do(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert "usage:" in done.stdout
