"""One contract, two kinds of TEE: of server and workers, in a simulated enclave, SNP guest or guest of Azure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.system.conftest import (
    Federation,
    StartNode,
    contract_text,
    coterie,
    make_scene,
    result_json,
)

pytestmark = pytest.mark.system

WORKER = '[trust.roles.worker]\nmeasurement = "own"\naccepted_tcb_statuses = ["UpToDate"]\n'
SNP_WORKER = """[trust.roles.worker]
tee = "simulated-snp"
measurement = "own"
[trust.roles.worker.snp]
guest_policy = ["000000000003001f"]
vmpl = [0]
signing_key = ["vcek"]
[trust.roles.worker.snp.minimum_tcb]
milan = { bootloader = 4, tee = 0, snp = 22, microcode = 213 }
"""
SERVER = WORKER.replace("worker", "ps")
VTPM = """[trust.roles.ROLE.vtpm]
secure_boot = [true]
console = [false]
[trust.roles.ROLE.vtpm.pcrs]
7 = ["0000000000000000000000000000000000000000000000000000000000000000"]
"""
AZURE_WORKER = """[trust.roles.worker]
tee = "simulated-azure-snp"
measurement = "own"
""" + VTPM.replace("ROLE", "worker")
AZURE_SERVER = """[trust.roles.ps]
tee = "simulated-azure-tdx"
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
td_attributes = ["0000000000000000"]
""" + VTPM.replace("ROLE", "ps")


def mixed_text(server: str = SERVER, worker: str = SNP_WORKER) -> str:
    text = contract_text("hfl")
    assert text.count(WORKER) == text.count(SERVER) == 1
    return text.replace(WORKER, worker).replace(SERVER, server)


@pytest.mark.parametrize(
    ("server", "worker", "measured"),
    [
        (SERVER, SNP_WORKER, "launch_measurement"),
        (SERVER, AZURE_WORKER, "pcr11"),
        (AZURE_SERVER, SNP_WORKER, "mrtd"),
        (AZURE_SERVER, AZURE_WORKER, "attestation_key"),
    ],
    ids=["SGX and SNP", "SGX and Azure", "Azure and SNP", "Azure alone"],
)
def test_a_run_trains_the_model_of_one_kind_and_its_receipt_is_accepted(
    raw: Path, tmp_path: Path, hfl_digest: str, server: str, worker: str, measured: str
) -> None:
    scene = make_scene("hfl", raw, tmp_path, mixed_text(server, worker))
    out = tmp_path / "out"
    ran = coterie("run", scene.contract, "--data", scene.data, "--out", out, "--json")
    assert ran.returncode == 0, ran.stderr
    kept = json.loads((out / "result.json").read_text())
    assert (kept["tee"], kept["model_digest"]) == ("SIMULATED", hfl_digest)
    said = result_json(
        coterie("receipt", "verify", out / "receipt.jsonl", "--contract", out / "contract.json", "--json")
    )  # fmt: skip
    assert (said["accepted"], said["stamp"]) == (True, "SIMULATED")
    text = (out / "receipt.jsonl").read_text()
    assert '"amd_crl"' in text
    assert f'"{measured}"' in text


def test_a_worker_below_the_floor_is_refused_by_the_part(
    raw: Path, tmp_path: Path, start_node: StartNode
) -> None:
    text = mixed_text().replace("snp = 22", "snp = 23")
    federation = Federation(tmp_path, make_scene("hfl", raw, tmp_path, text))
    server, address = federation.server(start_node)
    federation.worker(start_node, address)
    refused = server.wait_event("Refused")
    assert refused["error"] == "EvidenceRefused"
    assert "[committed_tcb]" in str(refused["reason"])
    assert "floor: snp" in str(refused["reason"])


def test_a_worker_that_booted_otherwise_is_refused_by_its_pcr(
    raw: Path, tmp_path: Path, start_node: StartNode
) -> None:
    other = AZURE_WORKER.replace('7 = ["00', '7 = ["01')
    federation = Federation(tmp_path, make_scene("hfl", raw, tmp_path, mixed_text(worker=other)))
    server, address = federation.server(start_node)
    federation.worker(start_node, address)
    refused = server.wait_event("Refused")
    assert refused["error"] == "EvidenceRefused"
    assert "[pcr7]" in str(refused["reason"])
