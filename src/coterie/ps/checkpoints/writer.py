"""The thread that makes checkpoints durable, and what it does while the disk takes nothing.

A disk that is full may have room again: the same work is tried anew, at growing intervals, until it
succeeds or nobody wants it any more. As long as it does not, ``trouble`` says why; the run pauses then.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable

from coterie.errors import CoterieError, EnvironmentUnfit
from coterie.files import unwritable
from coterie.waiting import Backoff

Work = Callable[[], None]
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 15.0


class Writer:
    """Does one piece of work after the other. Thread-safe.

    Args:
        on_failure: Told of errors that trying again cannot mend.
    """

    def __init__(self, on_failure: Callable[[CoterieError], None]) -> None:
        self._on_failure = on_failure
        self._changed = threading.Condition()
        self._jobs: queue.Queue[tuple[str, tuple[Work, ...]] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._pending = 0
        self._trouble: EnvironmentUnfit | None = None
        self._given_up = False

    @property
    def writing(self) -> bool:
        """Whether work is under way or waits."""
        with self._changed:
            return self._pending > 0

    @property
    def trouble(self) -> EnvironmentUnfit | None:
        """Why the disk takes nothing at present; None while it does."""
        with self._changed:
            return self._trouble

    def add(self, what: str, works: Iterable[Work]) -> None:
        """Adds work; returns at once.

        Args:
            what: Its name, for errors.
            works: Done in order; each can be repeated if it raises an OSError.
        """
        with self._changed:
            self._pending += 1
            self._given_up = False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="checkpoints")
            self._thread.start()
        self._jobs.put((what, tuple(works)))

    def flush(self, seconds: float | None = None) -> bool:
        """Waits until nothing is to be done, at most so long; whether it came to that."""
        with self._changed:
            return self._changed.wait_for(lambda: self._pending == 0, seconds)

    def settle(self) -> None:
        """Waits until nothing is to be done; what the disk does not take is given up."""
        with self._changed:
            self._given_up = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._pending == 0)
            self._given_up = False

    def close(self) -> None:
        """Settles, and ends the thread."""
        if self._thread is not None:
            self.settle()
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            what, works = job
            try:
                # Whoever gave it up goes back to an older checkpoint, or has ended.
                all(self._done(work, what) for work in works)
            except CoterieError as error:
                self._on_failure(error)
            finally:
                with self._changed:
                    self._pending -= 1
                    self._trouble = None
                    self._changed.notify_all()

    def _done(self, work: Work, what: str) -> bool:
        """Does a piece of work, again and again if need be; False if it was given up."""
        backoff = Backoff(FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS)
        while True:
            try:
                work()
            except OSError as error:
                with self._changed:
                    self._trouble = unwritable(what, error)
                    if self._changed.wait_for(lambda: self._given_up, backoff.pause()):
                        return False
            else:
                with self._changed:
                    self._trouble = None
                return True
