"""A short run whose receipt is kept: real keys and handshakes, events as shard 0 emits them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from coterie.attestation.appraiser import Appraiser
from coterie.contract import Contract, contract_digest
from coterie.contract.signatures import ContractSignature, sign_contract
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.peer import Peer
from coterie.ratls.trust import TrustContext
from coterie.receipts import entries
from coterie.receipts.entry_types import Body
from coterie.receipts.findings import Findings
from coterie.receipts.reading import read_entries
from coterie.receipts.recorder import Recorder
from coterie.receipts.verification import verify_receipt
from coterie.runs import events
from coterie.runs.outcome import RunEnd
from coterie.runs.result import RunResult
from coterie.runs.run_files import RECEIPT
from tests.ratls.conftest import MEASUREMENT, World, nothing_leaks

__all__ = ["nothing_leaks"]

EXAMPLES = 256  # of each worker: two steps of 128
MODEL = "ab" * 32
RUN = "5e" * 32
END = RunEnd(RUN, f"{2:064x}")


def judge(contract: Contract) -> Appraiser:
    """Judges by the measurement that this world's nodes have."""
    return Appraiser(contract.trust, own_measurement=MEASUREMENT)


@dataclass
class Keeping:
    """Parties, their nodes, and the folder of the node that keeps the receipt.

    Attributes:
        world: Parties, keys, a clock to turn.
        folder: Where the receipt is.
        server: The trust of that node.
    """

    world: World
    folder: Path
    server: TrustContext = field(init=False)

    def __post_init__(self) -> None:
        self.server = self.world.trust("ps0", incarnation=1)

    @property
    def path(self) -> Path:
        return self.folder / RECEIPT

    def signatures(self) -> tuple[ContractSignature, ...]:
        contract = self.world.contract
        return tuple(sign_contract(contract, key, name) for name, key in self.world.keys.items())


class Scene(Keeping):
    """A run of Coterie's own engine: shard 0 keeps its receipt."""

    def recorder(self) -> Recorder:
        """The server's process starts; the first one begins a run."""
        begins = not self.path.exists() or len(self.path.read_bytes().splitlines()) < 2
        recorder = Recorder(self.folder, self.server, self.signatures())
        if begins:
            recorder.on_event(events.Begun(RUN))
        return recorder

    def attest(self, recorder: Recorder | None, node: str, incarnation: int = 7) -> Peer:
        """A real handshake of a node with the server."""
        heard: list[Peer] = []

        def admit(peer: Peer) -> int:
            heard.append(peer)
            if recorder is not None:
                recorder.attested(peer)
            return 1

        trust = self.world.trust(node, incarnation=incarnation)
        self.world.handshake(trust, self.server, admit=admit).attested  # noqa: B018 (raises)
        return heard[0]

    def join(self, recorder: Recorder, node: str, incarnation: int = 7, data: int = 1) -> None:
        self.attest(recorder, node, incarnation)
        recorder.on_event(
            events.Joined(node, (), incarnation, EXAMPLES, f"{node[0]}{data}".encode().hex() * 16)
        )

    def run(self, recorder: Recorder, *, until: int = 2) -> None:
        """Everybody joins and trains; a stranger knocks."""
        for worker in ("acme-worker", "bolt-worker"):
            self.join(recorder, worker)
        recorder.on_event(
            events.Refused("ps0", "EvidenceRefused", "[tcb_status] debug (from 10.0.0.9)")
        )
        for step in range(1, until + 1):
            recorder.on_event(events.StepDone(step, 2, 256, 0.5 / step, float(step), 0.5, 1, 256))
            recorder.on_event(events.CheckpointWritten(step, f"{step:064x}"))

    def result(self, **changes: object) -> RunResult:
        """What the run amounts to."""
        values: dict[str, object] = {
            "mode": "hfl",
            "transport": "ra-tls",
            "tee": "SIMULATED",
            "nodes": 3,
            "steps": 2,
            "examples": 2 * EXAMPLES,
            "seconds": 2.0,
            "samples_per_second": 256.0,
            "train_loss": 0.375,
            "validation_auc": 0.75,
            "test_auc": 0.7,
            "test_logloss": 0.5,
            "test_accuracy": 0.8,
            "test_calibration": None,
            "model_digest": MODEL,
            "model_step": 2,
            "contract_digest": contract_digest(self.world.contract).hex(),
        }
        return RunResult.model_validate({**values, **changes})

    def whole(self) -> Path:
        """A finished run's receipt."""
        recorder = self.recorder()
        self.run(recorder)
        recorder.finish(self.result(), END)
        recorder.close()
        return self.path

    def verify(self, path: Path | None = None, *, at: datetime | None = None) -> Findings:
        return verify_receipt(path or self.path, appraiser_of=judge, at=at)

    def kinds(self) -> list[str]:
        return [entry.body.kind for entry in read_entries(self.path)]

    def bodies(self) -> list[Body]:
        return [entry.body for entry in read_entries(self.path)]


def resign(
    bodies: list[Body], identity: NodeIdentity, path: Path, at: Callable[[int], datetime]
) -> None:
    """Writes a receipt that says whatever it is told to, signed by a key: a program that lies."""
    resign_each(bodies, [identity] * len(bodies), path, at)


def resign_each(
    bodies: list[Body], signers: list[NodeIdentity], path: Path, at: Callable[[int], datetime]
) -> None:
    """The same, with a key for every entry."""
    previous, lines = entries.GENESIS, []
    for index, (body, identity) in enumerate(zip(bodies, signers, strict=True)):
        said = entries.statement(index=index, at=at(index), body=body, previous=previous)
        said["signature"] = identity.sign(entries.signed_bytes(said)).hex()
        line = entries.canonical(said)
        previous = entries.decode_line(line, index + 1).digest
        lines.append(line + b"\n")
    path.write_bytes(b"".join(lines))


def values(line: bytes) -> dict[str, object]:
    value = json.loads(line)
    assert isinstance(value, dict)
    return value


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(World(), tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A finished run, for those who only read it."""
    scene = Scene(World(), tmp_path_factory.mktemp("receipt"))
    scene.whole()
    return scene
