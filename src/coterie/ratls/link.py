"""One gRPC connection to an attested peer, which closes after the last call on it has ended."""

from __future__ import annotations

import threading

import grpc

SESSION_KEY = "coterie-session-bin"
_SUSPECT_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED})


class Link:
    """A gRPC channel with a count of the calls on it. Thread-safe.

    Args:
        channel: The channel, which this object owns.
        token: Token of every call on it, known only to the two ends of the attested session.
    """

    def __init__(self, channel: grpc.Channel, token: bytes) -> None:
        self.channel = channel
        self.metadata = ((SESSION_KEY, token),)
        self._lock = threading.Lock()  # guards what follows; never held while the channel is closed
        self._calls = 0
        self._retired = False
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
            code: Its status; None if unknown.
        """
        with self._lock:
            self._calls -= 1
            self._suspect = self._suspect or code in _SUSPECT_CODES
            close = self._retired and self._calls == 0
        if close:
            # Close on another thread: gRPC may report the end on the channel's own thread, which
            # closing waits for.
            threading.Thread(target=self.channel.close, name="link-closer").start()

    def retire(self) -> None:
        """Closes the link as soon as it has no call."""
        with self._lock:
            self._retired = True
            close = self._calls == 0
        if close:
            self.channel.close()

    def close(self) -> None:
        """Closes the link at once and cancels its calls."""
        with self._lock:
            self._retired = True
        self.channel.close()
