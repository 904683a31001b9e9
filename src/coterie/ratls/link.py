"""One gRPC connection to an attested peer, closed only when the last call on it has ended."""

from __future__ import annotations

import threading

import grpc

SESSION_KEY = "coterie-session-bin"
_SUSPECT_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED})


class Link:
    """A gRPC channel with a count of the calls on it. Thread-safe.

    Args:
        channel: The channel; it belongs to this object.
        token: What every call on it carries: only the two ends of the attested session know it.
    """

    def __init__(self, channel: grpc.Channel, token: bytes) -> None:
        self.channel = channel
        self.metadata = ((SESSION_KEY, token),)
        self._lock = threading.Lock()
        self._calls = 0
        self._retired = False
        self._suspect = False

    @property
    def suspect(self) -> bool:
        """Whether a call failed in a way that calls for attesting anew."""
        with self._lock:
            return self._suspect

    def begin(self) -> None:
        """Counts a call in; only its owner calls this, who also retires it."""
        with self._lock:
            assert not self._retired
            self._calls += 1

    def end(self, code: grpc.StatusCode | None) -> None:
        """Counts a call out.

        Args:
            code: How it ended; None if that is unknown.
        """
        with self._lock:
            self._calls -= 1
            self._suspect = self._suspect or code in _SUSPECT_CODES
            close = self._retired and self._calls == 0
        if close:
            # gRPC may be telling of the end in the thread that works the channel, for which closing waits.
            threading.Thread(target=self.channel.close, name="link-closer").start()

    def retire(self) -> None:
        """Closes the link as soon as no call is on it."""
        with self._lock:
            self._retired = True
            close = self._calls == 0
        if close:
            self.channel.close()

    def close(self) -> None:
        """Closes the link at once; calls on it are cancelled."""
        with self._lock:
            self._retired = True
        self.channel.close()
