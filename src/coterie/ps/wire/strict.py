"""Reads protobuf messages strictly: unknown fields are refused instead of skipped.

Protobuf skips unknown fields, so that programs of different versions understand each other. Here
both sides run the same measured program, which never sends unknown fields.
"""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

Received = TypeVar("Received", bound=Message)


def read_message(kind: type[Received], octets: bytes) -> Received:
    """Decodes a message of this protocol.

    Raises:
        DecodeError: It is malformed, or has an unknown field at any depth.
    """
    message = kind()
    message.ParseFromString(octets)
    _refuse_unknown(message)
    return message


def _refuse_unknown(message: Message) -> None:
    # Visit only fields that hold messages: reading a bytes field copies it.
    if len(UnknownFieldSet(message)):
        raise DecodeError(f"an unknown field in {message.DESCRIPTOR.name}")
    for name, repeated in _nested(message.DESCRIPTOR):
        if repeated:
            for item in getattr(message, name):
                _refuse_unknown(item)
        elif message.HasField(name):
            _refuse_unknown(getattr(message, name))


@cache
def _nested(kind: Descriptor) -> tuple[tuple[str, bool], ...]:
    """The fields of a message type that hold messages, and whether they are repeated."""
    return tuple(
        (field.name, field.is_repeated) for field in kind.fields if field.message_type is not None
    )
