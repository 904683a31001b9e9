"""Bounds of a gRPC port: concurrent calls of a peer, and time without an answer."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from coterie.errors import PeerBusy

Option = tuple[str, int]


@dataclass(frozen=True)
class CallLimits:
    """Bounds of a gRPC port and of the connections to it.

    Attributes:
        per_peer: Calls of one node under way at once, over all its connections.
        handshake_seconds: Time for TLS; slower connections are dropped.
        silence_seconds: Time without a byte after which the other side is pinged.
        answer_seconds: Time for its answer; a peer that does not answer or read is dropped.
        idle_seconds: Time without a call after which a connection is closed; the next call
            reconnects.
    """

    per_peer: int = 16
    handshake_seconds: float = 10.0
    silence_seconds: float = 10.0
    answer_seconds: float = 10.0
    idle_seconds: float = 900.0

    def server_options(self) -> tuple[Option, ...]:
        """Options of a gRPC server."""
        return (
            ("grpc.max_concurrent_streams", self.per_peer),
            ("grpc.server_handshake_timeout_ms", _ms(self.handshake_seconds)),
            ("grpc.max_connection_idle_ms", _ms(self.idle_seconds)),
            # Peers may ping as often as this node does; more frequent pings close the connection.
            ("grpc.http2.min_ping_interval_without_data_ms", _ms(self.silence_seconds / 2)),
            *self.channel_options(),
        )

    def channel_options(self) -> tuple[Option, ...]:
        """Options of a gRPC channel."""
        return (
            ("grpc.keepalive_time_ms", _ms(self.silence_seconds)),
            ("grpc.keepalive_timeout_ms", _ms(self.answer_seconds)),
            # Its default is a minute, and it overrides the options above.
            ("grpc.http2.ping_timeout_ms", _ms(self.answer_seconds)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        )


class CallsUnderWay:
    """Counts every peer's calls, and refuses calls over the limit.

    Args:
        limit: Concurrent calls of one peer.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()  # calls in progress, by node

    def enter(self, node: str) -> Callable[[], None]:
        """Counts a call.

        A call counts until its handler has returned and its reply was delivered or lost. So a peer
        that hangs up on waiting handlers, or does not read, keeps its place.

        Returns:
            A function to call on each of the two occasions; its second call ends the count.

        Raises:
            PeerBusy: The peer has as many calls under way as it may.
        """
        with self._lock:
            seen = self._calls[node]
            if seen >= self._limit:
                raise PeerBusy(
                    f"{node} has too many calls under way",
                    expected=f"at most {self._limit} at once",
                    seen=f"one more than {seen}",
                    remedy="wait for the replies to earlier calls",
                )
            self._calls[node] += 1
        left = 2

        def end() -> None:
            nonlocal left
            with self._lock:
                left -= 1
                if left == 0:
                    self._calls[node] -= 1

        return end


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
