"""The messages between a node and a key server (version 1).

After TLS 1.3 (application protocol ``coterie-keys/1``):

1. The server sends a nonce and its party's signature on this TLS session.
2. The node requests one key or voucher, with a quote made for this session.
3. The server grants it, or refuses with a reason.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from coterie.ratls.messages import (
    REFUSAL_BYTES,
    QuoteBytes,
    Refusal,
    Staple,
    VoucherBytes,
    WithTokens,
    evidence_bytes,
)
from coterie.ratls.request import Protocol
from coterie.ratls.schema import Codec, Message, Nonce, Signature
from coterie.ratls.voucher import MAX_VOUCHER_BYTES

Wanted = Literal["voucher", "data", "model", "share"]
PLAIN = b"plain"
# Longest contents of a frame by message; a refusal may replace an answer.
HELLO_BYTES = 256
GRANT_BYTES = REFUSAL_BYTES
_SET_ID_BYTES = 32


class ServerHello(Message):
    """The server's first message.

    Attributes:
        nonce: 32 fresh random bytes that the node's quote must cover.
        signature: Ed25519 by the party's key, over the label, the TLS exporter and both keys.
        wants_collateral: The server has no collateral for the node's quote and asks the node to staple it.
    """

    KIND = "hello"
    VERSION = 1
    nonce: Nonce
    signature: Signature
    wants_collateral: bool


class KeyRequest(WithTokens):
    """A node's request.

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

    KIND = "request"
    wanted: Wanted
    set_id: bytes
    voucher: VoucherBytes
    quote: QuoteBytes
    collateral: Staple

    @model_validator(mode="after")
    def _fits_what_is_wanted(self) -> Self:
        if len(self.set_id) != (_SET_ID_BYTES if self.wanted == "data" else 0):
            raise ValueError(f"set_id has {_SET_ID_BYTES} bytes for data, and none for the rest")
        if self.voucher and self.wanted != "share":
            raise ValueError("a voucher is only for a share")
        return self


class Grant(Message):
    """The answer to a request.

    Attributes:
        content: A voucher in CBOR; a key or share of 32 bytes; of a model's key its id first, or
            ``PLAIN``: the party lets the node keep the model open.
    """

    KIND = "grant"
    content: Annotated[bytes, Field(min_length=1, max_length=MAX_VOUCHER_BYTES, repr=False)]


PROTOCOL = Protocol(
    alpn=b"coterie-keys/1",
    exporter_label=b"EXPORTER-coterie-keys-1",
    label=b"coterie key server 1\0",
    codec=Codec(ServerHello, KeyRequest, Grant, Refusal, between="node and key server"),
)


def request_bytes(*, stapled: bool, tokens: bool = False) -> int:
    """Longest content of the frame with a node's request.

    Args:
        stapled: Whether the server asked the node for its collateral.
        tokens: Whether the contract demands tokens of the node.
    """
    return evidence_bytes(stapled=stapled, tokens=tokens)
