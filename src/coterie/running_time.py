"""A clock that stops while this process does not run.

While a container is paused, a machine's snapshot is taken, or a laptop sleeps, awaited nodes may
have called without an answer. Such time must not count for deadlines. It does count for the
validity of evidence, which uses the wall clock (``attestation/clock.py``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK_SECONDS = 1.0
GAP_SECONDS = 5.0


class RunningTime:
    """Seconds for which this process ran, from an arbitrary start. Thread-safe.

    A thread reads it at least once a second (``ticking``). If no thread has for ``GAP_SECONDS``,
    all threads were stopped, and the clock does not count that time.

    Args:
        monotonic: Monotonic clock, in seconds, which goes on while the process is stopped.
        on_gap: Called with the seconds for which the process was stopped, when it goes on.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        on_gap: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._monotonic = monotonic
        self._on_gap = on_gap
        self._lock = threading.Lock()  # guards the sums, which any reader advances
        self._read = monotonic()
        self._stood = 0.0

    def __call__(self) -> float:
        """The seconds so far."""
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
