"""Converts between messages and records of checkpoints, for servers and nodes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from coterie.contract import Contract, contract_digest
from coterie.contract.rollback import RollbackConsent
from coterie.errors import ReceiptRefused, TrustError
from coterie.ps.checkpoints.lineage import Announced, Lineage
from coterie.ps.checkpoints.records import MAX_CONSENTS, MAX_PASSED
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.shard_messages import (
    DIGEST_BYTES,
    checkpoint_from_wire,
    checkpoint_to_wire,
    out_of_bounds,
)

_RUN_ID = re.compile(r"^[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class ReceiptHead:
    """The head of a run's receipt.

    Attributes:
        entries: Number of its entries; at least one.
        digest: Hash of the last entry; 32 bytes.
    """

    entries: int
    digest: bytes


class KeptReceipt(Protocol):
    """A server's view of a run's receipt."""

    def head(self) -> ReceiptHead | None:
        """The last durable entry; None if no receipt is kept."""
        ...

    def holds(self, head: ReceiptHead) -> bool:
        """Whether it contains that entry."""
        ...


class NoReceiptKept:
    """No receipt, for servers that keep none."""

    def head(self) -> ReceiptHead | None:
        """None."""
        return None

    def holds(self, _head: ReceiptHead) -> bool:
        """False."""
        return False


def receipt_to_wire(head: ReceiptHead | None) -> pb.ReceiptHead | None:
    """A receipt's head as a message."""
    return pb.ReceiptHead(entries=head.entries, digest=head.digest) if head is not None else None


def receipt_from_wire(message: pb.ReceiptHead) -> ReceiptHead | None:
    """A receipt's head from a message; None if the message is empty.

    Raises:
        MessageRefused: It is out of bounds.
    """
    if not message.entries:
        return None
    if message.entries >= 1 << 63 or len(message.digest) != DIGEST_BYTES:
        raise out_of_bounds("receipt", "fewer than 2^63 entries, 32 bytes", f"{message.entries}")
    return ReceiptHead(message.entries, message.digest)


def lineage_to_wire(lineage: Lineage) -> pb.Lineage:
    """A lineage as a message."""
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
    """A lineage from a message.

    Raises:
        MessageRefused: It is out of bounds.
    """
    if len(message.passed) > MAX_PASSED:
        raise out_of_bounds("passed", f"at most {MAX_PASSED} checkpoints", str(len(message.passed)))
    if len(message.consents) > MAX_CONSENTS:
        raise out_of_bounds("consents", f"at most {MAX_CONSENTS}", str(len(message.consents)))
    return Lineage(
        run_id_from_wire(message.run_id),
        checkpoint_from_wire(message.durable) if message.HasField("durable") else None,
        tuple(checkpoint_from_wire(passed) for passed in message.passed),
        tuple(_consent(consent, contract) for consent in message.consents),
    )


def remembered_from_wire(message: pb.Remembered) -> Announced | None:
    """A node's remembered checkpoint from a message; None if it has none.

    Raises:
        MessageRefused: It is out of bounds.
    """
    if not message.HasField("checkpoint"):
        return None
    return Announced(run_id_from_wire(message.run_id), checkpoint_from_wire(message.checkpoint))


def keeps_receipt(receipt: KeptReceipt, message: pb.Remembered) -> bool:
    """Whether a server's receipt contains the entry that a node remembers."""
    head = receipt_from_wire(message.receipt)
    return head is None or receipt.holds(head)


def check_remembered(
    node: str, message: pb.Remembered, lineage: Lineage, receipt: KeptReceipt
) -> None:
    """Checks this server against the memory of a node that joins.

    The node itself checks a consent's signatures, and that it did not use the consent before.

    Raises:
        RollbackRefused: The server continues another run, or was rolled back.
        ReceiptRefused: Its receipt was cut, or is another one.
    """
    remembered = remembered_from_wire(message)
    try:
        if remembered is not None:
            lineage.check(remembered)
        if not lineage.consents and not keeps_receipt(receipt, message):
            raise receipt_cut(receipt_from_wire(message.receipt), receipt.head())
    except TrustError as error:
        what = f"node {node} remembers otherwise: {error.what}"
        said = {"expected": error.expected, "seen": error.seen, "remedy": error.remedy}
        raise type(error)(what, **said) from error


def receipt_cut(expected: ReceiptHead | None, seen: ReceiptHead | None) -> ReceiptRefused:
    """The error of a receipt that does not contain the remembered entry."""
    return ReceiptRefused(
        "the end of the receipt was cut off, or the server goes on with another receipt",
        expected=f"one that begins with {_words(expected)}",
        seen=_words(seen),
        remedy="restore receipt.jsonl in the folder of the first parameter server; if a new run is "
        "meant, give every node an empty --out folder",
    )


def _words(head: ReceiptHead | None) -> str:
    if head is None:
        return "none"
    return f"{head.entries} entries, the last one with hash {head.digest.hex()}"


def run_id_from_wire(text: str) -> str:
    """A run's name from a message.

    Raises:
        MessageRefused: It is not a run's name.
    """
    if not _RUN_ID.match(text):
        raise out_of_bounds("run_id", "64 hex digits", repr(text)[:200])
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
