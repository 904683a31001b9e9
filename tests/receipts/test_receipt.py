"""A run's receipt: what is in it, that it is accepted, and what it is said to prove."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from coterie.contract import contract_digest
from coterie.errors import ReceiptRefused
from coterie.receipts import entry_types
from coterie.receipts.explain import describe, does_not_prove, proves
from coterie.receipts.reading import read_entries
from coterie.receipts.verification import verify_receipt
from tests.ratls.conftest import World
from tests.receipts.conftest import EXAMPLES, MODEL, RUN, Scene, judge

KINDS = [
    "server", "contract", "begun",
    "attested", "joined", "attested", "joined", "refused",
    "checkpoint", "checkpoint", "outcome",
]  # fmt: skip


def test_a_run_is_told_in_order(finished: Scene) -> None:
    assert finished.kinds() == KINDS


def test_a_whole_receipt_is_accepted(finished: Scene) -> None:
    found = finished.verify()
    assert found.stamp == "SIMULATED"
    assert found.contract == finished.world.contract
    assert found.signers == ("operator", "acme", "bolt")
    assert [(p.occasion, p.node, p.role, p.party, p.incarnation) for p in found.proved] == [
        ("attested", "acme-worker", "worker", "acme", 7),
        ("attested", "bolt-worker", "worker", "bolt", 7),
        ("start", "ps0", "ps", "operator", 1),
    ]
    assert {brought.examples for brought in found.history.data_sets.values()} == {EXAMPLES}
    assert (found.history.checkpoints, found.history.refusals, found.gaps) == (2, 1, ())
    assert found.outcome.model_digest == MODEL
    assert found.outcome.test_auc == 0.7
    assert found.entries == len(KINDS)


def test_its_words_name_what_counts(finished: Scene) -> None:
    found = finished.verify()
    yes, no = " ".join(proves(found)), " ".join(does_not_prove(found))
    assert contract_digest(found.contract).hex() in yes
    assert "signed by operator, acme, bolt" in yes
    assert "acme-worker trained on 256 examples" in yes
    assert MODEL in yes
    assert "No worker was left out" in yes
    assert "as int8" not in yes
    coded = found.contract.model_copy(update={"training": {"exchange": "int8"}})
    assert "sent their gradients as int8" in " ".join(proves(replace(found, contract=coded)))
    assert "SIMULATED: everybody can make such evidence" in no
    assert "That the data are true" in no
    assert "Gap" not in no


def test_every_entry_can_be_described(finished: Scene) -> None:
    described = [describe(entry) for entry in read_entries(finished.path)]
    assert described[0] == "the server shows its evidence (start)"
    assert described[1].endswith("signed by operator, acme, bolt  SIMULATED")
    assert described[2] == f"run {RUN} begins"
    assert "proved itself: UpToDate" in described[3]
    assert described[-1] == f"outcome after 2 steps: model {MODEL}"


def test_a_description_steers_no_terminal_whatever_an_entry_holds(finished: Scene) -> None:
    entry = next(read_entries(finished.path))
    body = entry_types.PeerRefused.model_construct(error="X", reason="\x1b[2J\n    7  accepted")
    assert describe(replace(entry, body=body)) == "refused a peer: X: ?[2J?    7  accepted"


def test_steps_are_added_up_between_checkpoints(finished: Scene) -> None:
    first, second = (b for b in finished.bodies() if isinstance(b, entry_types.Checkpoint))
    assert (first.step, first.examples, first.loss) == (1, 256, 0.5)
    assert (second.step, second.examples, second.loss) == (2, 256, 0.25)


def test_the_contract_can_be_demanded(finished: Scene) -> None:
    contract = finished.world.contract
    assert verify_receipt(finished.path, appraiser_of=judge, expected=contract).gaps == ()
    with pytest.raises(ReceiptRefused, match="the receipt of another contract") as refusal:
        verify_receipt(finished.path, appraiser_of=judge, expected=World().contract)
    assert refusal.value.place == "line 2 (contract)"


def test_a_contract_whose_keys_a_run_made_leads_to_the_run_s_own(finished: Scene) -> None:
    """``coterie run`` of an example that names no keys: the same file is no stranger's."""
    contract = finished.world.contract
    parties = tuple(party.model_copy(update={"key": None}) for party in contract.parties)
    example = contract.model_copy(update={"parties": parties})
    with pytest.raises(ReceiptRefused, match="names no keys") as refusal:
        verify_receipt(finished.path, appraiser_of=judge, expected=example)
    assert "contract.json in the run's folder" in refusal.value.remedy
    other = example.model_copy(update={"name": "other"})
    with pytest.raises(ReceiptRefused, match="the receipt of another contract") as refusal:
        verify_receipt(finished.path, appraiser_of=judge, expected=other)
    assert "give --contract the contract.json" not in refusal.value.remedy
    assert refusal.value.remedy.startswith("`coterie contract diff`")


def test_who_gave_the_contract_is_not_told_to_give_it(finished: Scene) -> None:
    found = finished.verify()
    assert any("or give --contract" in line for line in does_not_prove(found))
    assert not any("contract is yours" in line for line in does_not_prove(found, compared=True))


def test_all_can_be_judged_at_another_time(finished: Scene) -> None:
    now = finished.world.clock()
    found = finished.verify(at=now + timedelta(hours=1))
    assert {proved.at for proved in found.proved} == {now + timedelta(hours=1)}
    with pytest.raises(ReceiptRefused, match="certificate_validity") as refusal:
        finished.verify(at=now + timedelta(days=2))
    assert refusal.value.place == "line 4 (attested)"


def test_another_program_is_refused(finished: Scene) -> None:
    other = replace(finished)
    with pytest.raises(ReceiptRefused, match=r"\[mrenclave\]") as refusal:
        verify_receipt(
            other.path,
            appraiser_of=lambda contract: type(judge(contract))(
                contract.trust, own_measurement=bytes(32)
            ),
        )
    assert refusal.value.place == "line 4 (attested)"
    # Nobody can build again what a run in the past was measured as.
    assert refusal.value.remedy == (
        "run the same release of Coterie on both sides, also to verify what one has recorded"
    )


def test_an_unfinished_receipt_can_be_read_but_not_accepted(scene: Scene) -> None:
    recorder = scene.recorder()
    scene.run(recorder)
    recorder.close()
    assert scene.kinds() == KINDS[:-1]
    with pytest.raises(ReceiptRefused, match="ends before the outcome") as refusal:
        scene.verify()
    assert refusal.value.place == "after line 10"


def test_a_file_that_is_not_there_is_named(scene: Scene) -> None:
    with pytest.raises(ReceiptRefused, match="cannot be read"):
        scene.verify()


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"x", b"\x80\n", b"[" * 100_000 + b"\n"])
def test_something_else_is_no_receipt(scene: Scene, content: bytes) -> None:
    scene.path.write_bytes(content)
    with pytest.raises(ReceiptRefused):
        scene.verify()
