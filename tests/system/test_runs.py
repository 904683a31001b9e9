"""Whole runs: the same model, bit for bit, whatever carries the calls and however often."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coterie.trained.trained_model import TrainedModel
from tests.system.conftest import (
    Federation,
    Ran,
    Scene,
    StartNode,
    StartThread,
    contract_text,
    coterie,
    environment,
    make_scene,
    result_json,
)

pytestmark = pytest.mark.system

KEYS = {
    "mode", "transport", "tee", "nodes", "steps", "examples", "seconds", "samples_per_second",
    "train_loss", "validation_auc", "test_auc", "test_logloss", "test_accuracy", "model_digest",
    "contract_digest",
}  # fmt: skip


@pytest.mark.parametrize("mode", ["hfl", "sdt"])
def test_local_attested_and_plaintext_runs_give_one_model(
    mode: str, request: pytest.FixtureRequest
) -> None:
    local: dict[str, object] = request.getfixturevalue(f"{mode}_local").result
    both: dict[str, object] = request.getfixturevalue(f"{mode}_bench").result
    attested, plaintext = both["attested"], both["plaintext"]
    assert isinstance(attested, dict)
    assert isinstance(plaintext, dict)

    results = [local, attested, plaintext]
    assert {result["model_digest"] for result in results} == {local["model_digest"]}
    assert {result["test_auc"] for result in results} == {local["test_auc"]}
    assert both["same_model"] is True
    assert isinstance(both["overhead"], float)
    assert both["overhead"] > 0
    assert all(result.keys() >= KEYS for result in results)
    assert [result["transport"] for result in results] == ["memory", "ra-tls", "PLAINTEXT"]
    assert [result["tee"] for result in results] == ["none", "SIMULATED", "none"]
    assert local["examples"] == 3429  # six of seven equal parts of 4,000 rows
    assert isinstance(local["test_auc"], float)
    assert local["test_auc"] > 0.5


def test_a_run_keeps_its_result_and_forgets_the_throw_away_keys(
    hfl: Scene, hfl_run: Ran, hfl_digest: str
) -> None:
    out = hfl_run.out
    kept = json.loads((out / "result.json").read_text())
    assert kept == hfl_run.result
    assert kept["model_digest"] == hfl_digest
    assert not list(out.rglob("*.pem"))
    for folder in (out, out / "nodes" / "acme-worker", out / "nodes" / "bolt-worker"):
        model = TrainedModel.read(folder / "model.coterie")
        assert model.digest.hex() == hfl_digest
        assert model.contract_digest.hex() == kept["contract_digest"]
    assert not (out / "nodes" / "ps0" / "model.coterie").exists()

    second = coterie("run", hfl.contract, "--data", hfl.data, "--out", out, "--json")
    assert result_json(second) == kept


def test_only_parties_that_the_contract_names_get_the_model(
    federation: Federation, hfl_digest: str, start_thread: StartThread
) -> None:
    text = federation.text.replace("[trust]", '[results]\nmodel_parties = ["bolt"]\n\n[trust]', 1)
    federation.contract = federation.write("contract.toml", text)
    server, address = federation.server(start_thread)
    outs = {party: federation.folder / party for party in ("acme", "bolt")}
    workers = [
        federation.worker(start_thread, address, party=party, out=out)
        for party, out in outs.items()
    ]
    assert [node.finish() for node in (server, *workers)] == [0, 0, 0]
    found = sorted(federation.folder.rglob("model.coterie"))
    assert found == [outs["bolt"] / "model.coterie"]
    assert TrainedModel.read(found[0]).digest.hex() == hfl_digest


def test_sdt_and_local_runs_leave_one_model(sdt_bench: Ran, sdt_local: Ran) -> None:
    run, local = sdt_bench.out / "attested-0", sdt_local.out
    models = [TrainedModel.read(folder / "model.coterie") for folder in (run, local)]
    assert {model.digest.hex() for model in models} == {sdt_local.result["model_digest"]}
    assert (run / "nodes" / "chief" / "model.coterie").exists()
    assert json.loads((local / "result.json").read_text())["transport"] == "memory"


def test_a_recipient_that_is_killed_before_it_has_the_model_gets_it_when_it_comes_back(
    hfl_digest: str, federation: Federation, start_node: StartNode, start_thread: StartThread
) -> None:
    server, address = federation.server(start_thread)
    outs = {party: federation.folder / f"{party}-out" for party in ("acme", "bolt")}
    acme = federation.worker(start_node, address, party="acme", out=outs["acme"])
    bolt = federation.worker(start_thread, address, party="bolt", out=outs["bolt"])
    acme.wait_event("WorkerTimes")
    acme.kill()
    assert not (outs["acme"] / "model.coterie").exists()
    again = federation.worker(start_thread, address, party="acme", out=outs["acme"])
    kept = again.wait_event("ModelKept")
    assert [node.finish() for node in (again, bolt, server)] == [0, 0, 0]
    assert kept["digest"] == hfl_digest
    for out in outs.values():
        assert TrainedModel.read(out / "model.coterie").digest.hex() == hfl_digest


def test_an_interrupted_run_goes_on_to_the_same_model(
    hfl: Scene, hfl_digest: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    events = out / "nodes" / "ps0" / "events.jsonl"
    command = ["run", str(hfl.contract), "--data", str(hfl.data), "--out", str(out), "--json"]
    first = subprocess.Popen(
        [sys.executable, "-m", "coterie", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert first.stderr is not None
    for line in first.stderr:  # log lines: not a terminal
        if "checkpoint at step" in line:
            first.send_signal(signal.SIGKILL)
            break
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    assert not (out / "result.json").exists()

    resumed = result_json(coterie(*command))
    assert resumed["model_digest"] == hfl_digest
    assert '"Resumed"' in events.read_text()


def test_nodes_started_one_by_one_give_the_same_model(
    hfl_digest: str, federation: Federation, start_thread: StartThread
) -> None:
    server, address = federation.server(start_thread)
    workers = [federation.worker(start_thread, address, party=party) for party in ("acme", "bolt")]
    attested = workers[0].wait_event("Attested")
    assert (attested["peer"], attested["role"], attested["party"]) == ("ps0", "ps", "operator")
    result = server.wait_event("Finished")["result"]
    assert isinstance(result, dict)
    assert result["model_digest"] == hfl_digest
    assert [node.finish() for node in (server, *workers)] == [0, 0, 0]


def test_a_killed_worker_comes_back_and_the_model_is_the_same(
    hfl_digest: str, federation: Federation, start_node: StartNode, start_thread: StartThread
) -> None:
    server, address = federation.server(start_thread)
    bolt = federation.worker(start_thread, address, party="bolt")
    acme = federation.worker(start_node, address, party="acme")
    server.wait_event("CheckpointWritten")
    acme.kill()
    again = federation.worker(start_thread, address, party="acme")
    result = server.wait_event("Finished")["result"]
    assert isinstance(result, dict)
    assert result["model_digest"] == hfl_digest
    assert [node.finish() for node in (server, bolt, again)] == [0, 0, 0]


LOCAL = """batch = 8
local_steps = 8
epochs = 1
seed = 3
checkpoint_steps = 5

