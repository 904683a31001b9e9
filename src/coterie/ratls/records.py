"""Reads TLS records one at a time, before a deadline, with few records without data.

With a socket of its own, OpenSSL continues to read within one call while records come that hold no
data for its caller (key updates, empty records, warnings), and so beyond any deadline. Here OpenSSL
works in memory and gets one record at a time.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from coterie.errors import HandshakeFailed, PeerUnreachable
from coterie.ratls.deadline import Deadline
from coterie.text import printable

MOST_WITHOUT_DATA = 64  # a handshake has about ten records, and two tickets may follow
_HEAD_BYTES = 5
_TYPES = range(20, 24)  # RFC 8446, 5.1
_MOST_BYTES = (1 << 14) + 256

T = TypeVar("T")


class Records:
    """Both directions of one connection.

    Args:
        sock: A connected socket.
        deadline: Time limit of everything.
        peer_name: The peer's name in errors.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline, peer_name: str) -> None:
        self._socket = sock
        self._deadline = deadline
        self._peer_name = peer_name
        self._without_data = 0

    def read(self) -> bytes:
        """Reads the next record. It counts as one without data until ``had_data`` is called.

        Raises:
            PeerUnreachable: The peer went away, or the deadline has passed.
            HandshakeFailed: It is not TLS, or there are too many records without data.
        """
        if self._without_data == MOST_WITHOUT_DATA:
            raise HandshakeFailed(
                f"{self._peer_name} sends TLS records without data",
                expected=f"at most {MOST_WITHOUT_DATA} of them, those of the handshake among them",
                seen="one more",
                remedy="something else than a Coterie release is at the other end",
            )
        self._without_data += 1
        head = self._exactly(_HEAD_BYTES)
        length = int.from_bytes(head[3:])
        if head[0] not in _TYPES or head[1] != 3 or length > _MOST_BYTES:
            raise tls_failed(self._peer_name, "something that is not TLS")
        return head + self._exactly(length)

    def had_data(self) -> None:
        """Marks the last record as one with data."""
        self._without_data -= 1

    def write(self, octets: bytes) -> None:
        """Sends all bytes.

        Raises:
            PeerUnreachable: The peer went away or was too slow.
        """
        # With nothing to send, do not call the kernel: it would report a reset before the data that
        # came first.
        if octets:
            self._in(self._deadline.remaining(), partial(self._socket.sendall, octets))

    def write_at_once(self, octets: bytes) -> None:
        """Sends as much as possible without waiting."""
        with suppress(PeerUnreachable):
            self._in(0.0, partial(self._socket.sendall, octets))

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            left = self._deadline.remaining()
            if left <= 0:
                raise self._too_slow()
            more = self._in(left, partial(self._socket.recv, length - len(data)))
            if not more:
                raise broken_off(self._peer_name, "it closed the connection")
            data += more
        return data

    def _in(self, seconds: float, step: Callable[[], T]) -> T:
        try:
            self._socket.settimeout(seconds)
            return step()
        except (TimeoutError, BlockingIOError) as error:
            raise self._too_slow() from error
        except OSError as error:
            raise broken_off(self._peer_name, error.strerror or type(error).__name__) from error

    def _too_slow(self) -> PeerUnreachable:
        return broken_off(self._peer_name, "it did not answer in time")


def broken_off(peer_name: str, seen: str) -> PeerUnreachable:
    """The error for a peer that went away, or is too slow."""
    return PeerUnreachable(
        f"{peer_name} broke the handshake off",
        expected="an attested handshake, in time",
        seen=printable(seen, 200),
        remedy="see the peer's own log for its reason; dialling again may help",
    )


def tls_failed(peer_name: str, seen: str) -> HandshakeFailed:
    """The error for bytes that are not TLS, or for a failure of TLS."""
    return HandshakeFailed(
        f"TLS with {peer_name} failed",
        expected="mutual TLS 1.3",
        seen=seen,
        remedy="check that the port is the attestation port (gRPC has the next one)",
    )
