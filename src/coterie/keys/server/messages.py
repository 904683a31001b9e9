"""The messages between a node and a key server: framed and encoded like the handshake's.

After TLS 1.3 (application protocol ``coterie-keys/1``):

1. The server says hello: a nonce, and its party's signature on this very TLS session.
2. The node asks for one thing, with a quote that was made for this session.
3. The server grants it, or refuses and says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from coterie.ratls import cbor
from coterie.ratls.evidence import MAX_QUOTE_BYTES
from coterie.ratls.messages import (
    MAX_STAPLE_BYTES,
    NONCE_BYTES,
    REFUSAL_BYTES,
    Refusal,
    decode_strictly,
    evidence_bytes,
    frame,
    refusal_body,
    refusal_of,
)
from coterie.ratls.voucher import MAX_VOUCHER_BYTES

ALPN = b"coterie-keys/1"
VERSION = 1
Wanted = Literal["voucher", "data", "model", "share"]
PLAIN = b"plain"
# Longest contents of a frame, by what it may be; a refusal may stand in an answer's place.
HELLO_BYTES = 256
GRANT_BYTES = REFUSAL_BYTES
_SIGNATURE_BYTES = 64
_SET_ID_BYTES = 32


@dataclass(frozen=True)
class ServerHello:
    """The server's first message.

    Attributes:
        nonce: 32 fresh random bytes that the node's quote must cover.
        signature: Ed25519 by the party's key, over the label, the TLS exporter and both keys.
        wants_collateral: The server has no collateral for the node's quote: please staple it.
    """

    nonce: bytes
    signature: bytes
    wants_collateral: bool


@dataclass(frozen=True)
class KeyRequest:
    """What a node asks for.

    Attributes:
        wanted: ``voucher``: the party's word for the key that this session is with; ``data``: the
            key of a sealed data set; ``model``: the key that the party's trained model is to be
            sealed under; ``share``: the party's share of the key of the run's checkpoints.
        set_id: Which data set, 32 bytes; empty for anything else.
        voucher: Of the node's own party, CBOR, where another party's server is asked for its share;
            else empty.
        quote: Made for this session.
        collateral: For the quote, JSON; empty unless the server asked for it.
    """

    wanted: Wanted
    set_id: bytes
    voucher: bytes
    quote: bytes
    collateral: bytes


@dataclass(frozen=True)
class Grant:
    """What was asked for.

    Attributes:
        content: A voucher in CBOR; a key or share of 32 bytes; of a model's key its id first, or
            ``PLAIN``: the party lets the node keep the model open.
    """

    content: bytes

    def __repr__(self) -> str:
        return f"Grant({len(self.content)} bytes)"


Message = ServerHello | KeyRequest | Grant | Refusal


def request_bytes(*, stapled: bool) -> int:
    """Longest content of the frame with a node's request.

    Args:
        stapled: Whether the node was asked for its collateral.
    """
    return evidence_bytes(stapled=stapled)


def encode_message(message: Message) -> bytes:
    """One frame."""
    body: Mapping[str, cbor.CborValue]
    match message:
        case ServerHello(nonce, signature, wants):
            body = {
                "kind": "hello",
                "version": VERSION,
                "nonce": nonce,
                "signature": signature,
                "wants_collateral": wants,
            }
        case KeyRequest(wanted, set_id, voucher, quote, collateral):
            body = {
                "kind": "request",
                "wanted": wanted,
                "set_id": set_id,
                "voucher": voucher,
                "quote": quote,
                "collateral": collateral,
            }
        case Grant(content):
            body = {"kind": "grant", "content": content}
        case Refusal(reason):
            body = refusal_body(reason)
    return frame(cbor.encode(body))


def decode_message(data: bytes) -> Message:
    """Decodes one frame's content strictly.

    Raises:
        MessageRefused: Not the canonical encoding of a message of this version.
    """
    return decode_strictly(data, _decode, between="node and key server")


def _decode(body: dict[str, cbor.CborValue]) -> Message:
    kind = cbor.take_text(body, "kind", most=16)
    match kind:
        case "hello":
            cbor.exact_keys(
                body, frozenset({"kind", "version", "nonce", "signature", "wants_collateral"})
            )
            cbor.take_int(body, "version", least=VERSION, most=VERSION)
            return ServerHello(
                cbor.take_bytes(body, "nonce", least=NONCE_BYTES, most=NONCE_BYTES),
                cbor.take_bytes(body, "signature", least=_SIGNATURE_BYTES, most=_SIGNATURE_BYTES),
                cbor.take_bool(body, "wants_collateral"),
            )
        case "request":
            cbor.exact_keys(
                body, frozenset({"kind", "wanted", "set_id", "voucher", "quote", "collateral"})
            )
            return _request(body)
        case "grant":
            cbor.exact_keys(body, frozenset({"kind", "content"}))
            return Grant(cbor.take_bytes(body, "content", least=1, most=MAX_VOUCHER_BYTES))
        case "refusal":
            return refusal_of(body)
    raise cbor.CborInvalid("an unknown kind of message")


def _request(body: dict[str, cbor.CborValue]) -> KeyRequest:
    wanted = cbor.take_text(body, "wanted", most=16)
    size = {"voucher": 0, "data": _SET_ID_BYTES, "model": 0, "share": 0}.get(wanted)
    if size is None:
        raise cbor.CborInvalid("a wish for something unknown")
    return KeyRequest(
        cast("Wanted", wanted),
        cbor.take_bytes(body, "set_id", least=size, most=size),
        cbor.take_bytes(
            body, "voucher", least=0, most=MAX_VOUCHER_BYTES if wanted == "share" else 0
        ),
        cbor.take_bytes(body, "quote", least=1, most=MAX_QUOTE_BYTES),
        cbor.take_bytes(body, "collateral", least=0, most=MAX_STAPLE_BYTES),
    )