[training.local]
dense = { kind = "adam", learning_rate = 0.002 }
rows = { kind = "adagrad", learning_rate = 0.05 }
row_merge = "adagrad"

[training.dense]
kind = "nesterov"
learning_rate = 0.5

[training.rows]
kind = "sgd"
learning_rate = 1.0

"""


def test_a_killed_worker_with_optimizers_of_its_own_pushes_the_very_same_again(
    raw: Path, tmp_path: Path, start_node: StartNode, start_thread: StartThread
) -> None:
    """What they keep from step to step is the server's: a worker's memory is not needed."""
    text = contract_text("hfl")
    start, end = text.index("batch ="), text.index("[limits]")
    scene = make_scene("hfl", raw, tmp_path, text[:start] + LOCAL + text[end:])
    data = ("--data", scene.data, "--no-compare", "--json")
    undisturbed = result_json(coterie("local", scene.contract, *data, "--out", tmp_path / "local"))
    parties = Federation(tmp_path, scene)
    server, address = parties.server(start_thread)
    bolt = parties.worker(start_thread, address, party="bolt")
    acme = parties.worker(start_node, address, party="acme")
    server.wait_event("CheckpointWritten")
    acme.kill()
    again = parties.worker(start_thread, address, party="acme")
    result = server.wait_event("Finished")["result"]
    assert isinstance(result, dict)
    assert result["model_digest"] == undisturbed["model_digest"]
    assert [node.finish() for node in (server, bolt, again)] == [0, 0, 0]
