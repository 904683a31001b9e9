"""Converts events into the bodies of entries, without side effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import overload

from coterie.contract import StartSection
from coterie.ratls.peer import Peer, Proof
from coterie.receipts import entries, entry_types
from coterie.receipts.entry_types import Body
from coterie.runs import events
from coterie.runs.outcome import RunEnd
from coterie.runs.result import RunResult
from coterie.text import printable

_TEXT = 400


@overload
def body_of(event: events.Joined | events.Refused | events.Failed) -> Body: ...
@overload
def body_of(event: events.Event) -> Body | None: ...
def body_of(event: events.Event) -> Body | None:  # noqa: PLR0911 (one line per kind)
    """The body of the entry for an event of shard 0; None if a receipt has no entry for it."""
    match event:
        case events.Joined() as joined:
            return entry_types.NodeJoined(
                node=joined.node,
                incarnation=joined.incarnation,
                examples=joined.examples,
                data_set=joined.data_set or None,
            )
        case events.Begun(run):
            return entry_types.RunBegun(run=run)
        case events.Resumed(step, digest, run):
            return entry_types.ServerResumed(step=step, digest=digest, run=run)
        case events.Restarted(step=step):
            return entry_types.ServerRestarted(step=step)
        case events.LeftOut(node, step):
            return entry_types.NodeLeftOut(node=node, step=step)
        case events.Returned(node, step):
            return entry_types.NodeReturned(node=node, step=step)
        case events.Refused(error=error, reason=reason):
            return entry_types.PeerRefused(error=_text(error), reason=_text(reason))
        case events.Failed(error=fields):
            error, reason = fields.get("error", ""), fields.get("what", "")
            return entry_types.ServerFailed(error=_text(error), reason=_text(reason))
        case _:
            return None


def start_body(event: events.StartTaken, start: StartSection) -> Body:
    """The body that says what a run starts from.

    Args:
        event: The event of taking it.
        start: The contract's section on it.
    """
    return entry_types.StartTaken(
        node=event.node,
        model=event.model,
        contract=start.contract,
        step=event.step,
        optimizer_state=event.optimizer_state or None,
        receipt=start.receipt,
    )


def attested_body(peer: Peer, proof: Proof, collateral: str) -> Body:
    """The body with a node's evidence.

    Args:
        peer: The node.
        proof: The evidence that it gave beside its certificate.
        collateral: Digest of the collateral by which it was verified.
    """
    return entry_types.AttestedNode(
        node=peer.node,
        incarnation=peer.incarnation,
        attested_at=peer.attested_at.isoformat(),
        certificate=entries.text(peer.certificate_der),
        voucher=entries.text(proof.voucher),
        session=entry_types.SessionProof(
            quote=entries.text(proof.quote),
            exporter=proof.exporter.hex(),
            nonce=proof.nonce.hex(),
            dialled=proof.dialled,
            server_key=proof.own_key.hex(),
            tokens=entries.text(proof.tokens) if proof.tokens else None,
        ),
        collateral=collateral,
        verdict=entry_types.Appraised.of(peer.verdict),
    )


def outcome_of(result: RunResult, end: RunEnd, not_kept: Mapping[str, int]) -> entry_types.Outcome:
    """The body with a run's result. It has no times, since no evidence supports them."""
    return entry_types.Outcome(
        steps=result.steps,
        examples=result.examples,
        nodes=result.nodes,
        train_loss=result.train_loss,
        validation_auc=result.validation_auc,
        test_auc=result.test_auc,
        test_logloss=result.test_logloss,
        test_accuracy=result.test_accuracy,
        test_calibration=result.test_calibration,
        absences=result.absences,
        model_digest=result.model_digest,
        model_step=result.model_step,
        validations=result.validations,
        run=end.run_id,
        checkpoint=end.checkpoint,
        optimizer_state=result.optimizer_state,
        not_kept=dict(not_kept),
    )


def _text(said: str) -> str:
    return printable(said, _TEXT)
