"""The messages of the session exchange: 4-byte big-endian length, then deterministic CBOR.

Every frame is bounded by what may come next before it is held; its items are counted before it is
decoded, and it is decoded strictly before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from coterie.contract.loading import MAX_CONTRACT_BYTES
from coterie.errors import MessageRefused
from coterie.ratls import cbor
from coterie.ratls.evidence import MAX_QUOTE_BYTES
from coterie.ratls.voucher import MAX_VOUCHER_BYTES
from coterie.text import MAX_TEXT, printable

VERSION = 2  # 1 had no token that binds calls to the session
NONCE_BYTES = 32
MAX_STAPLE_BYTES = 1 << 20
MAX_FRAME_BYTES = 1 << 21
# Longest contents of a frame, by what it may be.
HELLO_BYTES = 128
REFUSAL_BYTES = 1 << 14
ACCEPTANCE_BYTES = REFUSAL_BYTES  # a refusal may stand in its place
CONTRACT_BYTES = MAX_CONTRACT_BYTES + 64
_PREFIX = 4
_AHEAD_BYTES = 1 << 16  # what one read of a connection brings beyond the frame that is due
_ITEMS = 16  # no message of the exchange has more
_REFUSAL_KEYS = ("error", "what", "expected", "seen", "remedy", "failed_check")


@dataclass(frozen=True)
class Hello:
    """First message of each side.

    Attributes:
        nonce: 32 fresh random bytes that the peer's evidence must cover.
        wants_collateral: This side has no collateral for the peer's quote: please staple it.
    """

    nonce: bytes
    wants_collateral: bool


@dataclass(frozen=True)
class EvidenceMessage:
    """Second message of each side.

    Attributes:
        quote: Fresh quote over the session's report data.
        voucher: The party's voucher in CBOR; empty if there is none.
        collateral: Collateral for the quote in JSON; empty unless the peer asked for it.
    """

    quote: bytes
    voucher: bytes
    collateral: bytes


@dataclass(frozen=True)
class ContractMessage:
    """Sent only where the contracts differ.

    Attributes:
        contract: This side's contract, canonical JSON.
    """

    contract: bytes


@dataclass(frozen=True)
class Acceptance:
    """Last message of each side.

    Attributes:
        grpc_port: Port of the listener's gRPC server; 0 from the dialler.
        valid_until: Unix seconds; the sender trusts the receiver's certificate until then.
    """

    grpc_port: int
    valid_until: int


@dataclass(frozen=True)
class Refusal:
    """Sent in place of any message but the first.

    Attributes:
        reason: The fields of the error's ``to_dict``, bounded and printable.
    """

    reason: Mapping[str, str]


Decoded = TypeVar("Decoded")
Message = Hello | EvidenceMessage | ContractMessage | Acceptance | Refusal


def encode_message(message: Message) -> bytes:
    """One frame."""
    match message:
        case Hello(nonce, wants):
            body: dict[str, cbor.CborValue] = {
                "kind": "hello",
                "version": VERSION,
                "nonce": nonce,
                "wants_collateral": wants,
            }
        case EvidenceMessage(quote, voucher, collateral):
            body = {
                "kind": "evidence",
                "quote": quote,
                "voucher": voucher,
                "collateral": collateral,
            }
        case ContractMessage(contract):
            body = {"kind": "contract", "contract": contract}
        case Acceptance(port, until):
            body = {"kind": "acceptance", "grpc_port": port, "valid_until": until}
        case Refusal(reason):
            body = refusal_body(reason)
    return frame(cbor.encode(body))


def refusal_body(reason: Mapping[str, str]) -> dict[str, cbor.CborValue]:
    """A refusal's fields on the wire, bounded."""
    return {"kind": "refusal", **{key: printable(reason.get(key, "")) for key in _REFUSAL_KEYS}}


def refusal_of(body: dict[str, cbor.CborValue]) -> Refusal:
    """Reads a refusal's fields.

    Raises:
        CborInvalid: Others than a refusal's.
    """
    cbor.exact_keys(body, frozenset({"kind", *_REFUSAL_KEYS}))
    return Refusal(
        {key: printable(cbor.take_text(body, key, most=MAX_TEXT)) for key in _REFUSAL_KEYS}
    )


def frame(data: bytes) -> bytes:
    """A message's encoding as it travels: with its length before it."""
    return len(data).to_bytes(_PREFIX, "big") + data


def evidence_bytes(*, stapled: bool) -> int:
    """Longest content of the frame with a peer's evidence, or of a refusal in its place.

    Args:
        stapled: Whether the peer was asked for its collateral.
    """
    return MAX_QUOTE_BYTES + MAX_VOUCHER_BYTES + (MAX_STAPLE_BYTES if stapled else 0) + 128


