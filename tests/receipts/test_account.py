"""A receipt that is signed by the right key and yet does not add up, or holds evidence that fails.

Its program would have to lie; the verifier believes it no more than anybody else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from coterie.attestation.collateral_source import DirectoryCollateral
from coterie.attestation.quote import parse_quote
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.contract import agreed_digest, canonical_json, contract_digest
from coterie.contract.signatures import sign_contract
from coterie.errors import ReceiptRefused
from coterie.ratls.voucher import VOUCHER_LIFETIME, sign_voucher
from coterie.receipts import entries, entry_types
from coterie.receipts.entry_types import Body
from coterie.receipts.verification import verify_receipt
from coterie.runs.records import Validated, WorkerAbsence
from tests.ratls.conftest import World
from tests.receipts.conftest import Scene, judge, resign, resign_each

pytestmark = pytest.mark.long


SERVER, CONTRACT, BEGUN, ACME, ACME_JOINS, BOLT, BOLT_JOINS, REFUSED, FIRST, LAST, OUTCOME = range(
    11
)
Change = Callable[[Scene, list[Body]], list[Body]]


@dataclass(frozen=True)
class Lie:
    """What the account says wrongly, and how it is refused."""

    name: str
    line: int
    match: str
    change: Change


def updated(index: int, **changes: object) -> Change:
    """One entry with some values changed."""

    def change(_: Scene, told: list[Body]) -> list[Body]:
        told[index] = told[index].model_copy(update=changes)
        return told

    return change


def without(*indices: int) -> Change:
    return lambda _, told: [body for i, body in enumerate(told) if i not in indices]


def inserted(index: int, body: Body) -> Change:
    return lambda _, told: [*told[:index], body, *told[index:]]


def session(**changes: object) -> Change:
    """Acme's session proof with some values changed."""

    def change(_: Scene, told: list[Body]) -> list[Body]:
        acme = told[ACME]
        assert isinstance(acme, entry_types.AttestedNode)
        told[ACME] = acme.model_copy(update={"session": acme.session.model_copy(update=changes)})
        return told

    return change


def quote_of_bolt(_: Scene, told: list[Body]) -> list[Body]:
    """A genuine session quote, but of another session."""
    acme, bolt = told[ACME], told[BOLT]
    assert isinstance(acme, entry_types.AttestedNode)
    assert isinstance(bolt, entry_types.AttestedNode)
    proof = acme.session.model_copy(update={"quote": bolt.session.quote})
    told[ACME] = acme.model_copy(update={"session": proof})
    return told


def another_verdict(_: Scene, told: list[Body]) -> list[Body]:
    acme = told[ACME]
    assert isinstance(acme, entry_types.AttestedNode)
    verdict = acme.verdict.model_copy(update={"tcb_status": "OutOfDate"})
    told[ACME] = acme.model_copy(update={"verdict": verdict})
    return told


def voucher_by_bolt(scene: Scene, told: list[Body]) -> list[Body]:
    claims = scene.server.credentials.current().identity.claims
    voucher = sign_voucher(
        scene.world.keys["bolt"], claims, expiry=scene.world.clock() + VOUCHER_LIFETIME
    )
    return updated(SERVER, voucher=entries.text(voucher.to_cbor()))(scene, told)


def collateral_of_others(scene: Scene, told: list[Body]) -> list[Body]:
    """Of the server alone: the workers' stays what it was."""
    server = told[SERVER]
    assert isinstance(server, entry_types.Server)
    assert server.collateral is not None
    fields = server.collateral
    kept = entry_types.Signed(digest=entries.collateral_digest(fields), fields=fields)
    other = SimulatedPki(seed=b"a stranger").collateral(scene.world.clock())
    told[SERVER] = server.model_copy(update={"collateral": entries.collateral_fields(other)})
    return [*told[:ACME], kept, *told[ACME:]]


def signed_by_strangers(scene: Scene, told: list[Body]) -> list[Body]:
    signature = World().keys["acme"].sign(b"something").hex()
    signatures = (entry_types.PartySignature(party="acme", signature=signature),)
    return updated(CONTRACT, signatures=signatures)(scene, told)


