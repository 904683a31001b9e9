"""The connections of one attested session, which close after the last call on them has ended.

One is gRPC's. Data connections (`coterie.ratls.session_proof`) are made when a call needs one and
none is free.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc

from coterie.ratls.tls_stream import TlsStream

SESSION_KEY = "coterie-session-bin"
_SUSPECT_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED})


class Link:
    """A gRPC channel and data connections, with a count of the calls on them. Thread-safe.

    Args:
        channel: The channel, which this object owns.
        token: Token of every call on it, known only to the two ends of the attested session.
        connect: Makes a data connection.
    """

    def __init__(
        self, channel: grpc.Channel, token: bytes, connect: Callable[[], TlsStream]
    ) -> None:
        self.channel = channel
        self.metadata = ((SESSION_KEY, token),)
        self._connect = connect
        self._lock = threading.Lock()  # guards what follows; never held over the network
        self._streams: list[TlsStream] = []
        self._free: list[TlsStream] = []  # those that no call uses
        self._calls = 0
        self._retired = False
        self._closed = False
        self._suspect = False

    @property
    def suspect(self) -> bool:
        """Whether a call failed in a way that requires a new attestation."""
        with self._lock:
            return self._suspect

    def begin(self) -> None:
        """Adds a call to the count. Only the owner calls this, who also retires the link."""
        with self._lock:
            assert not self._retired
            self._calls += 1

    def end(self, code: grpc.StatusCode | None) -> None:
        """Removes a call from the count.

        Args:
            code: Its status; None if unknown. That of a broken data connection is UNAVAILABLE.
        """
        with self._lock:
            self._calls -= 1
            self._suspect = self._suspect or code in _SUSPECT_CODES
            close = self._retired and self._calls == 0
        if close:
            # Close on another thread: gRPC may report the end on the channel's own thread, which
            # closing waits for.
            threading.Thread(target=self._close, name="link-closer").start()

    def take_stream(self) -> TlsStream:
        """A data connection for one call, which must have begun: a free one, or a new one.

        Raises:
            PeerUnreachable: No connection can be made.
        """
        while True:
            with self._lock:
                free = self._free.pop() if self._free else None
            if free is None:
                break
            if free.idle():
                return free
            self.drop_stream(free)
        made = self._connect()
        with self._lock:
            self._streams.append(made)
            closed = self._closed
        if closed:
            made.abort()
        return made

    def give_back(self, stream: TlsStream) -> None:
        """Keeps a data connection for the next call, after a reply came to the end."""
        with self._lock:
            self._free.append(stream)

    def drop_stream(self, stream: TlsStream) -> None:
        """Closes a data connection that no call uses."""
        with self._lock:
            self._streams.remove(stream)
        stream.close()

    def retire(self) -> None:
        """Closes the link as soon as it has no call."""
        with self._lock:
            self._retired = True
            close = self._calls == 0
        if close:
            self._close()

    def close(self) -> None:
        """Closes the link at once and cancels its calls."""
        with self._lock:
            self._retired = True
        self._close()

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
            used = [stream for stream in self._streams if stream not in free]
        for stream in free:
            self.drop_stream(stream)
        for stream in used:  # the call that uses it drops it
            stream.abort()
        self.channel.close()
