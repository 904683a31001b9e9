"""Receipts of real runs, and a party that looks at a running server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.system.conftest import (
    Federation,
    Ran,
    Scene,
    StartNode,
    StartThread,
    contract_text,
    coterie,
    make_scene,
    result_json,
)

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def run(hfl_run: Ran) -> Path:
    """The directory of a finished run."""
    return hfl_run.out


def test_a_run_leaves_a_receipt_that_is_accepted(run: Path, hfl_digest: str) -> None:
    receipt = run / "receipt.jsonl"
    assert receipt.read_bytes() == (run / "nodes" / "ps0" / "receipt.jsonl").read_bytes()
    said = result_json(
        coterie(
            "receipt", "verify", receipt,
            "--contract", run / "contract.json", "--model", run / "model.coterie", "--json",
        )
    )  # fmt: skip
    outcome, kept = said["outcome"], json.loads((run / "result.json").read_text())
    assert isinstance(outcome, dict)
    assert outcome["model_digest"] == hfl_digest
    shared = outcome.keys() & kept.keys()
    assert {key: outcome[key] for key in shared} == {key: kept[key] for key in shared}
    assert shared >= {"steps", "examples", "test_auc", "validation_auc", "test_logloss"}
    assert (said["accepted"], said["stamp"], said["gaps"]) == (True, "SIMULATED", [])
    assert said["contract_digest"] == kept["contract_digest"]
    assert said["model_checked"] is True
    evidence = said["evidence"]
    assert isinstance(evidence, list)
    assert {proved["node"] for proved in evidence} == {"ps0", "acme-worker", "bolt-worker"}


def test_it_says_in_words_what_it_proves(run: Path) -> None:
    said = coterie("receipt", "verify", run / "receipt.jsonl")
    assert said.returncode == 0, said.stderr
    assert "accepted  SIMULATED" in said.stdout
    assert "It proves" in said.stdout
    assert "It does not prove" in said.stdout
    shown = coterie("receipt", "show", run / "receipt.jsonl")
    assert "acme-worker joined with" in shown.stdout
    listed = coterie("receipt", "show", run / "receipt.jsonl", "--json")
    assert [entry["kind"] for entry in json.loads(listed.stdout)][:2] == ["server", "contract"]


def test_a_changed_byte_is_refused_with_its_place(run: Path, tmp_path: Path) -> None:
    content = bytearray((run / "receipt.jsonl").read_bytes())
    content[content.index(b'"examples":') + 12] ^= 1
    (tmp_path / "touched.jsonl").write_bytes(bytes(content))
    said = coterie("receipt", "verify", tmp_path / "touched.jsonl", "--json")
    assert said.returncode == 3
    error = json.loads(said.stdout)
    assert (error["error"], error["place"]) == ("ReceiptRefused", "line 5 (joined)")
    text = coterie("receipt", "verify", tmp_path / "touched.jsonl")
    assert "line 5 (joined)" in text.stderr
    assert "Traceback" not in text.stderr


def test_another_time_can_be_asked_for(run: Path) -> None:
    """Certificates live for hours, so years later nothing of it was fresh."""
    said = coterie("receipt", "verify", run / "receipt.jsonl", "--at", "2049-01-01", "--json")
    assert said.returncode == 3
    error = json.loads(said.stdout)
    assert error["place"] == "line 4 (attested)"
    assert "certificate_validity" in error["what"]


def test_another_contract_or_model_is_refused(
    run: Path, sdt: Scene, sdt_bench: Ran, tmp_path: Path
) -> None:
    receipt = run / "receipt.jsonl"
    other = coterie("receipt", "verify", receipt, "--contract", sdt.contract, "--json")
    assert other.returncode == 3
    assert json.loads(other.stdout)["place"] == "line 2 (contract)"
    model = tmp_path / "model.coterie"
    model.write_bytes(b"no model")
    damaged = coterie("receipt", "verify", receipt, "--model", model, "--json")
    assert json.loads(damaged.stdout)["error"] == "ModelDamaged"
    out = sdt_bench.out / "attested-0"
    swapped = coterie("receipt", "verify", receipt, "--model", out / "model.coterie", "--json")
    assert swapped.returncode == 3
    assert json.loads(swapped.stdout)["place"] == "the model"
    accepted = coterie("receipt", "verify", out / "receipt.jsonl", "--model", out / "model.coterie")
    assert accepted.returncode == 0, accepted.stderr


def test_a_killed_server_goes_on_with_its_receipt(
    hfl_digest: str, federation: Federation, start_node: StartNode, start_thread: StartThread
) -> None:
    server, address = federation.server(start_node)
    workers = [federation.worker(start_thread, address, party=party) for party in ("acme", "bolt")]
    server.wait_event("CheckpointWritten")
    server.kill()
    again, _ = federation.server(start_thread, address)
    again.wait_event("Finished")
    assert [node.finish() for node in (again, *workers)] == [0, 0, 0]
    said = result_json(
        coterie("receipt", "verify", federation.folder / "ps0" / "receipt.jsonl", "--json")
    )
    outcome, evidence = said["outcome"], said["evidence"]
    assert isinstance(outcome, dict)
    assert isinstance(evidence, list)
    assert outcome["model_digest"] == hfl_digest
    assert said["server_starts"] == 2
    servers = [proved["key"] for proved in evidence if proved["node"] == "ps0"]
    assert len(set(servers)) == 2
    assert said["joins"] == {"acme-worker": 2, "bolt-worker": 2}


def test_a_party_looks_at_a_running_server(
    federation: Federation, start_thread: StartThread
) -> None:
    server, address = federation.server(start_thread)
    acme = federation.worker(start_thread, address, party="acme")
    server.wait_event("Joined")
    question = ("status", address, "--contract", federation.contract, "--json", "--party-key")
    said = result_json(coterie(*question, federation.key("bolt")))
    assert (said["node"], said["phase"], said["stamp"]) == ("ps0", "gathering", "SIMULATED")
    assert (said["joined"], said["missing"]) == (["acme-worker"], ["bolt-worker"])
    peers = said["peers"]
    assert isinstance(peers, list)
    assert [peer["node"] for peer in peers] == ["acme-worker"]
    table = coterie(*question[:4], "--party-key", federation.key("bolt"))
    assert "gathering" in table.stdout, table.stderr
    assert "bolt-worker" in table.stdout

    stranger = federation.folder / "stranger.pem"
    made = coterie("contract", "keygen", stranger)
    assert made.returncode == 0, made.stderr
    refused = coterie(*question, stranger)
    assert refused.returncode == 4
    assert json.loads(refused.stdout)["error"] == "SignatureRefused"

    bolt = federation.worker(start_thread, address, party="bolt")
    server.wait_event("Finished")
    assert [node.finish() for node in (server, acme, bolt)] == [0, 0, 0]


def test_another_shard_is_in_the_receipt(
    raw: Path, tmp_path: Path, start_thread: StartThread
) -> None:
    first = '{ name = "ps0", role = "ps", party = "operator", address = "127.0.0.1:0" }'
    text = contract_text("hfl").replace(first, f"{first},\n    {first.replace('ps0', 'ps1')}")
    two = Federation(tmp_path, make_scene("hfl", raw, tmp_path, text))
    ps0, address = two.server(start_thread)
    known = ["--address", f"ps0={address}"]
    ps1 = start_thread(
        *(two.contract, "ps1", "--listen", "127.0.0.1:0", "--out", tmp_path / "ps1"),
        *("--party-key", two.key("operator"), *known),
    )
    known += ["--address", f"ps1={ps1.wait_event('Listening')['address']}"]
    workers = [
        start_thread(
            *(two.contract, f"{party}-worker", "--data", two.data / party, *known),
            *("--party-key", two.key(party), "--out", tmp_path / f"{party}-out"),
        )
        for party in ("acme", "bolt")
    ]
    assert [node.finish() for node in (ps0, ps1, *workers)] == [0, 0, 0, 0]
    model = tmp_path / "acme-out" / "model.coterie"
    receipt = tmp_path / "ps0" / "receipt.jsonl"
    said = result_json(coterie("receipt", "verify", receipt, "--model", model, "--json"))
    evidence = said["evidence"]
    assert isinstance(evidence, list)
    assert {proved["node"] for proved in evidence} == {
        "ps0", "ps1", "acme-worker", "bolt-worker",
    }  # fmt: skip
    assert not (tmp_path / "ps1" / "receipt.jsonl").exists()
