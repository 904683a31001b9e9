"""A run's result as a table for people."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from coterie.cli import console
from coterie.ps.checkpoints import WorkerAbsence
from coterie.training.results import result_of
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
    screen.file.close()
