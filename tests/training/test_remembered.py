"""What a node remembers of announced checkpoints decides whether a server may come back."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.contract import Contract, contract_digest, parse_contract
from coterie.contract.rollback import RollbackConsent
from coterie.contract.signatures import public_key_text
from coterie.errors import CheckpointDamaged, RollbackRefused, SignatureRefused
from coterie.ps.checkpoints import DurableCheckpoint
from coterie.training.remembered import CheckpointMemory, check_rollback

KEY = Ed25519PrivateKey.generate()


def contract(name: str = "agreed") -> Contract:
    text = f"""
format = 1
name = "{name}"
mode = "hfl"
parties = [{{name = "acme", key = "{public_key_text(KEY)}"}}]
nodes = [
  {{name = "ps0", role = "ps", party = "acme"}},
  {{name = "w0", role = "worker", party = "acme"}},
]
[trust]
tee = "simulated"
[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
[trust.roles.worker]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""
    return parse_contract(text.encode(), name)


def checkpoint(step: int, content: int = 1) -> DurableCheckpoint:
    return DurableCheckpoint(step, bytes([content]) * 32)


def consent_to(found: DurableCheckpoint) -> RollbackConsent:
    unsigned = RollbackConsent(contract_digest(contract()), found.step, found.digest, {})
    return unsigned.signed_by(contract(), KEY, "acme")


def memory_of(*announced: DurableCheckpoint, path: Path | None = None) -> CheckpointMemory:
    memory = CheckpointMemory(path, contract())
    for found in announced:
        memory.remember(found.step, found.digest)
    return memory


class TestMemory:
    def test_the_newest_counts(self) -> None:
        assert memory_of().newest is None
        assert memory_of(checkpoint(3), checkpoint(9), checkpoint(6)).newest == checkpoint(9)

    def test_it_outlives_the_process(self, tmp_path: Path) -> None:
        path = tmp_path / "out" / "remembered.json"
        memory_of(checkpoint(3), path=path)
        assert CheckpointMemory(path, contract()).newest == checkpoint(3)

    def test_another_contracts_run_does_not_count(self, tmp_path: Path) -> None:
        path = tmp_path / "remembered.json"
        memory_of(checkpoint(3), path=path)
        assert CheckpointMemory(path, contract("other")).newest is None

    @pytest.mark.parametrize("text", [b"", b"{}", b"\xff", b'{"step": 3'])
    def test_a_damaged_file_is_not_taken_for_none(self, tmp_path: Path, text: bytes) -> None:
        path = tmp_path / "remembered.json"
        path.write_bytes(text)
        with pytest.raises(CheckpointDamaged) as refused:
            CheckpointMemory(path, contract())
        assert refused.value.what == f"what this node remembers in {path} is damaged"


class TestJudgement:
    @pytest.mark.parametrize(
        ("remembered", "offered"),
        [
            ((), None),
            ((), checkpoint(3)),
            ((checkpoint(3),), checkpoint(3)),
            ((checkpoint(3),), checkpoint(4, content=7)),
        ],
    )
    def test_a_server_that_lost_nothing_is_followed(
        self, remembered: tuple[DurableCheckpoint, ...], offered: DurableCheckpoint | None
    ) -> None:
        check_rollback(memory_of(*remembered), offered, None, contract())

    @pytest.mark.parametrize(
        ("offered", "seen"),
        [
            (None, "none"),
            (checkpoint(2), f"step 2 (SHA-256 {'01' * 32})"),
            (checkpoint(3, content=2), f"step 3 (SHA-256 {'02' * 32})"),
        ],
        ids=["nothing", "older", "another"],
    )
    def test_a_server_that_fell_behind_is_refused(
        self, offered: DurableCheckpoint | None, seen: str
    ) -> None:
        memory = memory_of(checkpoint(3))
        with pytest.raises(RollbackRefused) as refused:
            check_rollback(memory, offered, None, contract())
        assert refused.value.expected == f"step 3 or later (SHA-256 {'01' * 32})"
        assert refused.value.seen == seen
        assert memory.newest == checkpoint(3)

    def test_all_parties_may_agree_on_an_older_one(self) -> None:
        memory = memory_of(checkpoint(3))
        check_rollback(memory, checkpoint(2), consent_to(checkpoint(2)), contract())
        assert memory.newest == checkpoint(2), "from now on this one counts"

    @pytest.mark.parametrize("offered", [None, checkpoint(1), checkpoint(2, content=9)])
    def test_a_consent_is_to_one_checkpoint(self, offered: DurableCheckpoint | None) -> None:
        with pytest.raises(RollbackRefused):
            check_rollback(memory_of(checkpoint(3)), offered, consent_to(checkpoint(2)), contract())

    def test_an_unsigned_consent_is_none(self) -> None:
        unsigned = RollbackConsent(contract_digest(contract()), 2, bytes([1]) * 32, {})
        memory = memory_of(checkpoint(3))
        with pytest.raises(SignatureRefused):
            check_rollback(memory, checkpoint(2), unsigned, contract())
        assert memory.newest == checkpoint(3)
