"""What a report is made of is read back from a run's files, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from coterie.contract import canonical_json
from coterie.errors import ContractInvalid, CoterieError, DataError
from coterie.report.record import MAX_INCIDENTS, Incident, read_run
from coterie.runs import events
from coterie.runs.evaluation_file import Evaluation
from coterie.runs.event_log import event_log
from coterie.runs.result import TransportName, result_of
from coterie.runs.result_file import write_result
from tests.report.runs import HFL, MEASUREMENT, SDT, STEPS, outcome, steps, write_run


def test_a_supervised_run_is_read_whole(tmp_path: Path) -> None:
    result = write_run(tmp_path)
    with event_log(tmp_path / "nodes" / "acme-worker") as log:
        log(events.Attested("acme-worker", "ps0", "ps", "operator", "UpToDate", MEASUREMENT))
    run = read_run(tmp_path)
    assert run.title == "hfl-example"
    assert run.result == result
    assert run.evaluation == Evaluation.of(outcome(HFL))
    assert [point.step for point in run.curve] == list(range(1, STEPS + 1))
    assert [node.name for node in run.participants] == [node.name for node in HFL.nodes]
    server, worker = run.participants[:2]
    assert (server.measurement, server.judges) == (MEASUREMENT, ("acme-worker",))
    assert (worker.tcb_status, worker.judges) == ("UpToDate", ("ps0",))
    assert run.incidents == ()
    assert run.comparison is None


def server_folder(folder: Path) -> Path:
    """What a parameter server leaves that was started by itself, but for its log."""
    write_result(folder, result_of(outcome(SDT), SDT, "ra-tls"))
    (folder / "contract.json").write_bytes(canonical_json(SDT))
    return folder


def test_a_parameter_servers_own_folder_is_enough(tmp_path: Path) -> None:
    with event_log(server_folder(tmp_path)) as log:
        for event in steps():
            log(event)
    run = read_run(tmp_path, "mine")
    assert (run.title, len(run.curve)) == ("mine", STEPS)
    assert run.evaluation == Evaluation(), "no counts were kept: curves are left out"
    assert all(not node.judges for node in run.participants)


@pytest.mark.parametrize(
    ("transport", "tee", "stamp"),
    [
        ("ra-tls", "simulated", "SIMULATED"),
        ("ra-tls", "sgx", "SGX"),
        ("ra-tls", "tdx", "TDX"),
        ("PLAINTEXT", "simulated", "PLAINTEXT"),
        ("memory", "sgx", "LOCAL"),
    ],
)
def test_a_run_is_stamped(tmp_path: Path, transport: TransportName, tee: str, stamp: str) -> None:
    result = write_run(tmp_path, transport=transport)
    trust = BaseModel.model_copy(HFL.trust, update={"tee": tee})  # unchecked
    contract = BaseModel.model_copy(HFL, update={"trust": trust})
    write_result(tmp_path, result_of(outcome(contract), contract, transport))
    assert read_run(tmp_path).stamp == stamp
    assert result.transport == transport


def test_what_went_wrong_is_listed_once_with_its_count(tmp_path: Path) -> None:
    refused = events.Refused("ps0", "EvidenceRefused", "[mrenclave] another program")
    write_run(
        tmp_path,
        more=(
            *(refused, refused, refused),
            events.LeftOut("corn-worker", 7),
            events.Returned("corn-worker", 9),
            events.Resumed(5, "00" * 32),
            events.Restarted("ps1", 5),
            events.Failed("dune-worker", 5, {"what": "no data"}),
        ),
    )
    kinds = [(incident.kind, incident.times) for incident in read_run(tmp_path).incidents]
    assert kinds == [
        ("refusal", 3),
        ("absence", 1),
        ("return", 1),
        ("restart", 1),
        ("restart", 1),
        ("failure", 1),
    ]
    assert "[mrenclave] another program" in read_run(tmp_path).incidents[0].text


def test_a_worker_whose_process_was_started_again_is_told(tmp_path: Path) -> None:
    """Another incarnation joined; the same one joins again after the server was started anew."""
    folder = server_folder(tmp_path)
    with event_log(folder) as log:
        for incarnation in (5, 5, 7):
            log(events.Joined("acme-worker", (), incarnation))
        log(events.StoodStill("ps0", 41.7))
    told = [(one.kind, one.text, one.times) for one in read_run(folder).incidents]
    assert told == [
        ("return", "the process of acme-worker had ended; another one joined", 1),
        ("pause", "ps0 stood still for 42 s", 1),
    ]


def test_who_judged_a_server_alone_is_who_joined_it(tmp_path: Path) -> None:
    folder = server_folder(tmp_path)
    with event_log(folder) as log:
        log(events.Joined("acme-worker", ("bolt-worker",), 5))
        log(events.Joined("bolt-worker", (), 6))
    (server,) = (one for one in read_run(folder).participants if one.role == "ps")
    assert server.judges == ("acme-worker", "bolt-worker")


def test_a_flood_of_refusals_is_bounded(tmp_path: Path) -> None:
    flood = [
        events.Refused("ps0", "HandshakeFailed", f"from port {port}")
        for port in range(MAX_INCIDENTS + 50)
    ]
    write_run(tmp_path, more=flood)
    incidents = read_run(tmp_path).incidents
    assert len(incidents) == MAX_INCIDENTS + 1
    assert incidents[-1] == Incident("more", "others, see the nodes' logs", 50)


def damaged(folder: Path, name: str, text: str | None) -> CoterieError:
    write_run(folder)
    path = folder / name
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(CoterieError) as refusal:
        read_run(folder)
    return refusal.value


def test_a_directory_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    error = damaged(tmp_path, "result.json", None)
    assert isinstance(error, DataError)
    assert error.what == f"{tmp_path} holds no finished run"


@pytest.mark.parametrize("text", ["", "{}", "null", '{"mode": "hfl"}'])
def test_a_result_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    assert "is no result of this version" in damaged(tmp_path, "result.json", text).what


COUNTED: dict[str, object] = {
    "edges": [0.25],
    "positives": [1, 0],
    "negatives": [1, 2],
    "predictions": [0.5, 0.75],
    "loss_sum": 1,
    "prediction_sum": 1,
    "correct": 1,
    "auc": 0.5,
    "auc_error": 0,
    "auc_standard_error": None,
}

THREE = {"positives": [1, 0, 1], "negatives": [1, 2, 0], "predictions": [0.2, 0.3, 0.4]}


def test_counted_scores_of_this_version_are_read(tmp_path: Path) -> None:
    write_run(tmp_path)
    for change in ({}, {**THREE, "edges": [0.25, 0.5]}):
        text = json.dumps({"format": 3, "test": {**COUNTED, **change}})
        (tmp_path / "nodes" / "ps0" / "evaluation.json").write_text(text)
        assert read_run(tmp_path).evaluation.test is not None


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"format": 2, "bins": 8192, "logit_bound": 16.0, "validation": None, "test": None},
        {"test": {"edges": [0.25]}},
        {"test": {**COUNTED, "edges": [0.25, 0.5]}},
        {"test": {**COUNTED, "edges": []}},
        {"test": {**COUNTED, "negatives": []}},
        {"test": {**COUNTED, "predictions": [0.5, 1.5]}},
        {"test": {**COUNTED, **THREE, "edges": [0.5, 0.25]}},
        {"test": {**COUNTED, **THREE, "edges": [0.25, 0.25]}},
        {"test": {key: value for key, value in COUNTED.items() if key != "auc_error"}},
        {"unknown": 1},
    ],
)
def test_counted_scores_of_another_kind_are_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    error = damaged(tmp_path, "nodes/ps0/evaluation.json", json.dumps(change))
    assert isinstance(error, DataError)
    assert "holds no counted scores of this version" in error.what


def test_a_run_without_its_contract_is_refused(tmp_path: Path) -> None:
    assert isinstance(damaged(tmp_path, "contract.json", None), ContractInvalid)


def test_lines_that_hold_no_event_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path)
    with (tmp_path / "nodes" / "ps0" / "events.jsonl").open("ab") as log:
        log.write(b'not json\n{"event": "Nonsense"}\n\xff\xfe\n{"event": "StepDone"}\n{"torn": ')
    assert len(read_run(tmp_path).curve) == STEPS


def test_epochs_end_at_equal_distances(tmp_path: Path) -> None:
    for epochs, ends in ((1, ()), (3, (20, 40)), (7, (8, 16, 24, 32, 40, 48, 56)), (99, ())):
        training = HFL.training.model_copy(update={"epochs": epochs})
        write_run(tmp_path / str(epochs), HFL.model_copy(update={"training": training}))
        assert read_run(tmp_path / str(epochs)).epochs == ends
