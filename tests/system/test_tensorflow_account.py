"""What a TensorFlow cluster of several parties leaves behind and shows while it runs: receipt, status, metrics."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from coterie.contract import load_contract
from coterie.contract.signatures import generate_party_key, public_key_text
from coterie.nodes.stopping import EXIT_CODE
from faults.loopback import free_addresses
from tests.system.clusters import EXAMPLES, ClusterNode
from tests.system.conftest import coterie

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("loopback", "native_part"),
]

PROGRAM = EXAMPLES / "dlrm_between_graph.py"
PARTIES = {"ps0": "host", "worker0": "acme", "worker1": "bolt"}


class Federated:
    """Three parties with keys of their own, who have signed one contract, each with one node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        text = (EXAMPLES / "federated.toml").read_text()
        for party in PARTIES.values():
            key = public_key_text(generate_party_key(self.key(party)))
            text = text.replace(f'name = "{party}"\n', f'name = "{party}"\nkey = "{key}"\n', 1)
        digests = json.loads(coterie("tensorflow", "measure", PROGRAM, "--json").stdout)
        lines = "".join(f'{name} = "{digest}"\n' for name, digest in digests.items())
        text = text.replace("[tensorflow]\n", f"[tensorflow]\n{lines}")
        text = text.replace('tee = "simulated"\n', 'tee = "simulated"\ndemand_signatures = true\n')
        self.address, metrics = free_addresses(2)
        self.metrics_port = metrics.rpartition(":")[2]
        self.program = digests["program"]
        self.contract = folder / "contract.toml"
        self.contract.write_text(text.replace("127.0.0.1:7440", self.address))
        self.running: list[ClusterNode] = []

    def key(self, party: str) -> Path:
        return self.folder / f"{party}.pem"

    def sign(self, *parties: str) -> None:
        for party in parties:
            signed = coterie(
                *("contract", "sign", self.contract, "--party", party, "--key", self.key(party))
            )
            assert signed.returncode == 0, signed.stderr

    def start(self, name: str, *options: str, key: str | None = None) -> ClusterNode:
        node = ClusterNode(
            self.contract,
            name,
            PROGRAM,
            key=self.key(key or PARTIES[name]),
            options=options,
            arguments=["--sync", "--steps", "100000", "--rows", "1000", "--batch", "16"],
            supervised=False,
        )
        self.running.append(node)
        return node

    def status(self, party: str) -> dict[str, object]:
        asked = coterie(
            *("status", self.address, "--contract", self.contract),
            *("--party-key", self.key(party), "--json"),
        )
        assert asked.returncode == 0, asked.stderr
        said = json.loads(asked.stdout)
        assert isinstance(said, dict)
        return said

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as reply:
            lines = reply.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def close(self) -> None:
        for node in self.running:
            node.close()


@pytest.fixture
def federated(tmp_path: Path) -> Iterator[Federated]:
    made = Federated(tmp_path)
    yield made
    made.close()


def test_parties_see_a_cluster_while_it_runs_and_verify_who_took_part(
    federated: Federated, tmp_path: Path
) -> None:
    federated.sign("host", "acme", "bolt")
    out = tmp_path / "ps0"
    server = federated.start("ps0", "--out", str(out), "--metrics-port", federated.metrics_port)
    first = federated.start("worker0")
    assert server.event("Attested")["peer"] == "worker0"
    waiting = federated.status("bolt")
    assert (waiting["phase"], waiting["program"]) == ("waiting", federated.program)
    assert "worker1" in str(waiting["missing"])

    second = federated.start("worker1")
    for worker in (first, second):
        worker.printed("step 2 ")
    running = federated.status("acme")
    assert (running["phase"], running["missing"], running["refused_calls"]) == ("running", [], 0)
    peers = running["peers"]
    assert isinstance(peers, list)
    assert [peer["node"] for peer in peers] == ["worker0", "worker1"]
    shown = federated.metrics()
    assert shown["coterie_attested_peers"] == 2
    for name in ("worker0", "worker1"):
        labels = f'method="RunGraph",peer="{name}",side="server"'
        assert shown[f'coterie_calls_total{{error="",{labels}}}'] > 0
        assert shown[f"coterie_received_bytes_total{{{labels}}}"] > 0

    for node in (first, second, server):
        node.process.terminate()
        assert node.process.wait(60) == EXIT_CODE
    verified = coterie("receipt", "verify", out, "--contract", federated.contract, "--json")
    assert verified.returncode == 0, verified.stderr
    found = json.loads(verified.stdout)
    assert found["signed_by"] == ["host", "acme", "bolt"]
    assert found["joins"] == {"worker0": 1, "worker1": 1}
    assert found["tensorflow"]["program"] == federated.program
    assert found["tensorflow"]["endings"] == ["stopped"]
    assert (found["outcome"], found["gaps"]) == (None, [])
    model = coterie("receipt", "verify", out, "--model", federated.contract)
    assert model.returncode == 3
    assert "names no model" in model.stderr


