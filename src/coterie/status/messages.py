"""The messages between a visitor and a parameter server (version 2).

After TLS 1.3 at the attestation port (application protocol ``coterie-status/1``):

1. The visitor asks: a nonce, and its party's signature on this very TLS session.
2. The server answers: a quote made for this session, its voucher, and where the run stands; or it
   refuses and says why.
"""

from __future__ import annotations

from typing import Annotated, Self, TypeVar

from pydantic import Field

from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.progress import Phase, Progress
from coterie.ratls.messages import QuoteBytes, Refusal, Staple, evidence_bytes
from coterie.ratls.request import Protocol
from coterie.ratls.schema import (
    Codec,
    Count,
    Digest,
    Incarnation,
    Message,
    Name,
    Nonce,
    Record,
    Signature,
    UnixSeconds,
)
from coterie.ratls.voucher import MAX_VOUCHER_BYTES

ASK_BYTES = 256
_MAX_NODES = 1024
_NODE_ITEMS = 17  # a name in each of four lists, and 13 items of what is seen of it
_NODE_BYTES = 1024

_Item = TypeVar("_Item")
# CBOR knows arrays only; their items stay strict.
_PerNode = Annotated[tuple[_Item, ...], Field(strict=False, max_length=_MAX_NODES)]


class Ask(Message):
    """The visitor's only message.

    Attributes:
        party: Whose it says it is.
        signature: Ed25519 by that party's key over the session.
        nonce: 32 fresh random bytes that the server's quote must cover.
        wants_collateral: The visitor has no collateral for the server's quote.
    """

    KIND = "ask"
    VERSION = 2
    party: Annotated[str, Field(max_length=63)]
    signature: Signature
    nonce: Nonce
    wants_collateral: bool


class SeenPeer(Record):
    """A node that the server trusts at the moment.

    Attributes:
        node: Its name.
        incarnation: Number of its start.
        tcb_status: State of its platform.
        measurement: What it runs, hex.
        attested_at: Unix seconds.
        until: Unix seconds; it has to prove itself again by then.
    """

    node: Name
    incarnation: Incarnation
    tcb_status: Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,100}$")]
    measurement: Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,128}$")]
    attested_at: UnixSeconds
    until: UnixSeconds


class SeenRun(Record):
    """Where the run stands: a ``Progress`` on the wire. The checkpoint is its step and its digest."""

    phase: Phase
    incarnation: Count
    step: Count
    steps: Count
    joined: _PerNode[Name]
    missing: _PerNode[Name]
    silent: _PerNode[Name]
    left_out: _PerNode[Name]
    checkpoint: Annotated[tuple[Annotated[int, Field(ge=0)], Digest], Field(strict=False)] | None

    @classmethod
    def of(cls, progress: Progress) -> Self:
        """Makes one."""
        at = progress.checkpoint
        fields = {**vars(progress), "checkpoint": None if at is None else (at.step, at.digest)}
        return cls.model_validate(fields)

    @property
    def progress(self) -> Progress:
        """What it stands for."""
        at = self.checkpoint
        fields = {**dict(self), "checkpoint": None if at is None else DurableCheckpoint(*at)}
        return Progress(**fields)


class Answer(Message):
    """The server's only message.

    Attributes:
        quote: Made for this session.
        voucher: The server's, CBOR.
        collateral: For the quote, JSON; empty unless it was asked for.
        run: Where the run stands.
        peers: Who has proved itself.
    """

    KIND = "answer"
    quote: QuoteBytes
    voucher: Annotated[bytes, Field(min_length=1, max_length=MAX_VOUCHER_BYTES)]
    collateral: Staple
    run: SeenRun
    peers: _PerNode[SeenPeer]


PROTOCOL = Protocol(
    alpn=b"coterie-status/1",
    exporter_label=b"EXPORTER-coterie-status-1",
    label=b"coterie status 1\0",
    codec=Codec(Ask, Answer, Refusal, between="server and visitor"),
)


def answer_bytes(nodes: int, *, stapled: bool) -> int:
    """Longest content of the frame with a server's answer, or of a refusal in its place.

    Args:
        nodes: How many nodes the contract has.
        stapled: Whether the server was asked for its collateral.
    """
    return evidence_bytes(stapled=stapled) + _NODE_BYTES * (nodes + 1)


def answer_items(nodes: int) -> int:
    """Most items in an answer about so many nodes."""
    return 64 + _NODE_ITEMS * nodes
