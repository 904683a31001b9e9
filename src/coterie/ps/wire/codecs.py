"""Codecs of calls' messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from coterie.errors import MessageRefused
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest, Octets
from coterie.ps.wire.strict import read_message

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Sent = TypeVar("Sent", bound=Message)
Received = TypeVar("Received", bound=Message)


@dataclass(frozen=True)
class Codec(Generic[Request, Reply]):
    """Encodes and decodes a call's messages.

    Attributes:
        request: Type of the message that goes to the service.
        reply: Type of the message that comes back.
        encode_request: Encodes it, in pieces that follow each other.
    """

    request: type[Request]
    reply: type[Reply]
    encode_request: Callable[[Request], Sequence[Octets]]
    decode_request: Callable[[Octets], Request]
    encode_reply: Callable[[Reply], Sequence[Octets]]
    decode_reply: Callable[[Octets], Reply]


def protobuf_codec(request: type[Sent], reply: type[Received]) -> Codec[Sent, Received]:
    """The codec of calls with protobuf messages."""
    return Codec(
        request,
        reply,
        lambda message: (message.SerializeToString(),),
        lambda octets: read_message(request, bytes(octets)),
        lambda message: (message.SerializeToString(),),
        lambda octets: read_message(reply, bytes(octets)),
    )


EXCHANGE = Codec(
    ExchangeRequest,
    ExchangeReply,
    ExchangeRequest.encode,
    ExchangeRequest.decode,
    ExchangeReply.encode,
    ExchangeReply.decode,
)


def decoded(decode: Callable[[Octets], Request], octets: Octets) -> Request:
    """Decodes a peer's message.

    Raises:
        MessageRefused: It cannot be decoded.
    """
    try:
        return decode(octets)
    except DecodeError as error:
        raise MessageRefused(
            "a message cannot be decoded",
            expected="a message of this protocol",
            seen=f"{len(octets)} bytes of something else",
        ) from error
