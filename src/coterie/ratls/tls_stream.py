"""Long messages over an established TLS connection, with few calls to kernel and OpenSSL.

OpenSSL works in memory, as in `coterie.ratls.records`, but gets all complete records that have
arrived, up to ``_CHUNK_BYTES`` and ``_MOST_WITHOUT_DATA`` records, and gives as many at once. The work
of one call is bounded by that.
There are two time limits. A peer that sends or takes nothing for ``SILENCE_SECONDS`` is dropped, and
the caller limits the time of each message.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator, Sequence
from functools import partial

from OpenSSL import SSL

from coterie.errors import PeerUnreachable
from coterie.ratls.deadline import Deadline
from coterie.text import printable

Octets = bytes | memoryview

SILENCE_SECONDS = 20.0  # as of gRPC's connections: a ping after 10 seconds, and 10 for its answer
_CHUNK_BYTES = 1 << 18
_RECORD_BYTES = 1 << 14
_SHORT_BYTES = 1 << 10
_HEAD_BYTES = 5
_OVERHEAD_BYTES = _HEAD_BYTES + 17  # header, type and tag of a record (RFC 8446, 5.2)
_TYPES = range(20, 24)  # RFC 8446, 5.1
_MOST_RECORD_BYTES = _RECORD_BYTES + 256
_MOST_WITHOUT_DATA = 64


class TlsStream:
    """One side of a connection. One thread at a time uses it, except for ``abort``.

    Args:
        connection: OpenSSL's side, which works in memory, after the handshake.
        sock: The connected socket; this object owns both.
        peer_name: The peer's name in errors.
    """

    def __init__(self, connection: SSL.Connection, sock: socket.socket, peer_name: str) -> None:
        self._connection = connection
        self._socket = sock
        self._peer_name = peer_name
        # Sealed bytes from the kernel; those between the two places are not opened yet.
        self._arrived = memoryview(bytearray(_CHUNK_BYTES))
        self._from = self._to = 0
        self._without_data = 0
        find_dead_peers(sock)

    def wait(self) -> bool:
        """Waits for the next message; False if the peer has closed the connection, or ``abort``."""
        if self._from != self._to or self._opened():
            return True
        self._socket.settimeout(None)
        try:
            self._to = self._socket.recv_into(self._arrived)
        except OSError:  # the peer is gone
            return False
        self._from = 0
        return self._to > 0

    def receive_into(self, target: memoryview, deadline: Deadline) -> None:
        """Fills ``target`` with the next bytes.

        Raises:
            PeerUnreachable: The peer went away or was too slow, or its bytes are not TLS.
        """
        while target:
            try:
                got = self._connection.recv_into(target, min(len(target), _RECORD_BYTES))
            except SSL.WantReadError:
                self._connection.bio_write(self._records(deadline))
            except (SSL.ZeroReturnError, SSL.SysCallError) as error:
                raise self._gone("it closed the connection") from error
            except SSL.Error as error:
                raise self._gone(f"TLS failed: {error.args!r}") from error
            else:
                self._without_data = 0
                target = target[got:]

    def send(self, parts: Sequence[Octets], deadline: Deadline) -> None:
        """Sends the parts, one after the other, as one message.

        Raises:
            PeerUnreachable: The peer went away or was too slow, or its bytes are not TLS.
        """
        sealed = 0
        for part in _joined(parts):
            left = memoryview(part)
            while left:
                try:
                    count = self._connection.send(left[:_RECORD_BYTES])
                except SSL.Error as error:
                    raise self._gone(f"TLS failed: {error.args!r}") from error
                left = left[count:]
                sealed += count + _OVERHEAD_BYTES
                if sealed > _CHUNK_BYTES - _RECORD_BYTES:
                    self._flush(sealed, deadline)
                    sealed = 0
        self._flush(sealed, deadline)

    def idle(self) -> bool:
        """Whether the connection is open and nothing has arrived, as between two messages."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return self._from == self._to and not self._opened() and not poll.poll(0)

    def close(self) -> None:
        """Closes without waiting for the peer."""
        with contextlib.suppress(SSL.Error, OSError):
            self._socket.settimeout(0)
            self._connection.shutdown()
            self._socket.sendall(self._connection.bio_read(_CHUNK_BYTES))
        self._socket.close()

    def abort(self) -> None:
        """Ends what another thread waits for on this connection; it closes the stream then."""
        with contextlib.suppress(OSError):  # it has just ended by itself
            self._socket.shutdown(socket.SHUT_RDWR)

    def _opened(self) -> bool:
        """Whether OpenSSL has bytes for the next message, or the end of the connection."""
        try:
            self._connection.recv(1, socket.MSG_PEEK)
        except SSL.WantReadError:
            return False
        except SSL.Error:  # the next call says so
            return True
        return True

    def _flush(self, most: int, deadline: Deadline) -> None:
        """Sends what OpenSSL has sealed: ``most`` bytes, and answers to the peer's key updates."""
        with contextlib.suppress(SSL.WantReadError):  # nothing left
            while True:
                sealed = self._connection.bio_read(most + _RECORD_BYTES)
                self._in(deadline, partial(self._socket.sendall, sealed))

    def _records(self, deadline: Deadline) -> memoryview:
        """The complete records that have arrived, at least one."""
        if self._without_data > _MOST_WITHOUT_DATA:
            raise self._gone(f"more than {_MOST_WITHOUT_DATA} records without data")
        while (end := self._complete()) == self._from:
            rest = self._to - self._from
            self._arrived[:rest] = self._arrived[self._from : self._to]
            self._from, self._to = 0, rest
            count = self._in(deadline, partial(self._socket.recv_into, self._arrived[rest:]))
            if not count:
                raise self._gone("it closed the connection")
            self._to += count
        records, self._from = self._arrived[self._from : end], end
        return records

    def _complete(self) -> int:
        """The end of the last complete record of those that may be opened at once; counts them."""
        at = self._from
        most = self._without_data + _MOST_WITHOUT_DATA
        while self._to - at >= _HEAD_BYTES and self._without_data < most:
            kind, version, _, high, low = self._arrived[at : at + _HEAD_BYTES]
            length = high << 8 | low
            if kind not in _TYPES or version != 3 or length > _MOST_RECORD_BYTES:
                raise self._gone("something that is not TLS")
            if at + _HEAD_BYTES + length > self._to:
                break
            at += _HEAD_BYTES + length
            self._without_data += 1
        return at

    def _in(self, deadline: Deadline, step: partial[int] | partial[None]) -> int:
        left = min(SILENCE_SECONDS, deadline.remaining())
        if left <= 0:
            raise self._gone("it did not end its message in time")
        try:
            self._socket.settimeout(left)
            return step() or 0
        except TimeoutError as error:
            raise self._gone("it did not answer in time") from error
        except OSError as error:
            raise self._gone(error.strerror or type(error).__name__) from error

    def _gone(self, seen: str) -> PeerUnreachable:
        return connection_lost(self._peer_name, seen)


def _joined(parts: Sequence[Octets]) -> Iterator[Octets]:
    """The parts, with neighbours joined that are too short for records of their own."""
    short = b""
    for part in parts:
        if len(part) < _SHORT_BYTES:
            short += part
        else:
            yield short
            yield part
            short = b""
    yield short


def connection_lost(peer_name: str, seen: str) -> PeerUnreachable:
    """The error for a data connection whose peer went away, or is too slow."""
    return PeerUnreachable(
        f"{peer_name} cannot be reached",
        expected="a reply on the data connection",
        seen=printable(seen, 200),
        remedy="look at that node's log; nodes connect again by themselves",
    )


def find_dead_peers(sock: socket.socket) -> None:
    """Lets the kernel end a connection whose peer does not answer for ``SILENCE_SECONDS``."""
    half = int(SILENCE_SECONDS / 2)
    with contextlib.suppress(OSError):  # the library OS of an enclave may lack some of them
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, half)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, half)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENCE_SECONDS * 1000))
