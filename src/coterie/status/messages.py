"""The messages between a guest and a parameter server or a TensorFlow cluster's node (version 2).

After TLS 1.3 at the attestation port (application protocol ``coterie-status/1``):

1. The guest sends a nonce and its party's signature on this TLS session.
2. The server sends a quote made for this session, its voucher, and the progress of the run or
   cluster; or it refuses with a reason.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field

from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.progress import Phase, Progress
from coterie.ratls.messages import QuoteBytes, Refusal, Staple, WithTokens, evidence_bytes
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
_NODE_ITEMS = 17  # per node: a name in each of four lists, and 13 items of its `SeenPeer`
_NODE_BYTES = 1024

_Item = TypeVar("_Item")
# CBOR knows arrays only; their items stay strict.
_PerNode = Annotated[tuple[_Item, ...], Field(strict=False, max_length=_MAX_NODES)]


class Ask(Message):
    """The guest's only message.

    Attributes:
        party: The party that it claims.
        signature: Ed25519 by that party's key over the session.
        nonce: 32 fresh random bytes that the server's quote must cover.
        wants_collateral: Whether the guest has no collateral for the server's quote.
    """

    KIND = "ask"
    VERSION = 2
    party: Annotated[str, Field(max_length=63)]
    signature: Signature
    nonce: Nonce
    wants_collateral: bool


class SeenPeer(Record):
    """A node that the server trusts at present.

    Attributes:
        node: Its name.
        incarnation: Number of its start.
        tcb_status: TCB status of its platform.
        measurement: Measurement of its program, hex.
        attested_at: Time of attestation, Unix seconds.
        until: Expiry of its pin, Unix seconds.
    """

    node: Name
    incarnation: Incarnation
    tcb_status: Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,100}$")]
    measurement: Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,128}$")]
    attested_at: UnixSeconds
    until: UnixSeconds


class SeenRun(Record):
    """The wire form of ``Progress``. The checkpoint is given by step and digest."""

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
        """Makes the wire form."""
        at = progress.checkpoint
        fields = {**vars(progress), "checkpoint": None if at is None else (at.step, at.digest)}
        return cls.model_validate(fields)

    @property
    def progress(self) -> Progress:
        """The ``Progress`` that it encodes."""
        at = self.checkpoint
        fields = {**dict(self), "checkpoint": None if at is None else DurableCheckpoint(*at)}
        return Progress(**fields)


class SeenCluster(Record):
    """A TensorFlow node's view of its cluster. TensorFlow's servers tell no steps and no results.

    Attributes:
        phase: ``waiting`` for nodes, or ``running`` the program.
        missing: Nodes that are not attested, or cannot be dialled yet.
        program: SHA-256 of the program, which this process has measured.
        refusals: Handshakes, connections and calls that were reported as refused.
        refused_calls: Calls of attested nodes that were refused; absent where none are inspected.
    """

    phase: Literal["waiting", "running"]
    missing: _PerNode[Name]
    program: Digest
    refusals: Count
    refused_calls: Count | None


class Answered(WithTokens):
    """The server's only message: of one of the two kinds below.

    Attributes:
        quote: The server's quote for this session.
        voucher: The server's voucher, CBOR.
        collateral: Collateral for the quote, JSON; empty unless requested.
        peers: The attested nodes.
    """

    KIND = "answer"
    quote: QuoteBytes
    voucher: Annotated[bytes, Field(min_length=1, max_length=MAX_VOUCHER_BYTES)]
    collateral: Staple
    peers: _PerNode[SeenPeer]


class Answer(Answered):
    """A parameter server's; ``run`` is the run's progress."""

    run: SeenRun


class ClusterAnswer(Answered):
    """A TensorFlow node's, in a message of its own kind, which older releases do not know."""

    KIND = "cluster"
    cluster: SeenCluster


PROTOCOL = Protocol(
    alpn=b"coterie-status/1",
    exporter_label=b"EXPORTER-coterie-status-1",
    label=b"coterie status 1\0",
    codec=Codec(Ask, Answer, ClusterAnswer, Refusal, between="server and visitor"),
)


def answer_bytes(nodes: int, *, stapled: bool, tokens: bool = False) -> int:
    """Longest content of the frame with a server's answer, or of a refusal in its place.

    Args:
        nodes: Number of nodes of the contract.
        stapled: Whether the guest asked for collateral.
        tokens: Whether the contract demands tokens of the server.
    """
    return evidence_bytes(stapled=stapled, tokens=tokens) + _NODE_BYTES * (nodes + 1)


def answer_items(nodes: int) -> int:
    """Largest number of items in an answer about so many nodes."""
    return 64 + _NODE_ITEMS * nodes
