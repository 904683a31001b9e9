"""How long a server that is done still waits for nodes to leave. Pure, but for the clock."""

from __future__ import annotations

from collections.abc import Callable

SECONDS_A_PART = 16.0  # a recipient that takes less than 64 KiB a second is not waited for for ever


class Departures:
    """When the nodes of a concluded run must have left.

    Who downloads is waited for as long as it gets further than it ever was: downloads that begin
    anew win no time. All together get the time that a slow line needs, and no more.

    Args:
        idle_seconds: How long the server waits while nobody gets further.
        monotonic: Seconds of a clock that only goes forward.
    """

    def __init__(self, idle_seconds: float, monotonic: Callable[[], float]) -> None:
        self._idle_seconds = idle_seconds
        self._monotonic = monotonic
        self._furthest: dict[str, int] = {}
        self._began = self._progress_at = monotonic()
        self._most_seconds = idle_seconds

    def begin(self, parts: int) -> None:
        """The run is concluded.

        Args:
            parts: That all recipients together will be sent.
        """
        self._began = self._progress_at = self._monotonic()
        self._most_seconds = self._idle_seconds + SECONDS_A_PART * parts

    def sent(self, node: str, parts: int) -> None:
        """A node that has not left was sent so many parts of the model, from the first on."""
        if parts > self._furthest.get(node, 0):
            self._furthest[node] = parts
            self._progress_at = self._monotonic()

    def seconds_left(self) -> float:
        """How long nodes are still waited for."""
        last = min(self._progress_at + self._idle_seconds, self._began + self._most_seconds)
        return last - self._monotonic()
