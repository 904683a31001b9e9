"""Frames: bounds before anything is held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.errors import MessageRefused
from coterie.ratls.frames import MAX_FRAME_BYTES, FrameReader, frame
from coterie.ratls.messages import CODEC
from coterie.ratls.schema import Message
from tests.ratls.messages_of import HANDSHAKE


@given(st.lists(HANDSHAKE, min_size=1, max_size=4), st.integers(1, 64))
def test_frames_are_cut_alike_however_they_arrive(sent: list[Message], size: int) -> None:
    stream = b"".join(frame(message) for message in sent)
    reader, received = FrameReader(CODEC, MAX_FRAME_BYTES), []
    for i in range(0, len(stream), size):
        reader.feed(stream[i : i + size])
        while (message := reader.next_message()) is not None:
            received.append(message)

    assert received == sent


def test_a_frame_that_says_it_is_too_long_is_refused_at_once() -> None:
    reader = FrameReader(CODEC, MAX_FRAME_BYTES)

    with pytest.raises(MessageRefused):
        reader.feed((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))


def test_a_peer_that_sends_far_ahead_is_refused() -> None:
    reader = FrameReader(CODEC, MAX_FRAME_BYTES)
    framed = MAX_FRAME_BYTES.to_bytes(4, "big") + bytes(MAX_FRAME_BYTES)
    reader.feed(framed)

    with pytest.raises(MessageRefused):
        reader.feed(framed + framed)