def other_contract(scene: Scene, told: list[Body]) -> list[Body]:
    """Another contract, whose own digest fits: the evidence claims the first one."""
    changed = scene.world.changed("training", "epochs", value=2)
    agreement = told[CONTRACT]
    assert isinstance(agreement, entry_types.Agreement)
    signed = sign_contract(changed, scene.world.keys["acme"], "acme")
    told[CONTRACT] = agreement.model_copy(
        update={
            "contract": entries.json_of(canonical_json(changed)),
            "digest": contract_digest(changed).hex(),
            "signatures": (entry_types.PartySignature(party="acme", signature=signed.signature),),
        }
    )
    return told


ABSENT = (WorkerAbsence(worker="acme-worker", start=1),)
VALIDATED = Validated(step=1, examples=200, auc=None, log_loss=0.5, calibration=None)
LEFT_OUT = entry_types.NodeLeftOut(node="acme-worker", step=1)

LIES = [
    Lie("a worker that never proved itself", 4, "without having proved itself", without(ACME)),
    Lie("another start than the proved one", 5, "without having proved", updated(ACME_JOINS, incarnation=8)),
    Lie("a node of no contract", 5, "no other node of the contract", updated(ACME_JOINS, node="eve")),
    Lie("the server itself joins", 5, "no other node of the contract", updated(ACME_JOINS, node="ps0")),
    Lie("a worker without data", 5, "without data", updated(ACME_JOINS, examples=0)),
    Lie("a worker without a digest", 5, "without data", updated(ACME_JOINS, data_set=None)),
    Lie(
        "a worker that comes back with other data", 6, "came back with other training data",
        lambda _, told: [*told[:BOLT], told[ACME_JOINS].model_copy(update={"data_set": "77" * 32}), *told[BOLT:]],
    ),
    Lie("a worker that is missing", 9, "bolt-worker never joined", without(BOLT, BOLT_JOINS)),
    Lie("more data than was trained", 11, "steps and examples", updated(BOLT_JOINS, examples=999)),
    Lie("fewer steps", 11, "steps and examples", updated(OUTCOME, steps=1)),
    Lie("more examples", 11, "steps and examples", updated(OUTCOME, examples=513)),
    Lie("a model of another step", 11, "the model is of another step", updated(OUTCOME, model_step=1)),
    Lie("a validation that was not due", 11, "validations are not those", updated(OUTCOME, validations=(VALIDATED,))),
    Lie("other nodes", 11, "another number of nodes", updated(OUTCOME, nodes=4)),
    Lie("no last checkpoint", 10, "last step's checkpoint", without(LAST)),
    Lie("checkpoints in another order", 10, "not newer", updated(LAST, step=1)),
    Lie("an absence that nobody told of", 11, "absences", updated(OUTCOME, absences=ABSENT)),
    Lie("an absence that is hushed up", 12, "absences", inserted(LAST, LEFT_OUT)),
    Lie(
        "an absence without a quorum", 12, "no quorum",
        lambda scene, told: updated(OUTCOME + 1, absences=ABSENT)(scene, inserted(LAST, LEFT_OUT)(scene, told)),
    ),
    Lie(
        "a return of somebody present", 10, "without having been left out",
        inserted(LAST, entry_types.NodeReturned(node="acme-worker", step=1)),
    ),
    Lie("a start in the middle", 10, "wrong place", lambda _, told: [*told[:LAST], told[SERVER], *told[LAST:]]),
    Lie("a restart at the beginning", 1, "wrong place", updated(SERVER, reason="restart")),
    Lie("no contract", 2, "wrong place", without(CONTRACT)),
    Lie("two contracts", 3, "came already", lambda _, told: [*told[:2], told[1], *told[2:]]),
    Lie("no server", 1, "wrong place", without(SERVER)),
    Lie("something after the outcome", 12, "after the outcome", lambda _, told: [*told, told[REFUSED]]),
    Lie("no run begins", 4, "no run was begun or resumed", without(BEGUN)),
    Lie("a run that begins twice", 4, "a run begins twice", lambda _, told: [*told[:BEGUN], told[BEGUN], *told[BEGUN:]]),
    Lie("the outcome of another run", 11, "of another run", updated(OUTCOME, run="07" * 32)),
    Lie("the outcome of another checkpoint", 11, "of another checkpoint", updated(OUTCOME, checkpoint="07" * 32)),
    Lie("another digest of the contract", 2, "another digest", updated(CONTRACT, digest="00" * 32)),
    Lie("another stamp", 2, "wrong stamp", updated(CONTRACT, stamp="sgx")),
    Lie("a contract that is none", 2, "not valid", updated(CONTRACT, contract={"format": 1})),
    Lie("a wrong signature on the contract", 2, "signature of acme is wrong", signed_by_strangers),
    Lie("another contract", 4, r"\[contract_digest\]", other_contract),
    Lie("another node's evidence", 4, r"\[node\]", updated(ACME, node="bolt-worker")),
    Lie("another start than claimed", 4, "another start", updated(ACME, incarnation=9)),
    Lie("a session with somebody else", 4, "another key than the server's", session(server_key="00" * 32)),
    Lie("another exporter", 4, r"\[session_binding\]", session(exporter="00" * 32)),
    Lie("another nonce", 4, r"\[session_binding\]", session(nonce="00" * 32)),
    Lie("the other direction", 4, r"\[session_binding\]", session(dialled=False)),
    Lie("the quote of another session", 4, r"\[session_binding\]", quote_of_bolt),
    Lie("another verdict than the evidence gives", 4, "another verdict", another_verdict),
    Lie("collateral that is not there", 4, "collateral is missing", updated(ACME, collateral="00" * 32)),
    Lie("a time after its writing", 4, "after it was written", updated(ACME, attested_at="2099-01-01T00:00:00+00:00")),
    Lie("a time before its certificate", 4, "certificate_validity|clock", updated(ACME, attested_at="2026-01-01T00:00:00+00:00")),
    Lie("a voucher by another party", 1, "not signed by party operator", voucher_by_bolt),
    Lie("no voucher", 1, "voucher cannot be read", updated(SERVER, voucher="")),
    Lie("a certificate that is none", 1, "certificate cannot be read", updated(SERVER, certificate="AAAA")),
    Lie("another vendor's collateral", 1, r"\[pck_crl_chain_root\]", collateral_of_others),
    Lie("collateral that is none", 1, "collateral_format", updated(SERVER, collateral={"pck_crl": "00"})),
]  # fmt: skip


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
def test_an_account_that_does_not_add_up_is_refused(scene: Scene, lie: Lie) -> None:
    scene.whole()
    told = lie.change(scene, scene.bodies())
    now = scene.world.clock()
    resign(told, scene.server.credentials.current().identity, scene.path, lambda _: now)
    with pytest.raises(ReceiptRefused, match=lie.match) as refusal:
        scene.verify()
    assert refusal.value.place.startswith(f"line {lie.line} "), refusal.value
    assert refusal.value.expected
    assert refusal.value.seen


