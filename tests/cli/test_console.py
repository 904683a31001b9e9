"""A run's result as a table for people."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import BaseModel
from rich.console import Console

from coterie.cli import console, logs
from coterie.contract import StartSection
from coterie.errors import EvidenceRefused
from coterie.metrics.histogram import ScoreHistogram
from coterie.metrics.released import ReleasedScores
from coterie.runs.records import WorkerAbsence
from coterie.runs.result import PartyQuality, result_of
from tests.report.runs import HFL, outcome


def test_a_result_with_times_and_absences_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    monkeypatch.setattr(console, "out", screen)
    absences = (
        WorkerAbsence(worker="acme-worker", start=3, stop=9),
        WorkerAbsence(worker="corn-worker", start=7),
    )
    finished = replace(outcome(HFL), absences=absences)
    console.print_result(result_of(finished, HFL, "ra-tls"), "hfl")
    text = screen.export_text()
    assert "SIMULATED" in text
    assert "51,429" in text
    assert "acme-worker, from step 3 to 9" in text
    assert "corn-worker, from step 7 to the end" in text
    interval = finished.totals["test"].interval()
    assert interval is not None
    assert f"{interval.low:.4f} to {interval.high:.4f}" in text
    assert "note" not in text
    few = ScoreHistogram.count(np.arange(10.0), (np.arange(10) > 7).astype(np.float64))
    finished = replace(finished, totals={"test": ReleasedScores.of([few])})
    console.print_result(result_of(finished, HFL, "ra-tls"), "hfl")
    assert "only 2 positive examples: the AUC says little" in screen.export_text()
    screen.file.close()


def test_a_result_says_what_it_went_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    monkeypatch.setattr(console, "out", screen)
    start = StartSection(model="ab" * 32, contract="cd" * 32, step=1234, new_columns=("I9",))
    contract = BaseModel.model_copy(HFL, update={"start": start})
    finished = replace(outcome(HFL), optimizer_state=bytes.fromhex("ef" * 32))
    console.print_result(result_of(finished, contract, "ra-tls"), "hfl")
    text = screen.export_text()
    assert f"model {'ab' * 32}, step 1,234" in text
    assert "I9)" in text
    assert "ef" * 32 in text
    screen.file.close()


HOSTILE = "\x1b[2J\x9b1m[bold]\n  remedy: trust it"


def test_an_error_with_a_strangers_words_keeps_its_four_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.start()
    monkeypatch.setattr(console, "err", Console(stderr=True))
    error = EvidenceRefused(
        "node", f"no {HOSTILE}", expected=HOSTILE, seen=HOSTILE, remedy="look there"
    )
    assert console.report(error, as_json=False) == 3
    shown = "?[2J?1m[bold]?  remedy: trust it"
    assert capsys.readouterr().err.splitlines() == [
        f"error: no {shown}",
        "  check:    node",
        f"  expected: {shown}",
        f"  seen:     {shown}",
        "  remedy:   look there",
    ]


def test_an_error_as_json_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    error = EvidenceRefused("node", HOSTILE, expected="x", seen="\x9b", remedy="y")
    console.report(error, as_json=True)
    (said,) = capsys.readouterr().out.splitlines()
    assert said.isprintable()
    assert json.loads(said)["what"] == HOSTILE


def test_what_the_contract_withholds_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    monkeypatch.setattr(console, "out", screen)
    few = PartyQuality(examples=25, auc=None, log_loss=None, calibration=None)
    result = result_of(replace(outcome(HFL), totals={}), HFL, "ra-tls")
    none = few.model_copy(update={"examples": 0})
    parties = {"acme": few, "bolt": none}
    console.print_result(result.model_copy(update={"by_party": parties}), "hfl")
    text = screen.export_text()
    minimum = HFL.limits.evaluation_minimum
    assert f"withheld, because there are fewer than {minimum} (limits.evaluation_minimum)" in text
    assert "25: withheld, because they are fewer than limits.evaluation_minimum" in text
    assert "0: withheld" not in text
    assert "not defined" not in text
    screen.file.close()
