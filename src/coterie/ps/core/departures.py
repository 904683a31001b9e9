"""How long a finished server waits for nodes to leave. Pure, except for the given clock."""

from __future__ import annotations

from collections.abc import Callable

SECONDS_A_PART = 16.0  # bytes per second; the server does not wait for ever for a slower recipient


class Departures:
    """Deadlines by which the nodes of a concluded run must have left.

    A downloading node gets more time while it advances beyond its farthest point, so restarting a
    download gains no time. All nodes together get the time that a slow connection needs, and no
    more.

    Args:
        idle_seconds: How long the server waits without progress.
        monotonic: Monotonic clock, in seconds.
    """

    def __init__(self, idle_seconds: float, monotonic: Callable[[], float]) -> None:
        self._idle_seconds = idle_seconds
        self._monotonic = monotonic
        self._furthest: dict[str, int] = {}
        self._began = self._progress_at = monotonic()
        self._most_seconds = idle_seconds

    def begin(self, parts: int) -> None:
        """Starts the deadlines when the run is concluded.

        Args:
            parts: Number of parts that all recipients together will be sent.
        """
        self._began = self._progress_at = self._monotonic()
        self._most_seconds = self._idle_seconds + SECONDS_A_PART * parts

    def sent(self, node: str, parts: int) -> None:
        """Records the number of the model's parts that a node was sent, from the first on."""
        if parts > self._furthest.get(node, 0):
            self._furthest[node] = parts
            self._progress_at = self._monotonic()

    def seconds_left(self) -> float:
        """Seconds for which the server still waits."""
        last = min(self._progress_at + self._idle_seconds, self._began + self._most_seconds)
        return last - self._monotonic()