def test_the_same_account_unchanged_is_accepted(scene: Scene) -> None:
    scene.whole()
    now = scene.world.clock()
    resign(scene.bodies(), scene.server.credentials.current().identity, scene.path, lambda _: now)
    assert scene.verify().gaps == ()


def test_times_do_not_go_back(scene: Scene) -> None:
    scene.whole()
    now = scene.world.clock()
    resign(
        scene.bodies(),
        scene.server.credentials.current().identity,
        scene.path,
        lambda index: now - timedelta(seconds=index),
    )
    with pytest.raises(ReceiptRefused, match="older than the entry before it") as refusal:
        scene.verify()
    assert refusal.value.place == "line 2 (contract)"


@pytest.mark.parametrize(
    ("reason", "incarnation"), [("restart", 1), ("restart", 0), ("renewal", 2)]
)
def test_another_start_of_the_server_than_told_is_refused(
    scene: Scene, reason: str, incarnation: int
) -> None:
    scene.whole()
    told = scene.bodies()
    other = scene.world.trust("ps0", incarnation=incarnation).credentials.current()
    shown = {
        "reason": reason,
        "certificate": entries.text(other.identity.certificate_der),
        "voucher": entries.text(other.voucher.to_cbor()),
    }
    server = told[SERVER].model_copy(update=shown)
    own = scene.server.credentials.current().identity
    now = scene.world.clock()
    run, checkpoint = told[OUTCOME].model_dump()["run"], told[LAST].model_dump()
    resumed = entry_types.ServerResumed(step=2, digest=checkpoint["digest"], run=run)
    signers = [own] * OUTCOME + [other.identity] * 3
    account = [*told[:OUTCOME], server, resumed, told[OUTCOME]]
    resign_each(account, signers, scene.path, lambda _: now)
    with pytest.raises(ReceiptRefused, match=f"a {reason} by another start") as refusal:
        scene.verify()
    assert refusal.value.place == "line 11 (server)"


