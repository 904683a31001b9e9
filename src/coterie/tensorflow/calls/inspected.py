"""Connections on which a peer's TensorFlow calls this node's, read before TensorFlow gets the bytes.

TensorFlow gets one end of a socket pair, and the other end and the peer's socket are read here. What
the peer sends is opened, read, and sealed again with keys of this process, so that the kernel sees
nothing in the clear. What TensorFlow sends does not come here: the native part seals it for the peer
and sends it by a descriptor of its own (the way out, `native/links.h`). When that takes no more, the
native part fills the pair, so that TensorFlow waits; it is emptied here once there is room.

All connections share one thread with an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import threading
import weakref
from collections.abc import Callable, Iterator

from coterie.errors import CallRefused, CoterieError, EnvironmentUnfit, MessageRefused, PeerBusy
from coterie.ratls.key_updates import LastingOpening, LastingSealing
from coterie.ratls.record_protection import (
    HEAD_BYTES,
    MOST_INNER_BYTES,
    inner_bytes,
    record_bytes,
)
from coterie.ratls.traffic_secrets import Taken
from coterie.tensorflow.calls.http2 import CallReader

# TensorFlow opens two or three to a peer.
MOST_CONNECTIONS = 32
_SECRET_BYTES = 32
_READ_BYTES = 1 << 16  # of some records

Refused = Callable[[CoterieError], None]


class InspectedConnections:
    """The thread that reads all inspected connections of a node."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._open: dict[_Connection, str] = {}  # and the peer's name
        self._thread = threading.Thread(target=self._loop.run_forever, name="call-reader")
        _close_in_children(self)

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

    def put_between(self, taken: Taken, reader: CallReader, peer: str, refused: Refused) -> Taken:
        """Takes a connection, and returns the one that TensorFlow gets in its place.

        Args:
            taken: The connection with the peer.
            reader: Judges what the peer sends.
            peer: The peer's name.
            refused: Called with the reason if a call is refused; the connection has ended then.

        Raises:
            PeerBusy: The peer has too many; this one is closed.
            EnvironmentUnfit: There is no descriptor left; the connection is closed.
        """
        with contextlib.ExitStack() as undone:
            undone.enter_context(taken.socket)
            try:
                near, far = map(undone.enter_context, socket.socketpair())
                way_out = undone.enter_context(taken.socket.dup())
            except OSError as error:
                raise EnvironmentUnfit(
                    f"a connection of {peer} cannot be inspected",
                    expected="three more descriptors",
                    seen=error.strerror or str(error),
                    remedy="raise the limit of open files (ulimit -n)",
                ) from error
            for one in (near, far, taken.socket, way_out):
                one.settimeout(0)  # the loop waits
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # soon full: the least there is
            secret = secrets.token_bytes(_SECRET_BYTES)
            requests = _Requests(taken.receiving, secret, reader)
            begun = self._begin(_Connection(self._loop, taken.socket, far, requests, refused), peer)
            asyncio.run_coroutine_threadsafe(begun, self._loop).result()
            undone.pop_all()
        return Taken(near, taken.sending, secret, way_out)

    async def _begin(self, connection: _Connection, peer: str) -> None:
        if list(self._open.values()).count(peer) >= MOST_CONNECTIONS:
            raise PeerBusy(
                f"{peer} has too many connections",
                expected=f"at most {MOST_CONNECTIONS}",
                seen="one more",
                remedy="only the program that the contract names may speak here: find out what runs there",
            )
        self._open[connection] = peer
        connection.begin(ended=lambda: self._open.pop(connection))

    async def _end(self) -> None:
        for connection in list(self._open):
            connection.end()

    def close_copies(self) -> None:
        """Closes a child's copies of the sockets; the parent's loop does not hear of it."""
        for connection in self._open:
            connection.close()


def _close_in_children(connections: InspectedConnections) -> None:
    known = weakref.ref(connections)

    def close() -> None:
        if (still_there := known()) is not None:
            still_there.close_copies()

    os.register_at_fork(after_in_child=close)


