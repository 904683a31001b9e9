"""Long messages over a TLS connection after its handshake, with few calls to the kernel.

Up to ``_CHUNK_BYTES`` of records are read from the kernel, or written to it, at a time.
There are two time limits. A peer that sends or takes nothing for ``SILENCE_SECONDS`` is dropped, and
the caller limits the time of each message.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Sequence
from functools import partial

from coterie.errors import MessageRefused, PeerUnreachable
from coterie.ratls.deadline import Deadline
from coterie.ratls.record_protection import (
    HEAD_BYTES,
    MOST_DATA_BYTES,
    MOST_INNER_BYTES,
    MOST_RECORDS,
    Octets,
    Opening,
    Sealing,
    inner_bytes,
    record_bytes,
)
from coterie.ratls.traffic_secrets import Taken
from coterie.text import printable

SILENCE_SECONDS = 20.0  # as of gRPC's connections: a ping after 10 seconds, and 10 for its answer
_CHUNK_BYTES = 1 << 18


class TlsStream:
    """One side of a connection. One thread at a time uses it, except for ``abort``.

    Args:
        taken: The connection, which this object owns.
        peer_name: The peer's name in errors.
    """

    def __init__(self, taken: Taken, peer_name: str) -> None:
        self._socket = taken.socket
        self._sealing, self._opening = Sealing(taken.sending), Opening(taken.receiving)
        self._peer_name = peer_name
        # Records from the kernel; those between the two places are not opened yet.
        self._arrived = memoryview(bytearray(_CHUNK_BYTES))
        self._from = self._to = 0
        # Data of a record that was longer than what its reader had room for.
        self._inner = memoryview(bytearray(MOST_INNER_BYTES))
        self._rest = self._inner[:0]
        # Whether the last record was full. One that is not ends a message, or a part of it that is
        # read by itself: so a message has few records for its length.
        self._full = False
        find_dead_peers(self._socket)

    def wait(self) -> bool:
        """Waits for the next message; False if the peer has closed the connection, or ``abort``."""
        if self._rest or self._from != self._to:
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
            PeerUnreachable: The peer went away or was too slow, or sent something else than records.
        """
        begun = bool(self._rest)
        while target:
            if not self._rest:
                if begun and not self._full:
                    raise self._gone("a short record that does not end a message")
                target = self._open(target, deadline)
                begun = True
            if self._rest:
                count = min(len(self._rest), len(target))
                target[:count], self._rest = self._rest[:count], self._rest[count:]
                target = target[count:]

    def send(self, parts: Sequence[Octets], deadline: Deadline) -> None:
        """Sends the parts, one after the other, as one message.

        Raises:
            PeerUnreachable: The peer went away or was too slow.
        """
        try:
            for records in self._sealing.message(parts):
                self._in(deadline, partial(self._socket.sendall, records))
        except MessageRefused as error:
            raise self._gone(error.seen) from error

    def idle(self) -> bool:
        """Whether another call may use the connection: it is open, and nothing has arrived.

        After half of the records that its keys protect, none may.
        """
        records = max(self._sealing.records, self._opening.records)
        if self._rest or self._from != self._to or records > MOST_RECORDS // 2:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Closes without waiting for the peer."""
        with contextlib.suppress(OSError, MessageRefused):
            self._socket.settimeout(0)
            self._socket.sendall(self._sealing.close_notify())
        self._socket.close()

    def abort(self) -> None:
        """Ends what another thread waits for on this connection; it closes the stream then."""
        with contextlib.suppress(OSError):  # it has just ended by itself
            self._socket.shutdown(socket.SHUT_RDWR)

    def _open(self, target: memoryview, deadline: Deadline) -> memoryview:
        """Opens the next record, into ``target`` if that has room; returns the unfilled part of it."""
        try:
            record = self._record(deadline)
            length = inner_bytes(record)
            fits = length <= len(target)  # the type also; the next record overwrites it
            inner = target[:length] if fits else self._inner[:length]
            count = self._opening.open(record, inner)
        except MessageRefused as error:
            raise self._gone(error.seen) from error
        if not count:
            raise self._gone("it closed the connection")
        self._full = count == MOST_DATA_BYTES
        if fits:
            return target[count:]
        self._rest = inner[:count]
        return target

    def _record(self, deadline: Deadline) -> memoryview:
        """The next record."""
        while True:
            here = self._arrived[self._from : self._to]
            if len(here) >= HEAD_BYTES and len(here) >= (length := record_bytes(here)):
                self._from += length
                return here[:length]
            self._arrived[: len(here)] = here
            self._from, self._to = 0, len(here)
            free = self._arrived[self._to :]
            count = self._in(deadline, partial(self._socket.recv_into, free))
            if not count:
                raise self._gone("it closed the connection")
            self._to += count

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
