"""Frames: what goes in comes out, aligned; everything else is refused."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.errors import MessageRefused
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest, Push, octets_of

WORDS = st.binary(max_size=40).map(lambda octets: octets[: len(octets) // 4 * 4])


@given(
    st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.booleans(), WORDS, WORDS, WORDS, WORDS
)
def test_a_request_survives(
    incarnation: int, step: int, pushes: bool, dense: bytes, ids: bytes, rows: bytes, after: bytes
) -> None:
    held = step if pushes else None
    push = Push(7, 0.25, dense, ids, rows, correct=3) if pushes else None
    seen = ExchangeRequest.decode(
        b"".join(ExchangeRequest(incarnation, step, push, after, held).encode())
    )
    assert seen.held_step == held
    assert (seen.ps_incarnation, seen.step, bytes(seen.next_row_ids)) == (incarnation, step, after)
    if seen.push is None:
        assert push is None
    else:
        assert (seen.push.examples, seen.push.loss_sum, seen.push.correct) == (7, 0.25, 3)
        arrays = (seen.push.dense_gradient, seen.push.row_ids, seen.push.row_gradients)
        assert tuple(map(bytes, arrays)) == (dense, ids, rows)


@given(st.integers(0, 2**64 - 1), st.booleans(), WORDS, WORDS, st.booleans())
def test_a_reply_survives(
    step: int, pending: bool, dense: bytes, rows: bytes, announces: bool
) -> None:
    durable = pb.Checkpoint(step=5, digest=bytes(32)) if announces else None
    seen = ExchangeReply.decode(
        b"".join(
            ExchangeReply(step, pending, dense, rows, durable, 1.5, 0.5, None, announces).encode()
        )
    )
    assert seen.differences is announces
    assert (seen.step, seen.pending, seen.durable) == (step, pending, durable)
    assert (bytes(seen.dense_parameters), bytes(seen.rows)) == (dense, rows)
    assert (seen.served_seconds, seen.waited_seconds) == (1.5, 0.5)


def whole() -> bytes:
    push = Push(3, 1.0, bytes(60), bytes(12), bytes(24))
    return b"".join(ExchangeRequest(9, 4, push, bytes(8)).encode())


def test_arrays_are_views_that_lie_aligned() -> None:
    """Also behind arrays of odd lengths."""
    push = Push(3, 1.0, bytes(61), bytes(12), bytes(24))
    seen = ExchangeRequest.decode(b"".join(ExchangeRequest(9, 4, push, bytes(8)).encode()))
    assert seen.push is not None
    assert isinstance(seen.push.dense_gradient, memoryview)
    assert len(seen.push.dense_gradient) == 61
    for array in (seen.push.row_ids, seen.push.row_gradients, seen.next_row_ids):
        assert np.frombuffer(array, "<f4").flags.aligned


def test_every_truncation_and_every_addition_is_refused() -> None:
    octets = whole()
    for end in range(len(octets)):
        with pytest.raises(MessageRefused, match="not a frame of this protocol"):
            ExchangeRequest.decode(octets[:end])
    with pytest.raises(MessageRefused, match="not a frame of this protocol"):
        ExchangeRequest.decode(octets + b"\0")


@given(st.binary(max_size=200))
def test_anything_else_is_refused_or_a_frame(octets: bytes) -> None:
    with suppress(MessageRefused):
        assert isinstance(ExchangeRequest.decode(octets), ExchangeRequest)


def test_padding_holds_nothing() -> None:
    octets = bytearray(whole())
    head = int.from_bytes(octets[:4], "little")
    assert (4 + head) % 16, "the scene needs padding"
    octets[4 + head] = 1
    with pytest.raises(MessageRefused, match="not a frame of this protocol"):
        ExchangeRequest.decode(bytes(octets))


def test_an_array_is_sent_from_where_it_lies() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert bytes(octets_of(array)) == array.tobytes()
    assert bytes(octets_of(array[:, ::2])) == array[:, ::2].tobytes()
    assert octets_of(array[:0]) == b""
