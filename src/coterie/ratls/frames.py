"""Splits a stream of bytes into frames: 4 bytes of length, big-endian, then one message.

Every frame's size is checked against the next expected message before it is stored.
"""

from __future__ import annotations

from collections.abc import Callable

from coterie.errors import MessageRefused
from coterie.ratls.schema import ITEMS, Codec, Message

MAX_FRAME_BYTES = 1 << 21
_PREFIX = 4
_AHEAD_BYTES = 1 << 16  # bytes that one read of a connection may bring beyond the expected frame


def frame(message: Message) -> bytes:
    """Encodes a message as a frame."""
    data = message.to_cbor()
    return len(data).to_bytes(_PREFIX, "big") + data


class FrameReader:
    """Buffers at most one frame, and the bytes that one read brings after it.

    Args:
        codec: Decodes the frames' contents.
        most: Longest content of the next frame.
        items: Most items in it.

    Attributes:
        most: Set it, and ``items``, whenever another message is expected.
    """

    def __init__(self, codec: Codec, most: int, *, items: int = ITEMS) -> None:
        assert most <= MAX_FRAME_BYTES
        self._codec = codec
        self._buffer = bytearray()
        self.most = most
        self.items = items

    def feed(self, data: bytes) -> None:
        """Takes received bytes.

        Raises:
            MessageRefused: A frame's length is too large, or too much was sent in advance.
        """
        self._buffer += data
        self._length()
        if len(self._buffer) > _PREFIX + self.most + _AHEAD_BYTES:
            raise _refused(self.most, "more, sent ahead")

    def next_message(self) -> Message | None:
        """The next complete message, or None until more bytes were received.

        Raises:
            MessageRefused: As for `feed`, or the frame is not a message.
        """
        length = self._length()
        if length is None or len(self._buffer) < _PREFIX + length:
            return None
        data = bytes(self._buffer[_PREFIX : _PREFIX + length])
        del self._buffer[: _PREFIX + length]
        return self._codec.decode(data, max_bytes=self.most, max_items=self.items)

    def read_message(self, receive: Callable[[], bytes]) -> Message:
        """The next complete message; calls ``receive`` until it is there.

        Raises:
            MessageRefused: As for `next_message`; also the errors of ``receive``.
        """
        while (message := self.next_message()) is None:
            self.feed(receive())
        return message

    def _length(self) -> int | None:
        if len(self._buffer) < _PREFIX:
            return None
        length = int.from_bytes(self._buffer[:_PREFIX], "big")
        if length > self.most:
            raise _refused(self.most, f"{length} bytes")
        return length


def _refused(most: int, seen: str) -> MessageRefused:
    return MessageRefused(
        "the peer sent a message that is longer than what is due",
        expected=f"at most {most} bytes here",
        seen=seen,
    )
