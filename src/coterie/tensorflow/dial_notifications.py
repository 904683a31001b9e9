"""How Python hears whom TensorFlow dials: the native part rings, two bytes for each dial, big-endian.

A pair of stream sockets: Gramine's library OS has no pairs of another kind, that would keep messages apart.
"""

from __future__ import annotations

import socket
from contextlib import suppress

_READ_BYTES = 4096
_NUMBER_BYTES = 2


class DialNotifications:
    """Rung with numbers of nodes. For one listener.

    Attributes:
        rope: The descriptor that the native part writes to.
    """

    def __init__(self) -> None:
        self._ear, self._far = socket.socketpair()
        self._ear.settimeout(0)
        self._unread = b""
        self.rope = self._far.fileno()

    def fileno(self) -> int:
        """Readable when it was rung."""
        return self._ear.fileno()

    def heard(self) -> list[int]:
        """Whom TensorFlow has dialled since the last time: a number for each dial; never waits."""
        with suppress(BlockingIOError):
            self._unread += self._ear.recv(_READ_BYTES)
        whole = len(self._unread) - len(self._unread) % _NUMBER_BYTES
        numbers, self._unread = self._unread[:whole], self._unread[whole:]
        return [
            int.from_bytes(numbers[at : at + _NUMBER_BYTES], "big")
            for at in range(0, whole, _NUMBER_BYTES)
        ]

    def close(self) -> None:
        """Hears nothing any more."""
        self._ear.close()
        self._far.close()
