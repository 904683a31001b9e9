"""Frames: one encoding per message, bounds before anything is held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.errors import MessageRefused
from coterie.ratls import cbor
from coterie.ratls.messages import (
    MAX_FRAME_BYTES,
    Acceptance,
    ContractMessage,
    EvidenceMessage,
    FrameReader,
    Hello,
    Message,
    Refusal,
    decode_message,
    encode_message,
)
from coterie.text import MAX_TEXT

KEYS = ("error", "what", "expected", "seen", "remedy", "failed_check")

messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, st.binary(min_size=32, max_size=32), st.booleans()),
    st.builds(
        EvidenceMessage,
        st.binary(min_size=1, max_size=500),
        st.binary(max_size=100),
        st.binary(max_size=500),
    ),
    st.builds(ContractMessage, st.binary(min_size=2, max_size=500)),
    st.builds(Acceptance, st.integers(0, 65_535), st.integers(0, 2**33)),
    st.builds(
        Refusal,
        st.fixed_dictionaries(
            {key: st.text(st.characters(categories=["L", "N"]), max_size=50) for key in KEYS}
        ),
    ),
)


@given(messages)
def test_what_is_encoded_is_decoded_again(message: Message) -> None:
    reader = FrameReader(decode_message, MAX_FRAME_BYTES)
    reader.feed(encode_message(message))

    assert reader.next_message() == message
    assert reader.next_message() is None


@given(st.lists(messages, min_size=1, max_size=4), st.integers(1, 64))
def test_frames_are_cut_alike_however_they_arrive(sent: list[Message], size: int) -> None:
    stream = b"".join(encode_message(message) for message in sent)
    reader, received = FrameReader(decode_message, MAX_FRAME_BYTES), []
    for i in range(0, len(stream), size):
        reader.feed(stream[i : i + size])
        while (message := reader.next_message()) is not None:
            received.append(message)

    assert received == sent


@given(st.binary(max_size=300))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    try:
        message = decode_message(data)
    except MessageRefused:
        return
    assert encode_message(message)[4:] == data


@given(messages, st.data())
def test_a_changed_byte_gives_another_message_or_none(
    message: Message, data: st.DataObject
) -> None:
    frame = bytearray(encode_message(message)[4:])
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    try:
        other = decode_message(bytes(frame))
    except MessageRefused:
        return
    assert other != message or isinstance(message, Refusal)  # unprintable characters are replaced


def test_a_frame_that_says_it_is_too_long_is_refused_at_once() -> None:
    reader = FrameReader(decode_message, MAX_FRAME_BYTES)

    with pytest.raises(MessageRefused):
        reader.feed((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))


def test_a_peer_that_sends_far_ahead_is_refused() -> None:
    reader = FrameReader(decode_message, MAX_FRAME_BYTES)
    frame = MAX_FRAME_BYTES.to_bytes(4, "big") + bytes(MAX_FRAME_BYTES)
    reader.feed(frame)

    with pytest.raises(MessageRefused):
        reader.feed(frame + frame)


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "hello", "version": 1, "nonce": bytes(32), "wants_collateral": False},
        {"kind": "hello", "version": 2, "nonce": bytes(31), "wants_collateral": False},
        {"kind": "hello", "version": 2, "nonce": bytes(32), "wants_collateral": 0},
        {"kind": "hello", "version": True, "nonce": bytes(32), "wants_collateral": False},
        {"kind": "hello", "version": 2, "nonce": bytes(32)},
        {"kind": "hello", "version": 2, "nonce": bytes(32), "wants_collateral": False, "x": 1},
        {"kind": "evidence", "quote": b"", "voucher": b"", "collateral": b""},
        {"kind": "acceptance", "grpc_port": 65_536, "valid_until": 1},
        {"kind": "acceptance", "grpc_port": -1, "valid_until": 1},
        {"kind": "acceptance", "grpc_port": 1, "valid_until": 2**60},
        {"kind": "refusal", **dict.fromkeys(KEYS, "x" * (MAX_TEXT + 1))},
        {"kind": "shutdown"},
        {"kind": 1},
    ],
)
def test_values_out_of_bounds_are_refused(body: dict[str, cbor.CborValue]) -> None:
    with pytest.raises(MessageRefused):
        decode_message(cbor.encode(body))


def test_a_refusals_text_is_bounded_and_fit_for_a_terminal() -> None:
    frame = encode_message(Refusal({"what": "\x1b[2J" + "x" * 10_000}))

    message = decode_message(frame[4:])

    assert isinstance(message, Refusal)
    assert len(message.reason["what"]) == MAX_TEXT
    assert message.reason["what"].startswith("?[2Jxxx")
    assert message.reason["expected"] == ""
