"""Whole runs leave a report: with processes, in one process, as a benchmark, node by node."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from coterie.runs.comparison_file import Comparison
from tests.report.test_page import check_numbers, page_of
from tests.report.test_tensorboard import read as read_tensorboard
from tests.system.conftest import (
    Federation,
    Ran,
    Scene,
    StartNode,
    StartThread,
    coterie,
    environment,
    result_json,
)

pytestmark = pytest.mark.system


def test_an_attested_run_leaves_its_report_and_every_company_its_own(
    hfl_run: Ran, hfl_digest: str
) -> None:
    out, result = hfl_run.out, hfl_run.result
    assert result["model_digest"] == hfl_digest
    assert f"report: {out}/report.html" in hfl_run.stderr
    page = page_of(out / "report.html")
    check_numbers(page, "0", json.loads((out / "result.json").read_text()))
    assert "SIMULATED" in page.text
    assert "acme-worker, bolt-worker" in page.text, "who attested the server"

    board = read_tensorboard(out.parent / "board")
    assert list(board["train/loss"]) == list(range(1, 28))
    assert board["test/auc"][27] == pytest.approx(result["test_auc"])

    for party in ("acme", "bolt"):
        folder = out / "nodes" / f"{party}-worker"
        private = Comparison.read(folder)
        assert private is not None
        assert (private.scope, private.party) == ("own", party)
        own = page_of(folder / "report.html")
        assert float(own.numbers["joint", "auc"][0][0]) == private.models[0].auc
        assert "PRIVATE" in own.text
    told = [log.read_text() for log in out.rglob("events.jsonl") if "joint" in log.read_text()]
    assert told == [], "what a party found stays in its own folder"
    assert Comparison.read(out) is None
    assert Comparison.read(out / "nodes" / "ps0") is None


def test_a_run_in_one_process_compares_everybody(hfl_local: Ran, tmp_path: Path) -> None:
    out = tmp_path / "local"
    shutil.copytree(hfl_local.out, out)
    page = page_of(out / "report.html")
    check_numbers(page, "0", json.loads((out / "result.json").read_text()))
    assert {model for model, key in page.numbers if key == "auc"} == {
        "joint", "all data in one place", "acme alone", "bolt alone",
    }  # fmt: skip
    assert "LOCAL" in page.text

    (out / "report.html").unlink()
    again = result_json(coterie("report", out, "--json"))
    assert again == {"report": str(out / "report.html")}
    assert page_of(out / "report.html").numbers == page.numbers


def test_comparing_is_left_away_on_demand_and_where_there_is_one_owner(
    hfl: Scene, sdt_local: Ran, tmp_path: Path
) -> None:
    out = tmp_path / "hfl"
    data = ("--data", hfl.data, "--out", out)
    result_json(coterie("local", hfl.contract, *data, "--no-compare", "--json"))
    for folder in (out, sdt_local.out):
        assert Comparison.read(folder) is None
        assert (folder / "report.html").exists()


def test_a_benchmark_leaves_both_runs_and_their_times(sdt: Scene, sdt_bench: Ran) -> None:
    out, both = sdt_bench.out, sdt_bench.result
    assert json.loads((out / "bench.json").read_text()) == both
    page = page_of(out / "report.html")
    for run, name in (("0", "attested"), ("1", "plaintext")):
        value = both[name]
        assert isinstance(value, dict)
        check_numbers(page, run, value)
    assert [float(exact) for exact, _ in page.numbers["0", "overhead"]] == [both["overhead"]]
    assert "PLAINTEXT" in page.text
    assert (out / "figures" / "time.png").exists()
    assert coterie("bench", sdt.contract, "--data", sdt.data, "--out", out).returncode == 7


def test_a_server_started_by_itself_leaves_the_report_of_the_run(
    hfl_digest: str, federation: Federation, start_node: StartNode, start_thread: StartThread
) -> None:
    """Without a process above it a node keeps its own log."""
    server, address = federation.server(start_node, supervised=False)
    workers = [federation.worker(start_thread, address, party=party) for party in ("acme", "bolt")]
    assert [server.finish(), *(node.finish() for node in workers)] == [0, 0, 0]
    out = federation.folder / "ps0"
    page = page_of(out / "report.html")
    result = json.loads((out / "result.json").read_text())
    assert result["model_digest"] == hfl_digest
    check_numbers(page, "0", result)
    assert "acme-worker" in page.text
    assert (out / "figures" / "loss.svg").exists()


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("matplotlib", "jinja2", "tensorboardX"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


def test_without_the_optional_packages_runs_work_and_say_what_is_missing(
    sdt: Scene, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    env = environment(PYTHONPATH=str(tmp_path))
    out = tmp_path / "run"
    finished = coterie("local", sdt.contract, "--data", sdt.data, "--out", out, "--json", env=env)
    assert result_json(finished)["mode"] == "sdt"
    assert "no report: reports cannot be made here" in finished.stderr
    assert "pip install 'coterie[report]'" in finished.stderr
    assert not (out / "report.html").exists()

    refused = coterie("report", out, "--json", env=env)
    assert refused.returncode == 7
    assert json.loads(refused.stdout)["error"] == "EnvironmentUnfit"
    board = coterie(
        "local", sdt.contract, "--data", sdt.data, "--tensorboard", tmp_path / "b", env=env
    )
    assert board.returncode == 7
    assert "event files cannot be made here" in board.stderr
    assert result_json(coterie("report", out, "--json"))["report"] == str(out / "report.html")


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    refused = coterie("report", tmp_path, "--json")
    assert refused.returncode == 5
    assert json.loads(refused.stdout)["error"] == "DataError"
