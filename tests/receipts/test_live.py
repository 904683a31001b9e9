"""Receipts of whole attested runs in this process: real servers, real gRPC over RA-TLS, fake gradients."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner, Result

from coterie.attestation.measurement import own_package_measurement
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.cli.receipt import app as receipt_app
from coterie.cli.status import status
from coterie.contract import Contract, Node, canonical_json
from coterie.contract.signatures import public_key_text, sign_contract
from coterie.errors import CoterieError, ModelDamaged, NodeMissing, ReceiptRefused, SignatureRefused
from coterie.nodes.attested import AttestedFabric
from coterie.nodes.options import NodeOptions
from coterie.nodes.process import new_incarnation, run_node
from coterie.ps.service import ParameterService
from coterie.ratls.trust import TrustContext, make_trust
from coterie.ratls.voucher import PartyKeyVouchers
from coterie.receipts.findings import Findings
from coterie.receipts.verification import verify_receipt
from coterie.runs import events
from coterie.runs.run_files import RECEIPT
from coterie.trained.trained_model import TrainedModel
from coterie.training.client import ServerClient
from tests.ps.conftest import counts_of, small_contract, train_worker
from tests.ratls.conftest import Clock

pytestmark = pytest.mark.long


EXAMPLES = 16
STATUS = typer.Typer()
STATUS.command()(status)


class Watched(AttestedFabric):
    """Lets a test end the server that it serves."""

    service: ParameterService | None = None

    @contextmanager
    def serve_parameter_server(self, service: ParameterService) -> Iterator[None]:
        self.service = service
        with super().serve_parameter_server(service):
            yield


@dataclass
class Live:
    """A contract's servers and workers as threads.

    Attributes:
        folder: For what servers keep.
        contract: With keys of its parties.
        addresses: Where servers listen, by name.
        heard: Events by server.
    """

    folder: Path
    keys: dict[str, Ed25519PrivateKey]
    contract: Contract
    clock: Clock = field(default_factory=Clock)
    addresses: dict[str, str] = field(default_factory=dict)
    heard: dict[str, list[events.Event]] = field(default_factory=dict)
    listening: threading.Condition = field(default_factory=threading.Condition)
    fabrics: dict[str, Watched] = field(default_factory=dict)

    @staticmethod
    def of(folder: Path, *, shards: int = 1) -> Live:
        bare = small_contract(shards=shards, checkpoint_steps=1, limits={"step_seconds": 60.0})
        keys = {party.name: Ed25519PrivateKey.generate() for party in bare.parties}
        parties = tuple(
            party.model_copy(update={"key": public_key_text(keys[party.name])})
            for party in bare.parties
        )
        return Live(folder, keys, bare.model_copy(update={"parties": parties}))

    def node(self, name: str) -> Node:
        return next(node for node in self.contract.nodes if node.name == name)

    def trust(self, name: str, incarnation: int) -> TrustContext:
        vouchers = PartyKeyVouchers(self.keys[self.node(name).party], clock=self.clock)
        tee = SimulatedTee(own_package_measurement(tensorflow=False))
        return make_trust(self.contract, name, tee, vouchers, self.clock, incarnation=incarnation)

    def fabric(
        self, name: str, on_event: Callable[[events.Event], None], incarnation: int
    ) -> Watched:
        signatures = tuple(sign_contract(self.contract, key, p) for p, key in self.keys.items())
        options = NodeOptions(
            listen=self.addresses.get(name, "127.0.0.1:0"),
            addresses=self.addresses,
        )
        made = Watched(
            self.contract,
            self.node(name),
            options,
            self.trust(name, incarnation),
            on_event=on_event,
            signatures=signatures,
        )
        self.fabrics[name] = made
        return made

    def serve(self, name: str) -> None:
        """A server's process, start to end."""
        heard = self.heard.setdefault(name, [])

        def hear(event: events.Event) -> None:
            with self.listening:
                heard.append(event)
                if isinstance(event, events.Listening):
                    self.addresses[name] = event.address
                self.listening.notify_all()

        run_node(
            self.contract,
            self.node(name),
            NodeOptions(out=self.folder / name),
            lambda on_event, incarnation: self.fabric(name, on_event, incarnation),
            "ra-tls",
            on_event=hear,
        )

    def stop_server(self, name: str = "ps0") -> None:
        """Ends a server with an error."""
        service = self.fabrics[name].service
        assert service is not None
        service.fail(NodeMissing("stopped by the test"))

    def wait_listening(self, name: str) -> None:
        with self.listening:
            assert self.listening.wait_for(lambda: name in self.addresses, 30)

    def work(self, worker: int, until: int | None = None) -> None:
        """A worker's process; ends early after ``until`` steps."""
        fabric = self.fabric(f"w{worker}", lambda _: None, new_incarnation())
        session = ServerClient(
            fabric.parameter_server,
            self.contract,
            train_examples=EXAMPLES,
            data_set_digest=bytes([worker]) * 32,
        )
        try:
            train_worker(worker, session, until)
            if until is None:
                session.report(counts_of(worker))
                session.leave()
        finally:
            session.close()
            fabric.close()

    def run(self, *servers: str) -> None:
        """A whole run."""
        with ThreadPoolExecutor(8) as pool:
            serving: list[Future[None]] = []
            for server in servers:
                serving.append(pool.submit(self.serve, server))
                self.wait_listening(server)
            working = [pool.submit(self.work, worker) for worker in range(2)]
            for future in (*working, *serving):
                future.result(timeout=100)

    def wait_event(self, server: str, kind: type[events.Event]) -> None:
        with self.listening:
            assert self.listening.wait_for(
                lambda: any(isinstance(event, kind) for event in self.heard[server]), 60
            )

    def verify(self) -> Findings:
        return verify_receipt(self.folder / "ps0" / RECEIPT, expected=self.contract)

    def contract_file(self) -> Path:
        path = self.folder / "contract.json"
        path.write_bytes(canonical_json(self.contract))
        return path

    def key_file(self, party: str) -> Path:
        path = self.folder / f"{party}.pem"
        pem = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        path.write_bytes(self.keys[party].private_bytes(*pem))
        return path


