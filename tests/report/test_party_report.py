"""A worker's or chief's own part in a run is read back from its folder, and is its party's report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coterie.contract import canonical_json, contract_digest
from coterie.errors import DataError
from coterie.report.party_report import read_own
from coterie.report.record import Incident
from coterie.report.writing import report_folder
from coterie.runs import events
from coterie.runs.curve import Point
from coterie.runs.event_log import event_log
from tests.report.runs import HFL, MEASUREMENT, comparison

STARTED = events.Started("acme-worker", "worker", "acme")
TIMES = events.WorkerTimes("acme-worker", 60, 0.6, 1.2, 3.0, 0.3, 0.9)
QUALITY = events.OwnQuality("acme-worker", "acme", 1234, 0.7312, 0.4811, 1.02)
PART: list[events.Event] = [
    STARTED,
    events.Attested("acme-worker", "ps0", "ps", "operator", "UpToDate", MEASUREMENT),
    events.WorkerProgress("acme-worker", 20, 60, 0.6, 100.0),
    events.WorkerProgress("acme-worker", 40, 60, 0.5, 100.0),
    events.ServerLost("acme-worker", "ps0 does not answer", 300.0),
    events.ServerBack("acme-worker", 20),
    events.WorkerProgress("acme-worker", 30, 60, 0.55, 100.0),
    events.WorkerProgress("acme-worker", 60, 60, None, 100.0),
    TIMES,
    QUALITY,
    events.ModelKept("acme-worker", "model.coterie", "ab" * 32),
]


def part(folder: Path, heard: list[events.Event]) -> Path:
    (folder / "contract.json").write_bytes(canonical_json(HFL))
    with event_log(folder) as log:
        for event in heard:
            log(event)
    return folder


def test_a_nodes_part_is_read_whole(tmp_path: Path) -> None:
    own = read_own(part(tmp_path, PART))
    assert (own.node, own.party, own.contract.name) == ("acme-worker", "acme", HFL.name)
    assert own.contract_digest == contract_digest(HFL).hex()
    assert own.progress == (Point(20, 1, 0.6, None), Point(30, 1, 0.55, None)), "40 came again"
    assert own.steps == (60, 60)
    assert (own.quality, own.times, own.model) == (QUALITY, TIMES, "ab" * 32)
    assert [one.peer for one in own.attested] == ["ps0"]
    assert own.incidents == (
        Incident("loss", "acme-worker lost the server: ps0 does not answer", 1),
        Incident("return", "acme-worker found the server again, and went on after step 20", 1),
    )


@pytest.mark.parametrize("compared", [False, True])
def test_its_report_shows_it(compared: bool, tmp_path: Path) -> None:
    folder = part(tmp_path, PART)
    if compared:
        comparison().model_copy(update={"scope": "own", "party": "acme"}).write(folder)
    page = report_folder(folder).read_text()
    assert "<h1>acme: acme-worker</h1>" in page
    assert '<span class="stamp">PRIVATE</span>' in page
    shown = dict(re.findall(r'data-key="(own[.][a-z_]+)" value="([^"]*)"', page))
    assert shown == {"own.auc": "0.7312", "own.log_loss": "0.4811", "own.calibration": "1.02"}
    assert contract_digest(HFL).hex() in page
    assert "60 of 60" in page
    assert "acme-worker lost the server: ps0 does not answer" in page
    assert ("What joining is worth" in page) == compared


def test_what_is_withheld_is_called_so(tmp_path: Path) -> None:
    few = events.OwnQuality("acme-worker", "acme", 7, None, None, None)
    page = report_folder(part(tmp_path, [STARTED, TIMES, few])).read_text()
    assert page.count('value="">withheld</data>') == 3
    assert "on 7 own test rows" in page
    assert "None that this node saw." in page


def test_a_run_that_has_not_finished_is_called_so(tmp_path: Path) -> None:
    """Its directory has a contract, too."""
    (part(tmp_path, PART) / "run.json").write_text("{}")
    with pytest.raises(DataError) as refused:
        report_folder(tmp_path)
    assert refused.value.what == f"{tmp_path} holds no finished run"
    assert "a run that was interrupted goes on by its command" in refused.value.remedy


@pytest.mark.parametrize(
    ("heard", "seen"),
    [([], "none"), ([STARTED, PART[1]], "acme-worker had not ended yet")],
    ids=["nothing", "interrupted"],
)
def test_a_part_that_is_not_done_has_no_report(
    heard: list[events.Event], seen: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as refused:
        report_folder(part(tmp_path, heard))
    assert refused.value.what == f"{tmp_path} holds no node's part in a run"
    assert refused.value.seen == seen
