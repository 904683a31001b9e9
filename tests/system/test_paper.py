"""`coterie paper` on tiny data: one case of each scheme and engine, natively and attested, and its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coterie.paper.page import write_page
from coterie.paper.plan import cases
from coterie.paper.results import read_results
from coterie.paper.running import run_paper
from tests.command_line import called

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("native_part"),
    pytest.mark.usefixtures("loopback"),  # its native runs speak plain TensorFlow
]

CASES = tuple(
    case
    for case in cases()
    if case.setting == "paper" and (case.scheme == "hfl") != (case.engine == "coterie")
)


def test_native_and_attested_runs_of_both_engines_are_shown_on_a_page(tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "out"
    results = run_paper(None, out, rows=4000, selected=CASES, say=said.append)
    assert read_results(out) == results
    assert [one.case for one in results.cases] == list(CASES)
    assert results.data.synthetic
    for one in results.cases:
        assert one.native is not None
        assert one.simulated is not None
        assert one.native.quality.accuracy is not None
        assert one.sgx is None
        if one.engine == "tensorflow":
            assert one.simulated.curve[-1].examples >= results.data.train
        if one.engine == "coterie":
            assert one.native.model_digest == one.simulated.model_digest
            assert one.native.quality == one.simulated.quality
        elif one.synchronous and one.scheme == "hfl":
            losses = [[point.loss for point in it.curve] for it in (one.native, one.simulated)]
            assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert "not run here" in write_page(results, out).read_text(encoding="utf-8")


def test_what_it_refuses_is_an_error_of_the_usual_form(tmp_path: Path) -> None:
    (tmp_path / "raw.tsv").write_text("no rows\n")
    words = ("paper", "--data", tmp_path / "raw.tsv", "--out", tmp_path / "out", "--json")
    refused = called(*words)
    assert json.loads(refused.stdout)["error"] == "RawDataInvalid"
