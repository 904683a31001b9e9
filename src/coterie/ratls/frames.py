"""Cuts a stream of bytes into frames: 4 bytes of length, big-endian, then one message.

Every frame is bounded by what may come next before it is held.
"""

from __future__ import annotations

from collections.abc import Callable

from coterie.errors import MessageRefused
from coterie.ratls.schema import ITEMS, Codec, Message

MAX_FRAME_BYTES = 1 << 21
_PREFIX = 4
_AHEAD_BYTES = 1 << 16  # what one read of a connection brings beyond the frame that is due


def frame(message: Message) -> bytes:
    """A message as it travels."""
    data = message.to_cbor()
    return len(data).to_bytes(_PREFIX, "big") + data


class FrameReader:
    """Holds at most one frame, and what one read brings after it.

    Args:
        codec: Decodes the frames' contents.
        most: Longest content of the next frame.
        items: Most items in it.

    Attributes:
        most: To be set anew whenever something else is due, like ``items``.
    """

    def __init__(self, codec: Codec, most: int, *, items: int = ITEMS) -> None:
        assert most <= MAX_FRAME_BYTES
        self._codec = codec
        self._buffer = bytearray()
        self.most = most
        self.items = items

    def feed(self, data: bytes) -> None:
        """Takes bytes as they come.

        Raises:
            MessageRefused: A frame says that it is too long, or far too much was sent ahead.
        """
        self._buffer += data
        self._length()
        if len(self._buffer) > _PREFIX + self.most + _AHEAD_BYTES:
            raise _refused(self.most, "more, sent ahead")

    def next_message(self) -> Message | None:
        """The next whole message, or None until more bytes have come.

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
            raise _refused(self.most, f"{length} bytes")
        return length


def _refused(most: int, seen: str) -> MessageRefused:
    return MessageRefused(
        "the peer sent a message that is longer than what is due",
        expected=f"at most {most} bytes here",
        seen=seen,
    )
