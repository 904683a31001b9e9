"""Another run of the same contract, with its sealed folder in the first one's place: nobody follows it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from coterie.contract import load_contract
from coterie.ps.checkpoints.lineage import Announced
from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.training.rollback_guard import RollbackGuard
from tests.system.conftest import Federation, StartThread
from tests.system.sealed import PARTIES, demanding
from tests.system.test_refusals import failure
from tests.system.threads import ThreadNode

pytestmark = pytest.mark.system

COMPANIES = ("acme", "bolt")


@dataclass(frozen=True)
class Trained:
    """A finished run: its name, and the first checkpoint that was announced."""

    run: str
    first: DurableCheckpoint


def serve(federation: Federation, start: StartThread, out: Path) -> tuple[ThreadNode, str]:
    """The server, with every party's key: it puts the key of sealed checkpoints together."""
    keys = [f"{party}={federation.key(party)}" for party in PARTIES if party != "operator"]
    node = start(
        *(federation.contract, "ps0", "--listen", "127.0.0.1:0", "--out", out),
        *("--party-key", federation.key("operator")),
        *(word for key in keys for word in ("--party-key", key)),
    )
    return node, str(node.wait_event("Listening")["address"])


def train(federation: Federation, start: StartThread, name: str) -> Trained:
    server, address = serve(federation, start, federation.folder / name)
    workers = [
        federation.worker(start, address, party=party, out=federation.folder / f"{name}-{party}")
        for party in COMPANIES
    ]
    run = server.wait_event("Begun")["run"]
    first = server.wait_event("CheckpointWritten")
    assert [node.finish() for node in (server, *workers)] == [0, 0, 0]
    step = first["step"]
    assert isinstance(step, int)
    return Trained(str(run), DurableCheckpoint(step, bytes.fromhex(str(first["digest"]))))


@pytest.fixture
def sealing(federation: Federation) -> Federation:
    return demanding(federation, "seal_checkpoints = true")


def test_workers_of_one_run_do_not_go_on_with_the_folder_of_another_that_is_further(
    sealing: Federation, start_thread: StartThread
) -> None:
    mine, other = (train(sealing, start_thread, name) for name in ("mine", "other"))
    assert mine.run != other.run
    folders = {name: sealing.folder / name for name in ("concluded", "at its last step")}
    for folder, notes in zip(folders.values(), ("note-left-*", "note-*"), strict=True):
        shutil.copytree(sealing.folder / "other", folder)
        for note in (folder / "checkpoints").glob(notes):
            note.unlink()
    for party, (name, folder) in zip(COMPANIES, folders.items(), strict=True):
        out = sealing.folder / f"{party}-out"
        memory = RollbackGuard(out / "remembered-checkpoint.json", load_contract(sealing.contract))
        memory.remember(Announced(mine.run, mine.first))  # as the first run's announcement left it
        server, address = serve(sealing, start_thread, folder)
        worker = sealing.worker(start_thread, address, party=party, out=out)
        for node in (worker, server):
            error = failure(node)
            assert error["error"] == "RollbackRefused", name
            assert "goes on with another run" in error["what"]
            assert f"run {mine.run}, step {mine.first.step} " in error["expected"]
            assert f"run {other.run}, step " in error["seen"]
            assert node.finish() == 3


def test_workers_do_not_go_on_with_a_receipt_whose_end_was_cut_off(
    sealing: Federation, start_thread: StartThread
) -> None:
    train(sealing, start_thread, "mine")
    folder = sealing.folder / "mine"
    for note in (folder / "checkpoints").glob("note-left-*"):
        note.unlink()
    receipt = folder / "receipt.jsonl"
    lines = receipt.read_bytes().splitlines(keepends=True)
    receipt.write_bytes(b"".join(lines[:4]))
    server, address = serve(sealing, start_thread, folder)
    worker = sealing.worker(start_thread, address, out=sealing.folder / "mine-acme")
    for node in (worker, server):
        error = failure(node)
        assert error["error"] == "ReceiptRefused"
        assert "the end of the receipt was cut off" in error["what"]
        assert node.finish() == 3
