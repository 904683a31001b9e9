"""Fields that this version does not know are refused, in whatever message and however deep."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from google.protobuf.message import DecodeError, Message

from coterie.errors import MessageRefused
from coterie.ps.methods import ReplyStream, RequestStream, Unary
from coterie.ps.ports import DataReceiverPort, ParameterServerPort
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest
from coterie.ps.wire.strict import read_message

UNKNOWN = b"\xf8\x7f\x01"  # field 2047, a number
Path = tuple[str, ...]


def paths(kind: type[Message]) -> Iterator[Path]:
    """Ways to every message in a message, itself first."""
    yield ()
    for field in kind.DESCRIPTOR.fields:
        if field.message_type is not None:
            for rest in paths(getattr(pb, field.message_type.name)):
                yield field.name, *rest


def with_unknown(message: Message, path: Path) -> bytes:
    """The message with one more field in the message at the path's end."""
    found = message
    for name in path:
        inner = getattr(found, name)
        found = inner.add() if hasattr(inner, "add") else inner
        found.SetInParent()
    found.MergeFromString(UNKNOWN)
    return message.SerializeToString()


def sent() -> Iterator[tuple[type[Message], Callable[[bytes], object]]]:
    """Every message of the protocol, and what reads it."""
    for table in (ParameterServerPort, DataReceiverPort):
        for method in table.methods():
            assert isinstance(method, Unary | ReplyStream | RequestStream)
            codec = method.codec
            for kind, decode in (
                (codec.request, codec.decode_request),
                (codec.reply, codec.decode_reply),
            ):
                if issubclass(kind, Message):
                    yield kind, decode


SENT = dict(sorted((kind.__name__, (kind, decode)) for kind, decode in sent()))


@pytest.mark.parametrize("name", SENT)
def test_no_message_has_one(name: str) -> None:
    kind, decode = SENT[name]
    decode(kind().SerializeToString())
    for path in paths(kind):
        with pytest.raises(DecodeError, match="unknown field"):
            decode(with_unknown(kind(), path))


@pytest.mark.parametrize("frame", [ExchangeRequest(9, 4, None, b""), ExchangeReply(4)])
def test_no_head_of_a_frame_has_one(frame: ExchangeRequest | ExchangeReply) -> None:
    kind: type[Message] = (
        pb.ExchangeRequestHead if isinstance(frame, ExchangeRequest) else pb.ExchangeReplyHead
    )
    octets = b"".join(frame.encode())
    head = octets[4 : 4 + int.from_bytes(octets[:4], "little")]
    for path in paths(kind):
        changed = with_unknown(read_message(kind, head), path)
        start = len(changed).to_bytes(4, "little") + changed
        with pytest.raises(MessageRefused) as refused:
            frame.decode(start + bytes(-len(start) % 16))
        assert refused.value.expected == "a readable head"
