"""One contract, several kinds of TEE: of server and workers, in simulated enclaves, SNP guests and guests of Azure."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest

from coterie.contract.endorsement_trust import SIMULATED_PUBLISHER
from coterie.contract.token_trust import SIMULATED_SERVICE
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
ALTERNATIVE = AZURE_WORKER.replace("[trust.roles.worker]", "[[trust.roles.worker.alternatives]]").replace(
    "roles.worker.vtpm", "roles.worker.alternatives.vtpm"
)  # fmt: skip
KINDS = {"acme": "simulated-snp", "bolt": "simulated-azure-snp"}
AZURE_SERVER = """[trust.roles.ps]
tee = "simulated-azure-tdx"
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
td_attributes = ["0000000000000000"]
""" + VTPM.replace("ROLE", "ps")


# What is demanded beside evidence, of the simulated publisher and service.
DEMANDING_WORKER = f"""{SNP_WORKER}
[trust.roles.worker.endorsement]
roots = ["{SIMULATED_PUBLISHER}"]
minimum_svn = 3
[[trust.roles.worker.tokens]]
service = "google"
issuer = "https://tokens.example"
audience = "coterie"
keys = ["{SIMULATED_SERVICE}"]
algorithms = ["ES256"]
nonce_claim = "eat_nonce"
claims = {{ dbgstat = ["disabled-since-boot"] }}
"""


def mixed_text(server: str = SERVER, worker: str = SNP_WORKER) -> str:
    text = contract_text("hfl")
    assert text.count(WORKER) == text.count(SERVER) == 1
    return text.replace(WORKER, worker).replace(SERVER, server)


def two_kinds_text(kinds: dict[str, str] = KINDS, *, named: bool = True) -> str:
    """A server in an enclave, one worker in an SNP guest and one in a guest of Azure."""
    text = mixed_text(worker=SNP_WORKER + ALTERNATIVE)
    for party, kind in kinds.items() if named else ():
        node = f'name = "{party}-worker", '
        assert text.count(node) == 1
        text = text.replace(node, f'{node}tee = "{kind}", ')
    return text


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (two_kinds_text(), ["simulated", *KINDS.values()]),
        (mixed_text(worker=DEMANDING_WORKER), ["simulated", "simulated-snp", "simulated-snp"]),
        (mixed_text(AZURE_SERVER), ["simulated-azure-tdx", "simulated-snp", "simulated-snp"]),
        (
            mixed_text(AZURE_SERVER, AZURE_WORKER),
            ["simulated-azure-tdx", "simulated-azure-snp", "simulated-azure-snp"],
        ),
    ],
    ids=["SGX, SNP and Azure", "SGX and SNP with more demands", "Azure and SNP", "Azure alone"],
)
def test_a_run_trains_the_model_of_one_kind_and_its_receipt_is_accepted(
    raw: Path, tmp_path: Path, hfl_digest: str, text: str, kinds: list[str]
) -> None:
    scene = make_scene("hfl", raw, tmp_path, text)
    out = tmp_path / "out"
    ran = coterie("run", scene.contract, "--data", scene.data, "--out", out, "--json")
    assert ran.returncode == 0, ran.stderr
    kept = json.loads((out / "result.json").read_text())
    assert (kept["tee"], kept["model_digest"]) == ("SIMULATED", hfl_digest)
    said = result_json(
        coterie("receipt", "verify", out / "receipt.jsonl", "--contract", out / "contract.json", "--json")
    )  # fmt: skip
    assert (said["accepted"], said["stamp"]) == (True, "SIMULATED")
    proved = said["evidence"]
    assert isinstance(proved, list)
    nodes = ("ps0", "acme-worker", "bolt-worker")
    assert {one["node"]: one["tee"] for one in proved} == dict(zip(nodes, kinds, strict=True))


@pytest.mark.parametrize(
    ("party", "shown", "wanted"),
    [
        ("acme", "an Azure guest above SEV-SNP", "a simulated SNP guest"),
        ("bolt", "SEV-SNP", "a simulated Azure guest above SNP"),
    ],
)
def test_a_worker_in_the_kind_of_the_other_worker_is_refused(
    raw: Path, tmp_path: Path, start_node: StartNode, party: str, shown: str, wanted: str
) -> None:
    """Its own contract has the two kinds exchanged: the server's is what counts."""
    federation = Federation(tmp_path, make_scene("hfl", raw, tmp_path, two_kinds_text()))
    server, address = federation.server(start_node)
    text = federation.text
    for worker, (own, other) in zip(KINDS, permutations(KINDS.values()), strict=True):
        node = f'"{worker}-worker", tee = '
        assert f'{node}"{own}"' in text
        text = text.replace(f'{node}"{own}"', f'{node}"{other}"')
    exchanged = federation.write("exchanged.toml", text)
    federation.worker(start_node, address, contract=exchanged, party=party)
    refused = server.wait_event("Refused")
    assert refused["error"] == "EvidenceRefused"
    assert (
        f"[tee_kind] the evidence is from {shown}, real or simulated; "
        f"expected: from {wanted}: it proves nothing; "
    ) in str(refused["reason"])


LISTED = "name simulated-snp or simulated-azure-snp"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            two_kinds_text(named=False),
            f"node acme-worker names no tee, and trust.roles.worker lists several: {LISTED}",
        ),
        (
            two_kinds_text({"acme": "simulated-snp", "bolt": "simulated-azure-tdx"}),
            f"names tee 'simulated-azure-tdx', which trust.roles.worker does not list: {LISTED}",
        ),
    ],
    ids=["no kind", "a kind that is not listed"],
)
def test_a_node_does_not_start_under_a_contract_that_leaves_its_kind_open(
    tmp_path: Path, text: str, said: str
) -> None:
    contract = tmp_path / "contract.toml"
    contract.write_text(text)
    ended = coterie("node", contract, "bolt-worker", "--address", "ps0=127.0.0.1:9")
    assert ended.returncode == 4
    assert said in " ".join(ended.stderr.split())


def test_a_worker_attests_the_server_in_its_own_kind(
    raw: Path, tmp_path: Path, start_node: StartNode
) -> None:
    federation = Federation(tmp_path, make_scene("hfl", raw, tmp_path, two_kinds_text()))
    _, address = federation.server(start_node)
    for party in KINDS:
        said = result_json(
            coterie(
                "attest", "peer", address, "--contract", federation.contract,
                "--as", f"{party}-worker", "--party-key", federation.key(party), "--json",
            )
        )  # fmt: skip
        assert (said["accepted"], said["tee"], said["stamp"]) == (True, "simulated", "SIMULATED")


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
