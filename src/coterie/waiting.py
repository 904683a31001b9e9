"""Growing intervals: of attempts, and of reports on waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from coterie.errors import CoterieError

FIRST_SECONDS = 5.0
# For connecting: report soon, so that the person who has just started the node sees a wrong
# address.
FIRST_OF_DIALLING_SECONDS = 2.0
LONGEST_SECONDS = 60.0

WaitSink = Callable[[float, float, str], None]
"""Called with the seconds waited, the most seconds left, and the failures so far."""


def untold(_waited: float, _left: float, _failed: str) -> None:
    """A sink that ignores reports."""


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


class Backoff:
    """Pauses between attempts, each twice as long as the one before: exponential backoff.

    Args:
        first_seconds: The first pause.
        longest_seconds: No pause is longer.
    """

    def __init__(self, first_seconds: float, longest_seconds: float) -> None:
        self._first = self._next = first_seconds
        self._longest = longest_seconds

    def pause(self) -> float:
        """Seconds to wait before the next attempt."""
        seconds = self._next
        self._next = min(2 * seconds, self._longest)
        return seconds

    def reset(self) -> None:
        """Begins again with the first pause: an attempt has succeeded."""
        self._next = self._first


@dataclass
class Failure:
    """What has come of trying so far.

    Attributes:
        words: What failed last, and how.
    """

    words: str

    def note(self, error: CoterieError) -> None:
        """Takes note of an attempt's error."""
        self.words = f"{error.what}: {error.seen}" if error.seen else error.what


@contextmanager
def trying(
    nothing_yet: str,
    seconds: float,
    tell: WaitSink,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Failure]:
    """Has a thread tell, as long as the context is open, that something is tried in vain.

    Args:
        nothing_yet: Said before anything has failed.
        seconds: For which it is tried; nothing is told when they are over.
        tell: Told.
        monotonic: Seconds of a clock that only goes forward.
    """
    failure = Failure(nothing_yet)

    def say(waited: float) -> None:
        if waited < seconds:
            tell(waited, seconds - waited, failure.words)

    with saying(say, monotonic=monotonic):
        yield failure


@contextmanager
def saying(
    say: Callable[[float], None],
    *,
    first_seconds: float = FIRST_OF_DIALLING_SECONDS,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Has a thread say, at growing intervals, as long as the context is open, that somebody waits.

    So it is said in time, too, while a single attempt takes long: a name that is being looked up, or a
    machine that does not even refuse.

    Args:
        say: Told for how many seconds so far.
        first_seconds: Of a wait that nothing is said of.
        monotonic: Seconds of a clock that only goes forward.
    """
    began, patience, ended = monotonic(), Patience(first_seconds), threading.Event()

    def run() -> None:
        while not ended.wait(patience.seconds_left(monotonic(), began)):
            if patience.due(now := monotonic(), began):
                say(now - began)

    thread = threading.Thread(target=run, name="saying", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
