"""Data connections without TLS, on loopback only; callers are believed when they say their name."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from coterie.address import Address
from coterie.errors import CallRefused, PeerUnreachable
from coterie.ps.caller import Caller
from coterie.ps.data_server import DataServer
from coterie.ps.wire.frames import Octets
from coterie.ratls.connect import Destination
from coterie.ratls.deadline import Deadline
from coterie.ratls.tls_stream import SILENCE_SECONDS, connection_lost, find_dead_peers

_NAME_BYTES = 128
_NAME_SECONDS = 10.0


class PlainStream:
    """A ``Stream`` over a TCP connection.

    Args:
        sock: The connection, which this object owns.
        peer_name: The peer's name in errors.
    """

    def __init__(self, sock: socket.socket, peer_name: str) -> None:
        self._socket = sock
        self._peer_name = peer_name
        find_dead_peers(sock)

    def wait(self) -> bool:
        """Waits for the next message; False if the peer has closed the connection, or ``abort``."""
        self._socket.settimeout(None)
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def receive_into(self, target: memoryview, deadline: Deadline) -> None:
        """Fills ``target``.

        Raises:
            PeerUnreachable: The peer went away or was too slow.
        """
        while target:
            with self._in(deadline):
                got = self._socket.recv_into(target)
            if not got:
                raise connection_lost(self._peer_name, "it closed the connection")
            target = target[got:]

    def send(self, parts: Sequence[Octets], deadline: Deadline) -> None:
        """Sends the parts as one message.

        Raises:
            PeerUnreachable: The peer went away or was too slow.
        """
        left = [memoryview(part) for part in parts if part]
        while left:
            with self._in(deadline):
                sent = self._socket.sendmsg(left)
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
            if left:
                left[0] = left[0][sent:]

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()

    def abort(self) -> None:
        """Ends what another thread waits for on this connection."""
        with contextlib.suppress(OSError):  # it has just ended by itself
            self._socket.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def _in(self, deadline: Deadline) -> Iterator[None]:
        try:
            self._socket.settimeout(max(0.001, min(SILENCE_SECONDS, deadline.remaining())))
            yield
        except OSError as error:
            seen = error.strerror or type(error).__name__
            raise connection_lost(self._peer_name, seen) from error


class PlainDataListener:
    """Accepts data connections and gives them to a server.

    Args:
        sock: A listening socket, which this object owns.
        server: Serves the connections.
        caller_of: The caller with a name and incarnation; raises CallRefused.
    """

    def __init__(
        self, sock: socket.socket, server: DataServer, caller_of: Callable[[str], Caller]
    ) -> None:
        self._socket = sock
        self._server = server
        self._caller_of = caller_of
        self._thread = threading.Thread(target=self._accept_all, name="data-acceptor", daemon=True)
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Stops; calls under way get ``grace`` seconds."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._server.stop(grace)

    def _accept_all(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:  # stopped
                return
            stream = PlainStream(sock, "a peer")
            name = memoryview(bytearray(_NAME_BYTES))
            try:
                stream.receive_into(name, Deadline.after(_NAME_SECONDS))
                caller = self._caller_of(bytes(name).decode(errors="replace").strip())
            except (PeerUnreachable, CallRefused):
                stream.close()
                continue
            self._server.take(stream, lambda caller=caller: caller)  # type: ignore[misc]


class PlainDataConnections:
    """A caller's data connections to one node.

    Args:
        address: Where the node accepts them.
        peer: The node's name.
        said: This node's name and incarnation.
    """

    def __init__(self, address: Address, peer: str, said: str) -> None:
        self._destination = Destination(address, peer, "its port for data connections")
        self._said = said.encode().ljust(_NAME_BYTES)
        self._lock = threading.Lock()  # guards `_free`; never held over the network
        self._free: list[PlainStream] = []

    @contextmanager
    def lease(self) -> Iterator[PlainStream]:
        """A connection for one call; it is closed if the call raises."""
        with self._lock:
            stream = self._free.pop() if self._free else None
        stream = stream or self._connect()
        try:
            yield stream
        except BaseException:
            stream.close()
            raise
        with self._lock:
            self._free.append(stream)

    def close(self) -> None:
        """Closes the connections that no call uses."""
        with self._lock:
            free, self._free = self._free, []
        for stream in free:
            stream.close()

    def _connect(self) -> PlainStream:
        stream = PlainStream(self._destination.connect(_NAME_SECONDS), self._destination.name)
        stream.send((self._said,), Deadline.after(_NAME_SECONDS))
        return stream
