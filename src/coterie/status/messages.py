"""What a visitor and a parameter server say to each other: framed and encoded like the handshake.

After TLS 1.3 at the attestation port (application protocol ``coterie-status/1``):

1. The visitor asks: a nonce, and its party's signature on this very TLS session.
2. The server answers: a quote made for this session, its voucher, and where the run stands; or it
   refuses and says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, cast, get_args

from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.progress import Phase, Progress
from coterie.ratls import cbor
from coterie.ratls.evidence import MAX_QUOTE_BYTES
from coterie.ratls.messages import (
    MAX_STAPLE_BYTES,
    NONCE_BYTES,
    Refusal,
    decode_strictly,
    evidence_bytes,
    frame,
    refusal_body,
    refusal_of,
)
from coterie.ratls.voucher import MAX_VOUCHER_BYTES

ALPN = b"coterie-status/1"
EXPORTER_LABEL = b"EXPORTER-coterie-status-1"
VERSION = 2
_LABEL = b"coterie status 1\0"
_SIGNATURE_BYTES = 64
ASK_BYTES, ASK_ITEMS = 256, 16
_MAX_NODES = 1024
_NODE_ITEMS = 17  # a name in each of four lists, and 13 items of what is seen of it
_NODE_BYTES = 1024
_MAX_NAME = 63
_LAST_SECOND = 253_402_300_799


@dataclass(frozen=True)
class Ask:
    """The visitor's only message.

    Attributes:
        party: Whose it says it is.
        signature: Ed25519 by that party's key over the session.
        nonce: 32 fresh random bytes that the server's quote must cover.
        wants_collateral: The visitor has no collateral for the server's quote.
    """

    party: str
    signature: bytes
    nonce: bytes
    wants_collateral: bool


@dataclass(frozen=True)
class SeenPeer:
    """A node that the server trusts at the moment.

    Attributes:
        node: Its name.
        incarnation: Number of its start.
        tcb_status: State of its platform.
        measurement: What it runs, hex.
        attested_at: Unix seconds.
        until: Unix seconds; it has to prove itself again by then.
    """

    node: str
    incarnation: int
    tcb_status: str
    measurement: str
    attested_at: int
    until: int


@dataclass(frozen=True)
class Answer:
    """The server's only message.

    Attributes:
        quote: Made for this session.
        voucher: The server's, CBOR.
        collateral: For the quote, JSON; empty unless it was asked for.
        overview: Where the run stands.
        peers: Who has proved itself.
    """

    quote: bytes
    voucher: bytes
    collateral: bytes
    overview: Progress
    peers: tuple[SeenPeer, ...]


Message = Ask | Answer | Refusal


def session_statement(*, exporter: bytes, server_key: bytes, visitor_key: bytes) -> bytes:
    """What a party signs: this visitor, at the end of this connection, comes from it.

    Args:
        exporter: 32 bytes of keying material exported from the TLS session (RFC 8446, 7.5).
        server_key: SHA-256 of the server's SubjectPublicKeyInfo.
        visitor_key: SHA-256 of the visitor's.
    """
    for part in (exporter, server_key, visitor_key):
        assert len(part) == 32  # fixed lengths make the concatenation unambiguous
    return _LABEL + exporter + server_key + visitor_key


def encode_message(message: Message) -> bytes:
    """One frame."""
    body: Mapping[str, cbor.CborValue]
    match message:
        case Ask(party, signature, nonce, wants):
            body = {
                "kind": "ask",
                "version": VERSION,
                "party": party,
                "signature": signature,
                "nonce": nonce,
                "wants_collateral": wants,
            }
        case Answer(quote, voucher, collateral, overview, peers):
            body = {
                "kind": "answer",
                "quote": quote,
                "voucher": voucher,
                "collateral": collateral,
                "run": _run_body(overview),
                "peers": [_peer_body(peer) for peer in peers],
            }
        case Refusal(reason):
            body = refusal_body(reason)
    return frame(cbor.encode(body))


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


def decode_message(data: bytes, items: int) -> Message:
    """Decodes one frame's content strictly.

    Args:
        data: The content.
        items: Most items that what is due may have.

    Raises:
        MessageRefused: Not the canonical encoding of a message of this version.
    """
    return decode_strictly(data, _decode, between="server and visitor", items=items)


def _decode(body: dict[str, cbor.CborValue]) -> Message:
    match cbor.take_text(body, "kind", most=16):
        case "ask":
            cbor.exact_keys(
                body,
                frozenset({"kind", "version", "party", "signature", "nonce", "wants_collateral"}),
            )
            cbor.take_int(body, "version", least=VERSION, most=VERSION)
            return Ask(
                cbor.take_text(body, "party", most=_MAX_NAME),
                cbor.take_bytes(body, "signature", least=_SIGNATURE_BYTES, most=_SIGNATURE_BYTES),
                cbor.take_bytes(body, "nonce", least=NONCE_BYTES, most=NONCE_BYTES),
                cbor.take_bool(body, "wants_collateral"),
            )
        case "answer":
            cbor.exact_keys(
                body, frozenset({"kind", "quote", "voucher", "collateral", "run", "peers"})
            )
            return Answer(
                cbor.take_bytes(body, "quote", least=1, most=MAX_QUOTE_BYTES),
                cbor.take_bytes(body, "voucher", least=1, most=MAX_VOUCHER_BYTES),
                cbor.take_bytes(body, "collateral", least=0, most=MAX_STAPLE_BYTES),
                _run_of(_map(body.get("run"))),
                tuple(_peer_of(_map(peer)) for peer in _list(body.get("peers"))),
            )
        case "refusal":
            return refusal_of(body)
    raise cbor.CborInvalid("an unknown kind of message")


def _run_body(run: Progress) -> dict[str, cbor.CborValue]:
    checkpoint = run.checkpoint
    return {
        "phase": run.phase,
        "incarnation": run.incarnation,
        "step": run.step,
        "steps": run.steps,
        "joined": list(run.joined),
        "missing": list(run.missing),
        "silent": list(run.silent),
        "left_out": list(run.left_out),
        "checkpoint": None if checkpoint is None else [checkpoint.step, checkpoint.digest],
    }


def _run_of(body: dict[str, cbor.CborValue]) -> Progress:
    cbor.exact_keys(body, frozenset(field.name for field in fields(Progress)))
    phase = cbor.take_text(body, "phase", most=16)
    if phase not in get_args(Phase):
        raise cbor.CborInvalid("an unknown phase")
    return Progress(
        phase=cast("Literal['training']", phase),
        incarnation=cbor.take_int(body, "incarnation"),
        step=cbor.take_int(body, "step"),
        steps=cbor.take_int(body, "steps"),
        joined=_names(body.get("joined")),
        missing=_names(body.get("missing")),
        silent=_names(body.get("silent")),
        left_out=_names(body.get("left_out")),
        checkpoint=_checkpoint(body.get("checkpoint")),
    )


def _checkpoint(value: cbor.CborValue) -> DurableCheckpoint | None:
    match value:
        case None:
            return None
        case [int(step), bytes(digest)] if step >= 0 and len(digest) == 32:
            return DurableCheckpoint(step, digest)
    raise cbor.CborInvalid("checkpoint must be absent, or a step and 32 bytes")


def _peer_body(peer: SeenPeer) -> dict[str, cbor.CborValue]:
    return {
        "node": peer.node,
        "incarnation": peer.incarnation,
        "tcb_status": peer.tcb_status,
        "measurement": peer.measurement,
        "attested_at": peer.attested_at,
        "until": peer.until,
    }


def _peer_of(body: dict[str, cbor.CborValue]) -> SeenPeer:
    cbor.exact_keys(body, frozenset(field.name for field in fields(SeenPeer)))
    return SeenPeer(
        node=_name(body.get("node")),
        incarnation=cbor.take_int(body, "incarnation", most=2**64 - 1),
        tcb_status=_text(cbor.take_text(body, "tcb_status", most=100)),
        measurement=_text(cbor.take_text(body, "measurement", most=128)),
        attested_at=cbor.take_int(body, "attested_at", most=_LAST_SECOND),
        until=cbor.take_int(body, "until", most=_LAST_SECOND),
    )


def _map(value: cbor.CborValue) -> dict[str, cbor.CborValue]:
    if not isinstance(value, dict):
        raise cbor.CborInvalid("a map was expected")
    return value


def _list(value: cbor.CborValue) -> list[cbor.CborValue]:
    if not isinstance(value, list) or len(value) > _MAX_NODES:
        raise cbor.CborInvalid(f"a list of at most {_MAX_NODES} was expected")
    return value


def _names(value: cbor.CborValue) -> tuple[str, ...]:
    return tuple(_name(item) for item in _list(value))


def _name(value: cbor.CborValue) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME:
        raise cbor.CborInvalid("a node's name was expected")
    return _text(value)


def _text(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise cbor.CborInvalid("printable ASCII was expected")
    return value