def decode_message(data: bytes) -> Message:
    """Decodes one frame's content strictly.

    Raises:
        MessageRefused: Not the canonical encoding of a message of this version.
    """
    try:
        return _decode(cbor.decode_map(data, max_bytes=MAX_FRAME_BYTES, max_items=_ITEMS))
    except cbor.CborInvalid as error:
        raise _refused("canonical CBOR of a message of this version", str(error)) from error


def decode_strictly(
    data: bytes,
    decode: Callable[[dict[str, cbor.CborValue]], Decoded],
    *,
    between: str,
    items: int = _ITEMS,
) -> Decoded:
    """Decodes one frame of a protocol that is spoken beside the handshake.

    Args:
        data: The frame's content.
        decode: Makes a message of its map; raises ``CborInvalid`` for any other.
        between: Who speaks it, for errors.
        items: Most items that a message may have.

    Raises:
        MessageRefused: Not the canonical encoding of a message of this version.
    """
    try:
        return decode(cbor.decode_map(data, max_bytes=MAX_FRAME_BYTES, max_items=items))
    except cbor.CborInvalid as error:
        raise MessageRefused(
            f"a message between {between} cannot be read",
            expected="canonical CBOR of a message of this version",
            seen=printable(str(error)),
            remedy="run the same version of Coterie on both sides",
        ) from error


class FrameReader(Generic[Decoded]):
    """Cuts a stream of bytes into frames; holds at most one frame and what one read brings after it.

    Args:
        decode: Decodes one frame's content.
        most: Longest content of the next frame; to be set anew whenever something else is due.
    """

    def __init__(self, decode: Callable[[bytes], Decoded], most: int) -> None:
        assert most <= MAX_FRAME_BYTES
        self._decode = decode
        self._buffer = bytearray()
        self.most = most

    def feed(self, data: bytes) -> None:
        """Takes bytes as they come.

        Raises:
            MessageRefused: A frame says that it is too long, or far too much was sent ahead.
        """
        self._buffer += data
        self._length()
        if len(self._buffer) > _PREFIX + self.most + _AHEAD_BYTES:
            raise _refused(f"at most {self.most} bytes here", "more, sent ahead")

    def next_message(self) -> Decoded | None:
        """The next whole message, or None until more bytes have come.

        Raises:
            MessageRefused: As for `feed`, and what ``decode`` raises.
        """
        length = self._length()
        if length is None or len(self._buffer) < _PREFIX + length:
            return None
        data = bytes(self._buffer[_PREFIX : _PREFIX + length])
        del self._buffer[: _PREFIX + length]
        return self._decode(data)

    def read_message(self, receive: Callable[[], bytes]) -> Decoded:
        """The next whole message, for which ``receive`` is called as long as it takes.

        Raises:
            MessageRefused: As for `next_message`; and what ``receive`` raises.
        """
        while (message := self.next_message()) is None:
            self.feed(receive())
        return message

    def _length(self) -> int | None:
        if len(self._buffer) < _PREFIX:
            return None
        length = int.from_bytes(self._buffer[:_PREFIX], "big")
        if length > self.most:
            raise _refused(f"at most {self.most} bytes here", f"{length} bytes")
        return length


def _decode(body: dict[str, cbor.CborValue]) -> Message:
    kind = cbor.take_text(body, "kind", most=16)
    if kind == "hello":
        cbor.exact_keys(body, frozenset({"kind", "version", "nonce", "wants_collateral"}))
        cbor.take_int(body, "version", least=VERSION, most=VERSION)
        return Hello(
            cbor.take_bytes(body, "nonce", least=NONCE_BYTES, most=NONCE_BYTES),
            cbor.take_bool(body, "wants_collateral"),
        )
    if kind == "evidence":
        cbor.exact_keys(body, frozenset({"kind", "quote", "voucher", "collateral"}))
        return EvidenceMessage(
            cbor.take_bytes(body, "quote", least=1, most=MAX_QUOTE_BYTES),
            cbor.take_bytes(body, "voucher", least=0, most=MAX_VOUCHER_BYTES),
            cbor.take_bytes(body, "collateral", least=0, most=MAX_STAPLE_BYTES),
        )
    if kind == "contract":
        cbor.exact_keys(body, frozenset({"kind", "contract"}))
        return ContractMessage(cbor.take_bytes(body, "contract", least=2, most=MAX_CONTRACT_BYTES))
    if kind == "acceptance":
        cbor.exact_keys(body, frozenset({"kind", "grpc_port", "valid_until"}))
        return Acceptance(
            cbor.take_int(body, "grpc_port", most=65_535),
            cbor.take_int(body, "valid_until", most=253_402_300_799),
        )
    if kind == "refusal":
        return refusal_of(body)
    raise cbor.CborInvalid(f"unknown kind {printable(kind)}")


def _refused(expected: str, seen: str) -> MessageRefused:
    return MessageRefused(
        "the peer sent a message that the session exchange does not allow",
        expected=expected,
        seen=printable(seen),
        remedy="both sides must run the same Coterie release",
    )