def test_a_server_that_runs_another_program_is_refused(scene: Scene) -> None:
    """Its own voucher and certificate are in order: only the measurement is not the contract's."""
    scene.whole()
    told = scene.bodies()
    impostor = scene.world.trust("ps0", measurement=bytes(32), incarnation=1).credentials.current()
    shown = {
        "certificate": entries.text(impostor.identity.certificate_der),
        "voucher": entries.text(impostor.voucher.to_cbor()),
        "lost": 1,  # so that nobody misses the workers, which would have refused it
    }
    server = told[SERVER].model_copy(update=shown)
    now = scene.world.clock()
    kept = [server, told[CONTRACT], told[BEGUN], told[LAST], told[OUTCOME]]
    resign(kept, impostor.identity, scene.path, lambda _: now)
    with pytest.raises(ReceiptRefused, match=r"\[mrenclave\]") as refusal:
        scene.verify()
    assert refusal.value.place == "line 1 (server)"


def test_a_server_without_collateral_needs_a_directory(scene: Scene, tmp_path: Path) -> None:
    """Where it had none, and no node on such a platform brought any."""
    scene.whole()
    told = scene.bodies()
    server = told[SERVER].model_copy(update={"collateral": None, "lost": 1})
    own = scene.server.credentials.current().identity
    now = scene.world.clock()
    kept = [server, told[CONTRACT], told[BEGUN], told[LAST], told[OUTCOME]]
    resign(kept, own, scene.path, lambda _: now)
    with pytest.raises(ReceiptRefused, match="evidence cannot be judged") as refusal:
        scene.verify()
    assert refusal.value.place == "line 1 (server)"
    assert "--collateral DIR" in refusal.value.remedy

    folder = tmp_path / "collateral"
    quote = own.certificate.evidence.quote
    DirectoryCollateral(folder).store(parse_quote(quote).platform(), SimulatedPki().collateral(now))
    found = verify_receipt(scene.path, appraiser_of=judge, folder=folder)
    assert [proved.node for proved in found.proved] == ["ps0"]


def test_a_contract_of_an_older_version_keeps_its_digest(scene: Scene) -> None:
    """A key that did not exist yet is not in it; its default, filled in later, changes no digest."""
    scene.whole()
    told = scene.bodies()
    agreement = told[CONTRACT]
    assert isinstance(agreement, entry_types.Agreement)
    older = {name: value for name, value in agreement.contract.items() if name != "enclave"}
    digest = agreed_digest(older)
    assert digest != contract_digest(scene.world.contract)
    label = b"coterie contract signature 1\0"
    told[CONTRACT] = agreement.model_copy(
        update={
            "contract": older,
            "digest": digest.hex(),
            "signatures": tuple(
                entry_types.PartySignature(party=name, signature=key.sign(label + digest).hex())
                for name, key in scene.world.keys.items()
            ),
        }
    )
    now = scene.world.clock()
    resign(told, scene.server.credentials.current().identity, scene.path, lambda _: now)
    with pytest.raises(ReceiptRefused, match=r"\[contract_digest\]") as refusal:
        scene.verify()  # its signatures hold: only this run's evidence claims the other digest
    assert refusal.value.place == "line 4 (attested)"
    assert refusal.value.expected == digest.hex()
