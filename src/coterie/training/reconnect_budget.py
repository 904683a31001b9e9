"""Limits how long a node tries to reconnect to a server that it keeps losing."""

from __future__ import annotations

from collections.abc import Callable

# A node gives up after so many losses without a step in between.
MAX_FAILURES = 25


class ReconnectBudget:
    """Counts losses of the server, and the time since the last loss that followed a reply.

    Args:
        seconds: Longest time without a reply; the contract's ``limits.join_seconds``.
        monotonic: Monotonic clock, in seconds.
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._lost_at = monotonic()
        self._failures = 0

    def ends(self, *, progressed: bool, heard: bool) -> bool:
        """Counts a loss of the server; returns whether the budget is used up.

        Args:
            progressed: Whether a step was done since the previous loss.
            heard: Whether the server gave any reply since then.
        """
        self._failures = 1 if progressed else self._failures + 1
        now = self._monotonic()
        if heard:
            self._lost_at = now
        return self._failures >= MAX_FAILURES or now - self._lost_at >= self._seconds
