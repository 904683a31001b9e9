"""Connections on which a peer's TensorFlow calls this node's, read before TensorFlow gets the bytes.

TensorFlow gets one end of a socket pair, and this object the other one and the connection. What the
peer sends is opened here, read, and sealed again with keys of this process, so that the kernel sees
nothing in the clear. What TensorFlow answers is passed on as it is: the native part has sealed it
for the peer.

All connections share one thread with an event loop.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from collections.abc import Callable, Iterator

from typing_extensions import override

from coterie.errors import CallRefused, CoterieError, MessageRefused
from coterie.ratls.key_updates import LastingOpening, LastingSealing
from coterie.ratls.record_protection import (
    HEAD_BYTES,
    MOST_INNER_BYTES,
    inner_bytes,
    record_bytes,
)
from coterie.ratls.traffic_secrets import Taken
from coterie.tensorflow.calls.http2 import CallReader

_SECRET_BYTES = 32
# What is read at a time: some records, or as much as a socket holds.
_REQUEST_BYTES, _ANSWER_BYTES = 1 << 16, 1 << 18

Refused = Callable[[CoterieError], None]


class InspectedConnections:
    """The thread that reads all inspected connections of a node."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._open: dict[_Side, str] = {}  # both sides of each connection
        self._thread = threading.Thread(target=self._loop.run_forever, name="call-reader")

    def start(self) -> None:
        """Starts."""
        self._thread.start()

    def stop(self) -> None:
        """Ends all connections, and the thread."""
        if self._thread.ident is not None:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    def count(self, peer: str) -> int:
        """Number of a peer's connections."""
        return -(-list(self._open.values()).count(peer) // 2)

    def put_between(self, taken: Taken, reader: CallReader, peer: str, refused: Refused) -> Taken:
        """Takes a connection, and returns the one that TensorFlow gets in its place.

        Args:
            taken: The connection with the peer.
            reader: Judges what the peer sends.
            peer: The peer's name.
            refused: Called with the reason if a call is refused; the connection has ended then.
        """
        near, far = socket.socketpair()
        for one in (near, far, taken.socket):
            one.settimeout(0)  # the loop waits
        secret = secrets.token_bytes(_SECRET_BYTES)
        requests = _Requests(taken.receiving, secret, reader, refused)
        begun = self._begin(requests, taken.socket, far, peer)
        asyncio.run_coroutine_threadsafe(begun, self._loop).result()
        return Taken(near, taken.sending, secret)

    async def _begin(
        self, requests: _Requests, to_peer: socket.socket, to_local: socket.socket, peer: str
    ) -> None:
        answers = _Answers(_ANSWER_BYTES)
        requests.other, answers.other = answers, requests
        await self._attach(answers, to_local, peer)
        await self._attach(requests, to_peer, peer)

    async def _attach(self, side: _Side, sock: socket.socket, peer: str) -> None:
        self._open[side] = peer
        side.lost = self._loop.create_future()
        side.lost.add_done_callback(lambda _: self._open.pop(side))
        await self._loop.create_connection(lambda: side, sock=sock)

    async def _end(self) -> None:
        sides = list(self._open)
        for side in sides:
            side.transport.abort()
        await asyncio.gather(*(side.lost for side in sides))


class _Side(asyncio.BufferedProtocol):
    """Reads one of the two sockets, and does not while the other one takes no more.

    Args:
        size: Bytes that are read at a time.

    Attributes:
        other: Whoever has the other socket.
        transport: This socket's.
        lost: Done once the socket is closed.
    """

    other: _Side
    transport: asyncio.Transport
    lost: asyncio.Future[None]

    def __init__(self, size: int) -> None:
        self._buffer = memoryview(bytearray(size))
        self._filled = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.other.transport.close()  # once it has sent what it has
        self.lost.set_result(None)

    @override
    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    @override
    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[self._filled :]


class _Answers(_Side):
    """Passes on what TensorFlow answers."""

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self.other.transport.write(self._buffer[:nbytes])
        if self.other.transport.get_write_buffer_size():  # it may have kept the buffer
            self._buffer = memoryview(bytearray(_ANSWER_BYTES))


class _Requests(_Side):
    """Judges what the peer sends.

    Args:
        theirs: The secret under which the peer seals.
        own: The secret under which TensorFlow opens.
        reader: Judges it.
        refused: Called with the reason if something is refused.
    """

    def __init__(self, theirs: bytes, own: bytes, reader: CallReader, refused: Refused) -> None:
        super().__init__(_REQUEST_BYTES)
        self._opening, self._sealing = LastingOpening(theirs), LastingSealing(own)
        self._inner = memoryview(bytearray(MOST_INNER_BYTES))
        self._reader = reader
        self._refused = refused

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._reader.close()
        super().connection_lost(exc)

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        try:
            self.other.transport.write(b"".join(self._passed()))
        except (CallRefused, MessageRefused) as error:
            self.transport.abort()
            self._refused(error)

    def _passed(self) -> Iterator[bytes]:
        """Takes the whole records out of the buffer, and seals what may be passed on."""
        start, said = 0, bytearray()
        while (left := self._filled - start) >= HEAD_BYTES:
            length = record_bytes(self._buffer[start:])
            if left < length:
                break
            record = self._buffer[start : start + length]
            start += length
            inner = self._inner[: inner_bytes(record)]
            count = self._opening.open_or_update(record, inner)
            if count == 0:
                self.transport.close()  # the peer has said that this is the end
            elif count is not None:
                said += inner[:count]
        self._buffer[: self._filled - start] = self._buffer[start : self._filled]
        self._filled -= start
        if self._opening.asked or self._sealing.is_due:
            yield self._sealing.update(asking=self._opening.asked)
            self._opening.asked = False
        if passed := b"".join(self._reader.feed(bytes(said))):
            yield from map(bytes, self._sealing.message((passed,)))
