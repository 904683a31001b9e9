"""What a node remembers of announced checkpoints decides whether a server may come back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.contract import Contract, contract_digest, parse_contract
from coterie.contract.rollback import RollbackConsent
from coterie.contract.signatures import public_key_text
from coterie.errors import CheckpointDamaged, ReceiptRefused, RollbackRefused, SignatureRefused
from coterie.ps.checkpoints.lineage import Announced, Lineage
from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.checkpoint_messages import ReceiptHead
from coterie.training.rollback_guard import RollbackGuard

KEY = Ed25519PrivateKey.generate()
RUN, OTHER_RUN = "5e" * 32, "0b" * 32


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


def at(step: int, content: int = 1, run: str = RUN) -> Announced:
    return Announced(run, checkpoint(step, content))


def server(
    newest: DurableCheckpoint | None,
    *passed: DurableCheckpoint,
    run: str = RUN,
    consents: tuple[RollbackConsent, ...] = (),
) -> Lineage:
    return Lineage(run, newest, passed, consents)


def consent_to(
    found: DurableCheckpoint, given_up: DurableCheckpoint, run: str = RUN
) -> RollbackConsent:
    unsigned = RollbackConsent(
        contract_digest(contract()),
        run,
        found.step,
        found.digest,
        given_up.step,
        given_up.digest,
        {},
    )
    return unsigned.signed_by(contract(), KEY, "acme")


def memory_of(*announced: Announced, path: Path | None = None) -> RollbackGuard:
    memory = RollbackGuard(path, contract())
    for found in announced:
        memory.remember(found)
    return memory


class TestMemory:
    def test_the_newest_counts(self) -> None:
        assert memory_of().newest is None
        assert memory_of(at(3), at(9), at(6)).newest == at(9)

    def test_it_outlives_the_process(self, tmp_path: Path) -> None:
        path = tmp_path / "out" / "remembered.json"
        memory_of(at(3), path=path)
        assert RollbackGuard(path, contract()).newest == at(3)

    def test_that_a_node_has_done_its_part_outlives_the_process(self, tmp_path: Path) -> None:
        path = tmp_path / "remembered.json"
        memory = memory_of(at(3), path=path)
        assert not RollbackGuard(path, contract()).done
        memory.conclude()
        memory.remember(at(9))
        assert RollbackGuard(path, contract()).done

    def test_a_server_that_goes_back_by_consent_has_work_for_it_again(self, tmp_path: Path) -> None:
        path = tmp_path / "remembered.json"
        memory = memory_of(at(9), path=path)
        memory.conclude()
        consent = consent_to(checkpoint(3), checkpoint(9))
        memory.follow(server(checkpoint(3), consents=(consent,)))
        assert not RollbackGuard(path, contract()).done

    def test_a_file_of_a_node_that_was_not_done_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "remembered.json"
        memory_of(at(3), path=path)
        stored = json.loads(path.read_text())
        del stored["done"]
        path.write_text(json.dumps(stored))
        assert not RollbackGuard(path, contract()).done

    def test_another_contracts_run_does_not_count(self, tmp_path: Path) -> None:
        path = tmp_path / "remembered.json"
        memory_of(at(3), path=path)
        assert RollbackGuard(path, contract("other")).newest is None

    @pytest.mark.parametrize(
        "text", [b"", b"{}", b"\xff", b'{"step": 3', b"[" * 4096, b'{"format": 2}']
    )
    def test_a_damaged_file_is_not_taken_for_none(self, tmp_path: Path, text: bytes) -> None:
        path = tmp_path / "remembered.json"
        path.write_bytes(text)
        with pytest.raises(CheckpointDamaged) as refused:
            RollbackGuard(path, contract())
        assert refused.value.what == f"what this node remembers in {path} is damaged"

    def test_a_file_that_names_no_run_is_refused_as_of_an_earlier_version(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "remembered.json"
        old = {"contract_digest": contract_digest(contract()).hex(), "step": 3, "digest": "01" * 32}
        path.write_text(json.dumps(old))
        with pytest.raises(CheckpointDamaged) as refused:
            RollbackGuard(path, contract())
        assert refused.value.what == (
            f"what this node remembers in {path} was written by another version of Coterie"
        )
        assert refused.value.expected == "format 2, which names the run"
        assert refused.value.seen == "format 1"
        assert RollbackGuard(path, contract("other")).newest is None, "of another contract"

    def test_a_file_of_a_later_version_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "remembered.json"
        path.write_text('{"format": 3, "whatever": 1}')
        with pytest.raises(CheckpointDamaged, match="another version of Coterie") as refused:
            RollbackGuard(path, contract())
        assert refused.value.seen == "format 3"


class TestJudgement:
    @pytest.mark.parametrize(
        ("remembered", "offered"),
        [
            ((), server(None)),
            ((), server(checkpoint(3))),
            ((at(3),), server(checkpoint(3))),
            ((at(3),), server(checkpoint(4, content=7), checkpoint(2), checkpoint(3))),
        ],
    )
    def test_a_server_that_lost_nothing_is_followed(
        self, remembered: tuple[Announced, ...], offered: Lineage
    ) -> None:
        memory = memory_of(*remembered)
        memory.follow(offered)
        newest = offered.newest
        assert memory.newest == (Announced(RUN, newest) if newest is not None else None)

    @pytest.mark.parametrize(
        ("offered", "seen"),
        [
            (server(None), f"run {RUN} from its beginning"),
            (server(checkpoint(2)), f"run {RUN}, step 2 (SHA-256 {'01' * 32})"),
            (server(checkpoint(3, content=2)), f"run {RUN}, step 3 (SHA-256 {'02' * 32})"),
            (server(checkpoint(4), checkpoint(2)), f"run {RUN}, step 4 (SHA-256 {'01' * 32})"),
            (
                server(checkpoint(4), checkpoint(3, content=2)),
                f"run {RUN}, step 4 (SHA-256 {'01' * 32})",
            ),
        ],
        ids=["nothing", "older", "another", "further past it", "further past another"],
    )
    def test_a_server_that_fell_behind_is_refused(self, offered: Lineage, seen: str) -> None:
        memory = memory_of(at(3))
        with pytest.raises(RollbackRefused, match="restored from an older checkpoint") as refused:
            memory.follow(offered)
        assert refused.value.expected == (
            f"run {RUN}, step 3 (SHA-256 {'01' * 32}), or what came of it"
        )
        assert refused.value.seen == seen
        assert memory.newest == at(3)

    @pytest.mark.parametrize("newest", [None, checkpoint(2), checkpoint(3), checkpoint(80)])
    def test_another_run_is_refused_however_far_it_is(
        self, newest: DurableCheckpoint | None, tmp_path: Path
    ) -> None:
        path = tmp_path / "remembered.json"
        memory_of(at(3), path=path)
        memory = RollbackGuard(path, contract())
        with pytest.raises(RollbackRefused) as refused:
            memory.follow(server(newest, checkpoint(3), run=OTHER_RUN))
        assert refused.value.what == (
            "the parameter server goes on with another run than the one that this node took part in"
        )
        assert refused.value.expected == (
            f"run {RUN}, step 3 (SHA-256 {'01' * 32}), or what came of it"
        )
        assert refused.value.seen.startswith(f"run {OTHER_RUN}")
        assert "empty --out folder" in refused.value.remedy
        assert RollbackGuard(path, contract()).newest == at(3)


class TestConsent:
    def test_all_parties_may_agree_on_an_older_one(self) -> None:
        memory = memory_of(at(3))
        consent = consent_to(checkpoint(2), checkpoint(3))
        memory.follow(server(checkpoint(2), consents=(consent,)))
        assert memory.newest == at(2), "from now on this one counts"

    def test_who_comes_late_finds_it_in_the_run(self) -> None:
        memory = memory_of(at(3))
        consent = consent_to(checkpoint(2), checkpoint(3))
        memory.follow(server(checkpoint(5, 7), checkpoint(2), consents=(consent,)))
        assert memory.newest == at(5, 7)

    def test_it_is_for_one_use(self, tmp_path: Path) -> None:
        """The server went on, and was set back once more: the same consent is shown again."""
        path = tmp_path / "remembered.json"
        memory = memory_of(at(5), path=path)
        consent = consent_to(checkpoint(2), checkpoint(5))
        back = server(checkpoint(2), consents=(consent,))
        memory.follow(back)
        memory.follow(back)  # nothing was announced since, so nothing is lost
        memory.remember(at(3, 7))
        again = RollbackGuard(path, contract())
        with pytest.raises(RollbackRefused) as refused:
            again.follow(back)
        assert refused.value.what == (
            "the consent to roll back was used before: it is for one time"
        )
        assert refused.value.seen == consent.words
        assert again.newest == at(3, 7)
        once_more = consent_to(checkpoint(2), checkpoint(3, 7))
        again.follow(server(checkpoint(2), consents=(consent, once_more)))
        assert again.newest == at(2)

    def test_one_that_was_shown_without_need_is_used_too(self) -> None:
        """This node had not heard of what the others lost."""
        memory = memory_of(at(2))
        consent = consent_to(checkpoint(2), checkpoint(9))
        memory.follow(server(checkpoint(2), consents=(consent,)))
        memory.remember(at(4, 7))
        with pytest.raises(RollbackRefused, match="was used before"):
            memory.follow(server(checkpoint(2), consents=(consent,)))

    def test_a_run_goes_back_only_so_often(self) -> None:
        memory = memory_of(at(2))
        many = [consent_to(checkpoint(1), checkpoint(30 + n)) for n in range(17)]
        memory.follow(server(checkpoint(2), consents=tuple(many[:16])))
        with pytest.raises(RollbackRefused, match="too often") as refused:
            memory.follow(server(checkpoint(2), consents=tuple(many[16:])))
        assert (refused.value.expected, refused.value.seen) == ("at most 16 times", "17")

    @pytest.mark.parametrize(
        "consent",
        [
            consent_to(checkpoint(1), checkpoint(3)),
            consent_to(checkpoint(2, content=9), checkpoint(3)),
            consent_to(checkpoint(2), checkpoint(3), run=OTHER_RUN),
            consent_to(checkpoint(2), checkpoint(3, content=9)),
            consent_to(checkpoint(2), checkpoint(2)),
        ],
        ids=["step", "digest", "run", "given up", "given up less"],
    )
    def test_it_is_for_one_run_and_one_loss(self, consent: RollbackConsent) -> None:
        memory = memory_of(at(3))
        with pytest.raises(RollbackRefused, match="restored from an older checkpoint"):
            memory.follow(server(checkpoint(2), consents=(consent,)))
        assert memory.newest == at(3)

    def test_it_does_not_lead_into_another_run(self) -> None:
        consent = consent_to(checkpoint(2), checkpoint(3), run=OTHER_RUN)
        with pytest.raises(RollbackRefused, match="goes on with another run"):
            memory_of(at(3)).follow(server(checkpoint(2), run=OTHER_RUN, consents=(consent,)))

    def test_an_unsigned_consent_is_none(self) -> None:
        unsigned = replace(consent_to(checkpoint(2), checkpoint(3)), signatures={})
        memory = memory_of(at(3))
        with pytest.raises(SignatureRefused):
            memory.follow(server(checkpoint(2), consents=(unsigned,)))
        assert memory.newest == at(3)


def entries_of(memory: RollbackGuard) -> int:
    message = memory.message()
    assert message is not None
    return message.receipt.entries


class TestReceipt:
    """How far the run's receipt went is remembered too."""

    SEEN, CUT = ReceiptHead(9, bytes([9]) * 32), ReceiptHead(5, bytes([5]) * 32)

    def remembering(self, path: Path | None = None) -> RollbackGuard:
        memory = memory_of(at(3), path=path)
        memory.remember(None, self.CUT)
        memory.remember(at(4), self.SEEN)
        memory.remember(None, self.CUT)
        return memory

    def test_it_outlives_the_process_and_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "remembered.json"
        self.remembering(path)
        assert RollbackGuard(path, contract()).message() == pb.Remembered(
            run_id=RUN,
            checkpoint=pb.Checkpoint(step=4, digest=checkpoint(4).digest),
            receipt=pb.ReceiptHead(entries=9, digest=self.SEEN.digest),
        )

    def test_one_that_goes_on_is_followed(self) -> None:
        further = ReceiptHead(12, bytes([12]) * 32)
        memory = self.remembering()
        memory.join(server(checkpoint(4)), further, kept=True)
        assert entries_of(memory) == 12

    @pytest.mark.parametrize("shown", [None, CUT, ReceiptHead(12, bytes(32))])
    def test_one_that_was_cut_is_refused(self, shown: ReceiptHead | None) -> None:
        memory = self.remembering()
        with pytest.raises(ReceiptRefused) as refused:
            memory.join(server(checkpoint(4)), shown, kept=False)
        assert refused.value.what == (
            "the end of the receipt was cut off, or the server goes on with another receipt"
        )
        assert refused.value.expected == (
            f"one that begins with 9 entries, the last one with hash {'09' * 32}"
        )
        assert refused.value.seen == (
            "none"
            if shown is None
            else f"{shown.entries} entries, the last one with hash {shown.digest.hex()}"
        )
        assert entries_of(memory) == 9

    def test_a_copy_that_the_parties_agreed_on_may_hold_an_older_one_once(self) -> None:
        memory = self.remembering()
        back = server(checkpoint(2), consents=(consent_to(checkpoint(2), checkpoint(4)),))
        memory.join(back, self.CUT, kept=False)
        assert entries_of(memory) == 5
        memory.remember(None, self.SEEN)
        with pytest.raises(RollbackRefused, match="was used before"):
            memory.join(back, self.CUT, kept=False)
