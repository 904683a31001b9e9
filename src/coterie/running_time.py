"""A clock that stands still while this process does not run.

A container that is paused, a machine whose snapshot is taken, a laptop that sleeps: whoever was waited
for meanwhile may have called all the time, and nobody answered. Such time counts for no deadline. It does
count for how long evidence holds: that goes by the clock of the day (``attestation/clock.py``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK_SECONDS = 1.0
GAP_SECONDS = 5.0


class RunningTime:
    """Seconds in which this process ran, from an arbitrary moment on. Thread-safe.

    Somebody reads it at least once a second (``ticking``). Where nobody has for ``GAP_SECONDS``, all
    threads stood still, and the clock with them.

    Args:
        monotonic: Seconds of a clock that only goes forward, and goes on while the process is stopped.
        on_gap: Hears for how many seconds the process stood still, when it goes on.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        on_gap: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._monotonic = monotonic
        self._on_gap = on_gap
        self._lock = threading.Lock()
        self._read = monotonic()
        self._stood = 0.0

    def __call__(self) -> float:
        """The seconds."""
        with self._lock:
            now = self._monotonic()
            gap = now - self._read
            if gap >= GAP_SECONDS:
                self._stood += gap
            self._read = now
            seconds = now - self._stood
        if gap >= GAP_SECONDS:
            self._on_gap(gap)
        return seconds

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Reads the clock on a thread of its own, which ends with the context."""
        over = threading.Event()

        def tick() -> None:
            while not over.wait(TICK_SECONDS):
                self()

        ticker = threading.Thread(target=tick, name="running time", daemon=True)
        ticker.start()
        try:
            yield
        finally:
            over.set()
            ticker.join()
