"""Notifies Python of dials: the native part writes each node's number, two bytes, big-endian.

The channel is a pair of stream sockets: Gramine's library OS has no pairs that preserve message
boundaries.
"""

from __future__ import annotations

import socket
from contextlib import suppress

_READ_BYTES = 4096
_NUMBER_BYTES = 2


class DialNotifications:
    """Receives the numbers of dialled nodes. For one reader.

    Attributes:
        rope: The descriptor that the native part writes to.
    """

    def __init__(self) -> None:
        self._ear, self._far = socket.socketpair()
        self._ear.settimeout(0)
        self._unread = b""
        self.rope = self._far.fileno()

    def fileno(self) -> int:
        """Descriptor that is readable when a node was dialled."""
        return self._ear.fileno()

    def heard(self) -> list[int]:
        """Numbers of the nodes dialled since the last call, one for each dial; never waits."""
        with suppress(BlockingIOError):
            self._unread += self._ear.recv(_READ_BYTES)
        whole = len(self._unread) - len(self._unread) % _NUMBER_BYTES
        numbers, self._unread = self._unread[:whole], self._unread[whole:]
        return [
            int.from_bytes(numbers[at : at + _NUMBER_BYTES], "big")
            for at in range(0, whole, _NUMBER_BYTES)
        ]

    def close(self) -> None:
        """Closes both ends."""
        self._ear.close()
        self._far.close()
