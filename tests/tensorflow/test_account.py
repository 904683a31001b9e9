"""What a TensorFlow node tells: to its host, to parties that ask, and in the receipt."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.errors import HandshakeFailed
from coterie.nodes.options import NodeOptions
from coterie.ratls.trust import TrustContext
from coterie.receipts.entry_types import ProgramEnded
from coterie.receipts.reading import read_entries
from coterie.runs.events import Event, Refused, Stopped
from coterie.runs.run_files import RECEIPT
from coterie.status.messages import SeenCluster
from coterie.tensorflow.account import Account
from coterie.tensorflow.calls.counts import CallCounts
from tests.receipts.test_cluster import PROGRAM, WHEEL, ClusterWorld


def account_of(trust: TrustContext, heard: list[Event], options: NodeOptions) -> Account:
    account = Account(trust.node, PROGRAM, heard.append)
    account.counts = CallCounts()
    account.keep_receipt(options, trust, ())
    return account


def kinds(folder: Path) -> list[str]:
    return [entry.body.kind for entry in read_entries(folder / RECEIPT)]


def test_a_party_sees_the_program_who_is_missing_and_what_was_refused() -> None:
    heard: list[Event] = []
    account = account_of(ClusterWorld().trust("ps0"), heard, NodeOptions())
    account.refused("10.0.0.9", HandshakeFailed("no TLS"), 3)
    assert account.counts is not None
    account.counts.refuse("acme-worker")
    program = bytes.fromhex(PROGRAM)
    assert account.overview(["bolt-worker"]) == SeenCluster(
        phase="waiting", missing=("bolt-worker",), program=program, refusals=3, refused_calls=1
    )
    account.begin(WHEEL)
    assert account.overview([]).phase == "running"
    assert isinstance(heard[0], Refused)


def test_being_told_to_end_is_in_the_receipt_before_it_is_told(tmp_path: Path) -> None:
    heard: list[Event] = []
    account = account_of(ClusterWorld().trust("ps0"), heard, NodeOptions(out=tmp_path))
    account.report(Stopped("ps0"))
    last = list(read_entries(tmp_path / RECEIPT))[-1].body
    assert last == ProgramEnded(how="stopped", refused_calls=0, not_kept={})
    assert heard == [Stopped("ps0")]


def test_an_end_that_cannot_be_written_does_not_keep_the_process_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []
    account = account_of(ClusterWorld().trust("ps0"), heard, NodeOptions(out=tmp_path))

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("coterie.chained_log.os.write", full)
    account.report(Stopped("ps0"))
    assert heard == [Stopped("ps0")]
    assert "the receipt is incomplete" in caplog.text


@pytest.mark.parametrize("node", ["acme-worker", "bolt-worker"])
def test_only_one_node_keeps_the_receipt(tmp_path: Path, node: str) -> None:
    account_of(ClusterWorld().trust(node), [], NodeOptions(out=tmp_path))
    assert not (tmp_path / RECEIPT).exists()
    account_of(ClusterWorld().trust("ps0"), [], NodeOptions(out=tmp_path))
    assert kinds(tmp_path) == ["server", "contract"]