@pytest.mark.parametrize("shards", [1, 2])
def test_a_run_tells_of_itself(tmp_path: Path, shards: int) -> None:
    live = Live.of(tmp_path, shards=shards)
    servers = [f"ps{shard}" for shard in range(shards)]
    live.run(*servers)
    found = live.verify()
    assert found.gaps == ()
    assert {proved.node for proved in found.proved} == {*servers, "w0", "w1"}
    assert found.signers == ("operator", "p0", "p1")
    assert found.outcome.steps == 4
    (finished,) = (e for e in live.heard["ps0"] if isinstance(e, events.Finished))
    assert found.outcome.model_digest == finished.result["model_digest"]
    told = [e for e in live.heard["ps0"] if isinstance(e, events.CheckpointWritten)]
    assert found.history.checkpoints == len(told) > 0
    assert found.history.last_checkpoint == (told[-1].step, told[-1].digest)
    assert not (tmp_path / "ps1" / RECEIPT).exists()


@pytest.mark.parametrize("until", [1, 2, 3])
def test_a_server_that_starts_again_goes_on_with_its_receipt(tmp_path: Path, until: int) -> None:
    live = Live.of(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(live.serve, "ps0")
        live.wait_listening("ps0")
        for done in [pool.submit(live.work, worker, until) for worker in range(2)]:
            done.result(timeout=60)
        live.stop_server()
        with pytest.raises(CoterieError):
            first.result(timeout=60)
    live.addresses.clear()
    live.run("ps0")
    found = live.verify()
    assert found.gaps == ()
    assert found.history.starts == 2
    assert found.history.failures == ["NodeMissing: stopped by the test"]
    assert found.history.joins == {"w0": 2, "w1": 2}
    assert found.outcome.steps == 4


def coterie(app: typer.Typer, *arguments: str | Path) -> Result:
    """A verb of the command line, in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_line_checks_and_shows_it(tmp_path: Path) -> None:
    live = Live.of(tmp_path)
    live.run("ps0")
    receipt, contract = tmp_path / "ps0" / RECEIPT, live.contract_file()
    accepted = coterie(receipt_app, "verify", receipt, "--contract", contract, "--json")
    said = json.loads(accepted.stdout)
    assert (said["accepted"], said["gaps"], said["signed_by"]) == (
        True,
        [],
        ["operator", "p0", "p1"],
    )
    assert said["proves"]
    assert said["does_not_prove"]
    words = coterie(receipt_app, "verify", receipt)
    assert "accepted  SIMULATED" in words.stdout
    assert "w1 trained on 16 examples" in words.stdout
    shown = coterie(receipt_app, "show", receipt)
    assert "w0 joined with 16 examples" in shown.stdout

    touched = tmp_path / "touched.jsonl"
    content = bytearray(receipt.read_bytes())
    content[-20] ^= 1
    touched.write_bytes(bytes(content))
    refused = coterie(receipt_app, "verify", touched)
    assert isinstance(refused.exception, ReceiptRefused)
    assert refused.exception.place.endswith("(outcome)")
    late = coterie(receipt_app, "verify", receipt, "--at", "2049-01-01")
    assert isinstance(late.exception, ReceiptRefused)
    assert "certificate_validity" in late.exception.what
    no_model = coterie(receipt_app, "verify", receipt, "--model", contract)
    assert isinstance(no_model.exception, ModelDamaged)


def test_a_model_that_did_not_come_out_is_refused(tmp_path: Path) -> None:
    live = Live.of(tmp_path)
    live.run("ps0")
    model, receipt = tmp_path / "model.coterie", tmp_path / "ps0" / RECEIPT
    dense = np.zeros(15, np.float32)
    TrainedModel.of(
        live.contract, 4, dense, np.zeros(0, np.int32), np.zeros((0, 2), np.float32)
    ).write(model)
    refused = coterie(receipt_app, "verify", receipt, "--model", model)
    assert isinstance(refused.exception, ReceiptRefused)
    assert refused.exception.place == "the model"
    assert "its digest is another" in refused.exception.what
    other = live.contract.model_copy(update={"name": "other"})
    TrainedModel.of(other, 4, dense, np.zeros(0, np.int32), np.zeros((0, 2), np.float32)).write(
        model
    )
    refused = coterie(receipt_app, "verify", receipt, "--model", model)
    assert isinstance(refused.exception, ReceiptRefused)
    assert "its contract is another" in refused.exception.what


def test_a_party_looks_at_a_running_server(tmp_path: Path) -> None:
    live = Live.of(tmp_path, shards=2)
    with ThreadPoolExecutor(8) as pool:
        serving = []
        for server in ("ps0", "ps1"):
            serving.append(pool.submit(live.serve, server))
            live.wait_listening(server)
        first = pool.submit(live.work, 0)
        live.wait_event("ps0", events.Joined)
        question: list[str | Path] = [
            "--contract",
            live.contract_file(),
            "--party-key",
            live.key_file("p1"),
        ]
        said = coterie(STATUS, live.addresses["ps0"], "--node", "ps0", "--json", *question)
        seen = json.loads(said.stdout)
        assert (seen["node"], seen["phase"], seen["stamp"]) == ("ps0", "gathering", "SIMULATED")
        assert (seen["joined"], seen["missing"]) == (["w0"], ["w1"])
        assert [peer["node"] for peer in seen["peers"]] == ["ps1", "w0"]
        table = coterie(STATUS, live.addresses["ps1"], "--node", "ps1", *question)
        assert table.exit_code == 0
        assert "ps1: gathering" in table.stdout
        live.keys["eve"] = Ed25519PrivateKey.generate()
        stranger = [*question[:2], "--party-key", live.key_file("eve")]
        refused = coterie(STATUS, live.addresses["ps0"], "--node", "ps0", *stranger)
        assert isinstance(refused.exception, SignatureRefused)
        del live.keys["eve"]
        second = pool.submit(live.work, 1)
        for future in (first, second, *serving):
            future.result(timeout=100)
    assert live.verify().gaps == ()


def test_a_shard_that_lost_its_state_is_told(tmp_path: Path) -> None:
    live = Live.of(tmp_path, shards=2)
    with ThreadPoolExecutor(8) as pool:
        lead = pool.submit(live.serve, "ps0")
        live.wait_listening("ps0")
        shard = pool.submit(live.serve, "ps1")
        live.wait_listening("ps1")
        for done in [pool.submit(live.work, worker, 2) for worker in range(2)]:
            done.result(timeout=60)
        live.stop_server("ps1")
        with pytest.raises(CoterieError):
            shard.result(timeout=60)
        again = pool.submit(live.serve, "ps1")
        live.wait_event("ps0", events.Restarted)
        working = [pool.submit(live.work, worker) for worker in range(2)]
        for future in (*working, again, lead):
            future.result(timeout=100)
    found = live.verify()
    (told,) = (e for e in live.heard["ps0"] if isinstance(e, events.Restarted))
    assert found.history.went_back == [told.step]
    assert found.history.starts == 1
    assert found.gaps == ()
    assert len([proved for proved in found.proved if proved.node == "ps1"]) == 2