def test_a_server_that_is_killed_leaves_an_open_receipt(
    federated: Federated, tmp_path: Path
) -> None:
    federated.sign("host", "acme", "bolt")
    server = federated.start("ps0", "--out", str(tmp_path / "ps0"))
    workers = [federated.start(name) for name in ("worker0", "worker1")]
    for worker in workers:
        worker.printed("step 1 ")
    server.close()
    verified = coterie("receipt", "verify", tmp_path / "ps0", "--json")
    assert verified.returncode == 0, verified.stderr
    found = json.loads(verified.stdout)
    assert found["tensorflow"]["endings"] == []
    assert "does not say how it ended" in found["gaps"][0]


def test_no_node_starts_without_every_partys_consent(federated: Federated) -> None:
    federated.sign("host", "acme")
    for name in PARTIES:
        node = federated.start(name)
        said = node.errors()
        assert node.process.returncode == 4
        assert json.loads("\n".join(said))["seen"] == "none of bolt"


def test_no_node_runs_by_another_partys_key(federated: Federated) -> None:
    federated.sign("host", "acme", "bolt")
    node = federated.start("worker1", key="acme")
    error = node.event("Failed")["error"]
    assert isinstance(error, dict)
    assert error["error"] in {"SignatureRefused", "VoucherRefused"}
    assert node.process.wait(60) == 3


def test_a_run_on_one_machine_keeps_a_receipt_and_no_keys(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("tensorflow", "run", "--out", out, EXAMPLES / "federated.toml", PROGRAM)
    finished = coterie(*arguments, "--", "--sync", "--steps", "3", "--rows", "1000")
    assert finished.returncode == 0, finished.stderr[-4000:]
    verified = coterie("receipt", "verify", out, "--contract", out / "contract.json", "--json")
    assert verified.returncode == 0, verified.stderr
    found = json.loads(verified.stdout)
    assert found["joins"] == {"worker0": 1, "worker1": 1}
    assert found["tensorflow"]["endings"] == ["stopped"]
    assert load_contract(out / "contract.json").parties[0].key is not None
    assert not (out / "keys").exists()
    again = coterie(*arguments)
    assert again.returncode != 0
    assert "holds a run that has ended" in again.stderr


def test_a_chief_keeps_the_receipt_where_there_is_no_server(tmp_path: Path) -> None:
    out, program = tmp_path / "run", Path(__file__).parents[1] / "tensorflow/programs/dumpable.py"
    finished = coterie("tensorflow", "run", "--out", out, EXAMPLES / "mirrored.toml", program)
    assert finished.returncode == 0, finished.stderr[-4000:]
    verified = coterie("receipt", "verify", out, "--json")
    assert verified.returncode == 0, verified.stderr
    found = json.loads(verified.stdout)
    assert found["tensorflow"]["endings"] == ["returned"]
    assert found["tensorflow"]["refused_calls"] is None
    assert (out / "nodes" / "chief" / "receipt.jsonl").exists()