class _Connection:
    """One connection. All but the constructor is for the loop's thread.

    Args:
        loop: Watches the sockets.
        peer: The peer's socket.
        far: The pair's end that is not TensorFlow's.
        requests: What the peer sends.
        refused: Called with the reason if something is refused.
    """

    _ended: Callable[[], object]

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        peer: socket.socket,
        far: socket.socket,
        requests: _Requests,
        refused: Refused,
    ) -> None:
        self._loop, self._peer, self._far = loop, peer, far
        self._requests = requests
        self._refused = refused
        self._unsent = memoryview(b"")  # what TensorFlow's socket has not taken yet

    def begin(self, ended: Callable[[], object]) -> None:
        """Begins to read; ``ended`` is called at the end."""
        self._ended = ended
        self._loop.add_reader(self._peer, self._read)
        self._loop.add_reader(self._far, self._look)

    def end(self) -> None:
        """Ends the connection for the peer and for TensorFlow."""
        for one in (self._peer, self._far):
            self._loop.remove_reader(one)
            self._loop.remove_writer(one)
        with contextlib.suppress(OSError):  # it has broken
            self._peer.shutdown(socket.SHUT_RDWR)  # the way out is another descriptor of it
        self.close()
        self._requests.close()
        self._ended()

    def close(self) -> None:
        """Closes the sockets."""
        self._peer.close()
        self._far.close()

    @contextlib.contextmanager
    def _ended_by_failure(self) -> Iterator[None]:
        """Ends the connection if something fails; nothing is ignored but the connection's own end."""
        try:
            yield
        except BlockingIOError:
            pass  # another call has come first
        except OSError:
            self.end()
        except (CallRefused, MessageRefused) as error:
            self.end()
            self._refused(error)
        except BaseException:
            self.end()
            raise

    def _read(self) -> None:
        with self._ended_by_failure():
            if octets := self._requests.receive(self._peer):
                self._unsent = memoryview(octets)
                with contextlib.suppress(BlockingIOError):
                    self._send()
            if self._unsent:  # the peer is not read meanwhile
                self._requests.keep(len(self._unsent))
                self._loop.remove_reader(self._peer)
                self._loop.add_writer(self._far, self._go_on)
            elif self._requests.is_over:
                self.end()

    def _go_on(self) -> None:
        with self._ended_by_failure():
            self._requests.keep(-self._send())
            if not self._unsent:
                self._loop.remove_writer(self._far)
                self._loop.add_reader(self._peer, self._read)
            if not self._unsent and self._requests.is_over:
                self.end()

    def _send(self) -> int:
        """Sends TensorFlow some of what it may have; returns the number of bytes."""
        sent = self._far.send(self._unsent)
        self._unsent = self._unsent[sent:]
        return sent

    def _look(self) -> None:
        """The pair was filled, or TensorFlow has closed its end."""
        with self._ended_by_failure():
            if not self._far.recv(1, socket.MSG_PEEK):
                self.end()
                return
            self._loop.remove_reader(self._far)
            self._loop.add_writer(self._peer, self._empty)

    def _empty(self) -> None:
        """The way out takes some again, or is shut down: TensorFlow may go on."""
        self._loop.remove_writer(self._peer)
        self._loop.add_reader(self._far, self._look)
        with self._ended_by_failure():
            while self._far.recv(_READ_BYTES):
                pass
            self.end()


class _Requests:
    """What a peer sends, from records for this process to records for TensorFlow.

    Args:
        theirs: The secret under which the peer seals.
        own: The secret under which TensorFlow opens.
        reader: Judges it.

    Attributes:
        is_over: Whether the peer has said that it sends no more.
    """

    def __init__(self, theirs: bytes, own: bytes, reader: CallReader) -> None:
        self._opening, self._sealing = LastingOpening(theirs), LastingSealing(own)
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._filled = 0
        self._inner = memoryview(bytearray(MOST_INNER_BYTES))
        self._reader = reader
        self.is_over = False

    def close(self) -> None:
        """Gives back what the reader holds."""
        self._reader.close()

    def keep(self, count: int) -> None:
        """As ``CallReader.keep``."""
        self._reader.keep(count)

    def receive(self, sock: socket.socket) -> bytes:
        """Reads what has come; returns what may be passed on.

        Raises:
            BlockingIOError: Nothing has come.
            OSError: The connection is broken.
            CallRefused: As for ``CallReader.feed``.
            MessageRefused: A record is not one of this connection.
        """
        count = sock.recv_into(self._buffer[self._filled :])
        self.is_over = not count
        self._filled += count
        return b"".join(self._passed())

    def _passed(self) -> Iterator[bytes]:
        """Takes the whole records out of the buffer, and seals what may be passed on."""
        start, said = 0, bytearray()
        while not self.is_over and (left := self._filled - start) >= HEAD_BYTES:
            length = record_bytes(self._buffer[start:])
            if left < length:
                break
            record = self._buffer[start : start + length]
            start += length
            inner = self._inner[: inner_bytes(record)]
            count = self._opening.open_or_update(record, inner)
            if count == 0:
                self.is_over = True
            elif count is not None:
                said += inner[:count]
        self._buffer[: self._filled - start] = self._buffer[start : self._filled]
        self._filled -= start
        if self._opening.asked or self._sealing.is_due:
            yield self._sealing.update(asking=self._opening.asked)
            self._opening.asked = False
        if passed := b"".join(self._reader.feed(bytes(said))):
            yield from map(bytes, self._sealing.message((passed,)))
