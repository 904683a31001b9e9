"""Who is heard of: a node that was killed says nothing, and neither does one whose line is cut.

A living node either waits in a call or computes its next one. So silence alone does not end anything;
it is told where the run waits for that node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

SILENT_SECONDS = 5.0


class Presence:
    """When each node called last.

    Args:
        now: Seconds of a clock that only goes forward.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._open: Counter[str] = Counter()
        self._last: dict[str, float] = {}

    def begin(self, node: str) -> None:
        """A call by a node has come."""
        self._open[node] += 1

    def end(self, node: str) -> None:
        """A call by a node is answered."""
        self._open[node] -= 1
        self._last[node] = self._now()

    def silent_seconds(self, node: str) -> float:
        """Seconds since a node's last call ended; 0 while one is answered, or before the first."""
        if self._open[node] or node not in self._last:
            return 0.0
        return self._now() - self._last[node]

    def silent(self, nodes: Iterable[str]) -> tuple[str, ...]:
        """Those of some nodes that have not called for a while."""
        return tuple(node for node in nodes if self.silent_seconds(node) >= SILENT_SECONDS)
