"""Counts the calls that were inspected; one thread counts, others read."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Passed:
    """The calls of one method by one peer that were passed on.

    Attributes:
        calls: Their number.
        octets: Bytes of their messages.
    """

    calls: int = 0
    octets: int = 0


class CallCounts:
    """Counts of calls since the start of the process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards both
        self._passed: dict[tuple[str, str], Passed] = {}
        self._refused: Counter[str] = Counter()

    def add(self, peer: str, method: str, octets: int) -> None:
        """Counts a call that was passed on."""
        with self._lock:
            known = self._passed.get((peer, method), Passed())
            self._passed[peer, method] = Passed(known.calls + 1, known.octets + octets)

    def refuse(self, peer: str) -> None:
        """Counts a refused call, which has ended its connection."""
        with self._lock:
            self._refused[peer] += 1

    def passed(self) -> dict[tuple[str, str], Passed]:
        """What was passed on, by peer and method."""
        with self._lock:
            return dict(self._passed)

    def refused(self) -> dict[str, int]:
        """Numbers of refused calls, by peer."""
        with self._lock:
            return dict(self._refused)
