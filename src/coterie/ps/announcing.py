"""What a server tells nodes of its run's checkpoints, and nodes tell it, to and from messages."""

from __future__ import annotations

import re

from coterie.contract import Contract, contract_digest
from coterie.contract.rollback import RollbackConsent
from coterie.errors import MessageRefused
from coterie.ps.between import checkpoint_from_wire, checkpoint_to_wire
from coterie.ps.checkpoints.lineage import Announced, Lineage
from coterie.ps.checkpoints.records import MAX_CONSENTS, MAX_PASSED
from coterie.ps.wire import ps_pb2 as pb

_RUN_ID = re.compile(r"^[0-9a-f]{64}\Z")


def lineage_to_wire(lineage: Lineage) -> pb.Lineage:
    """A lineage as it travels."""
    newest = lineage.newest
    return pb.Lineage(
        run_id=lineage.run_id,
        durable=checkpoint_to_wire(newest) if newest is not None else None,
        passed=[checkpoint_to_wire(passed) for passed in lineage.passed],
        consents=[
            pb.RollbackConsent(
                checkpoint=pb.Checkpoint(step=consent.step, digest=consent.digest),
                run_id=consent.run_id,
                given_up=pb.Checkpoint(step=consent.given_up_step, digest=consent.given_up_digest),
                signatures=[
                    pb.PartySignature(party=party, signature=signature)
                    for party, signature in consent.signatures.items()
                ],
            )
            for consent in lineage.consents
        ],
    )


def lineage_from_wire(message: pb.Lineage, contract: Contract) -> Lineage:
    """A lineage that came.

    Raises:
        MessageRefused: It is out of bounds.
    """
    if len(message.passed) > MAX_PASSED:
        raise _refused("passed", f"at most {MAX_PASSED} checkpoints", str(len(message.passed)))
    if len(message.consents) > MAX_CONSENTS:
        raise _refused("consents", f"at most {MAX_CONSENTS}", str(len(message.consents)))
    return Lineage(
        run_id_from_wire(message.run_id),
        checkpoint_from_wire(message.durable) if message.HasField("durable") else None,
        tuple(checkpoint_from_wire(passed) for passed in message.passed),
        tuple(_consent(consent, contract) for consent in message.consents),
    )


def remembered_from_wire(message: pb.Remembered) -> Announced | None:
    """What a node remembers; None if it has seen no checkpoint announced.

    Raises:
        MessageRefused: It is out of bounds.
    """
    if not message.HasField("checkpoint"):
        return None
    return Announced(run_id_from_wire(message.run_id), checkpoint_from_wire(message.checkpoint))


def run_id_from_wire(text: str) -> str:
    """A run's name that came.

    Raises:
        MessageRefused: It is none.
    """
    if not _RUN_ID.match(text):
        raise _refused("run_id", "64 hex digits", repr(text)[:200])
    return text


def _consent(message: pb.RollbackConsent, contract: Contract) -> RollbackConsent:
    target = checkpoint_from_wire(message.checkpoint)
    given_up = checkpoint_from_wire(message.given_up)
    return RollbackConsent(
        contract_digest(contract),
        run_id_from_wire(message.run_id),
        target.step,
        target.digest,
        given_up.step,
        given_up.digest,
        {signed.party: signed.signature for signed in message.signatures},
    )


def _refused(name: str, expected: str, seen: str) -> MessageRefused:
    return MessageRefused(
        f"{name} is out of bounds",
        expected=expected,
        seen=seen,
        remedy="run the same version of Coterie under the same contract on all nodes",
    )
