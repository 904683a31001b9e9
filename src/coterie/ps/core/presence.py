"""Presence of nodes: a node that was killed or cut off makes no calls.

A running node either waits in a call or computes its next one. So silence alone ends nothing; it is
reported if the run waits for that node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

SILENT_SECONDS = 5.0


class Presence:
    """The times of the nodes' last calls.

    Args:
        now: Monotonic clock, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._open: Counter[str] = Counter()
        self._last: dict[str, float] = {}

    def begin(self, node: str) -> None:
        """Records the start of a node's call."""
        self._open[node] += 1

    def end(self, node: str) -> None:
        """Records the end of a node's call."""
        self._open[node] -= 1
        self._last[node] = self._now()

    def silent_seconds(self, node: str) -> float:
        """Seconds since a node's last call ended; 0 during a call, or before the first."""
        if self._open[node] or node not in self._last:
            return 0.0
        return self._now() - self._last[node]

    def silent(self, nodes: Iterable[str]) -> tuple[str, ...]:
        """The nodes among the given ones that have not called for a while."""
        return tuple(node for node in nodes if self.silent_seconds(node) >= SILENT_SECONDS)
