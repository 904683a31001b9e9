"""A connection whose calls are read, and what it refuses."""

from __future__ import annotations

import pytest

from coterie.errors import CallRefused
from coterie.tensorflow.calls.http2 import Budget, CallReader, Method
from fuzz.speaking import SERVICE, Speaker, headers_of

RUN, RECEIVE = f"{SERVICE}RunGraph", f"{SERVICE}RecvTensor"
CALL = headers_of(RUN)
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)


def not_forbidden(octets: bytes) -> None:
    if b"forbidden" in octets:
        raise CallRefused("forbidden")


def reader(budget: Budget | None = None) -> CallReader:
    methods = {RUN: Method(1000, not_forbidden), RECEIVE: Method(100_000, not_forbidden)}
    return CallReader("acme", methods, budget or Budget(1 << 25))


def passed(one: CallReader, octets: bytes) -> bytes:
    return b"".join(one.feed(octets))


def begun(budget: Budget | None = None) -> tuple[CallReader, Speaker]:
    one, speaker = reader(budget), Speaker()
    assert passed(one, speaker.opening) == speaker.opening
    return one, speaker


def framed(
    kind: int, flags: int, stream: int, body: bytes = b"", length: int | None = None
) -> bytes:
    """A frame of any type, with any flags, whose head may say another length."""
    size = len(body) if length is None else length
    return size.to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + body


def seen(octets: bytes, *, budget: Budget | None = None) -> str:
    """Of the refusal of a connection that begins in order."""
    one, speaker = begun(budget)
    with pytest.raises(CallRefused) as refused:
        passed(one, octets)
    assert refused.value.what == "acme sends something else than calls of TensorFlow"
    assert "acme" not in str(speaker.opening)
    return str(refused.value.seen)
