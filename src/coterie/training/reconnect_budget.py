"""How long a node goes on with a server that it keeps losing."""

from __future__ import annotations

from collections.abc import Callable

# Thrown out this often without a step in between, a node gives up.
MAX_FAILURES = 25


class ReconnectBudget:
    """Counts losses of the server, and the time since the last one that came after a reply.

    Args:
        seconds: Without any reply; the contract's ``limits.join_seconds``.
        monotonic: Seconds of a clock that only goes forward.
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._lost_at = monotonic()
        self._failures = 0

    def ends(self, *, progressed: bool, heard: bool) -> bool:
        """Notes that the server was lost (again); whether that is enough.

        Args:
            progressed: Whether the run went on since it was lost before.
            heard: Whether it gave any reply since.
        """
        self._failures = 1 if progressed else self._failures + 1
        now = self._monotonic()
        if heard:
            self._lost_at = now
        return self._failures >= MAX_FAILURES or now - self._lost_at >= self._seconds
