"""The thread that makes checkpoints durable, and its retries while the disk cannot be written.

A full disk may have room again. So the same work is retried, at growing intervals, until it
succeeds or is no longer wanted. Meanwhile ``trouble`` says why it fails, and the run pauses.
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
    """Does pieces of work one after the other. Thread-safe.

    Args:
        on_failure: Called for errors that a retry cannot fix.
    """

    def __init__(self, on_failure: Callable[[CoterieError], None]) -> None:
        self._on_failure = on_failure
        # Guards `_pending`, `_trouble` and `_given_up`; notified when they change.
        self._changed = threading.Condition()
        self._jobs: queue.Queue[tuple[str, tuple[Work, ...]] | None] = queue.Queue()
        self._thread: threading.Thread | None = None  # started with the first work
        self._pending = 0
        self._trouble: EnvironmentUnfit | None = None
        self._given_up = False

    @property
    def writing(self) -> bool:
        """Whether work is in progress or pending."""
        with self._changed:
            return self._pending > 0

    @property
    def trouble(self) -> EnvironmentUnfit | None:
        """Why the disk cannot be written at present; None if it can."""
        with self._changed:
            return self._trouble

    def add(self, what: str, works: Iterable[Work]) -> None:
        """Adds work; returns at once.

        Args:
            what: Its name, for errors.
            works: Functions that are called in order; each can be repeated after an OSError.
        """
        with self._changed:
            self._pending += 1
            self._given_up = False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="checkpoints")
            self._thread.start()
        self._jobs.put((what, tuple(works)))

    def flush(self, seconds: float | None = None) -> bool:
        """Waits at most ``seconds`` until all work is done; returns whether that was reached."""
        with self._changed:
            return self._changed.wait_for(lambda: self._pending == 0, seconds)

    def settle(self) -> None:
        """Waits until all work is done; gives up what cannot be written."""
        with self._changed:
            self._given_up = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._pending == 0)
            self._given_up = False

    def close(self) -> None:
        """Settles and ends the thread."""
        if self._thread is not None:
            self.settle()
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            what, works = job
            try:
                # After giving it up, the run goes back to an older checkpoint or has ended.
                all(self._done(work, what) for work in works)
            except CoterieError as error:
                self._on_failure(error)
            finally:
                with self._changed:
                    self._pending -= 1
                    self._trouble = None
                    self._changed.notify_all()

    def _done(self, work: Work, what: str) -> bool:
        """Does a piece of work, with retries if needed; returns False if it was given up."""
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
