"""When somebody who waits says so: after a few seconds, and then at growing intervals."""

from __future__ import annotations

FIRST_SECONDS = 5.0
LONGEST_SECONDS = 60.0


class Patience:
    """Tells when it is time to say (again) what is waited for; progress begins a new wait.

    Args:
        first_seconds: Of a wait that nothing is said of.
    """

    def __init__(self, first_seconds: float = FIRST_SECONDS) -> None:
        self._first = first_seconds
        self._since = float("-inf")
        self._next = first_seconds

    def due(self, now: float, since: float) -> bool:
        """Whether it is time.

        Args:
            now: Seconds of a clock that only goes forward.
            since: When the wait began, by the same clock.
        """
        if self.seconds_left(now, since) > 0:
            return False
        waited = now - since
        self._next = waited + min(LONGEST_SECONDS, max(self._first, waited))
        return True

    def seconds_left(self, now: float, since: float) -> float:
        """Seconds until it is time; 0 if it is."""
        if since != self._since:
            self._since, self._next = since, self._first
        return max(0.0, since + self._next - now)
