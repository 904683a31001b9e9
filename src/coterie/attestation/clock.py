"""The host's clock with a floor, so that the host cannot turn time back to revive old evidence."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from coterie.errors import EvidenceRefused

# Time services sometimes set clocks back a little; that is not an attack and must not end a run.
_TOLERANCE = timedelta(minutes=1)


class FlooredClock:
    """A clock that never shows a time before the newest observed one. Thread-safe.

    Args:
        floor: The first floor, for instance the start of the run or the newest issue date known.
        clock: The host's clock, in UTC.
    """

    def __init__(
        self, floor: datetime, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._floor = floor
        self._clock = clock
        self._lock = threading.Lock()  # guards the floor, which only rises

    def observe(self, moment: datetime) -> None:
        """Raises the floor to a moment that has certainly passed.

        Args:
            moment: For instance the issue date of collateral whose signatures were checked.
        """
        with self._lock:
            self._floor = max(self._floor, moment)

    def __call__(self) -> datetime:
        """The host's time, which becomes the floor; the floor, if the host is a little behind it.

        Raises:
            EvidenceRefused: The host's clock is far behind the floor (check ``clock``).
        """
        with self._lock:
            now = self._clock()
            if now < self._floor - _TOLERANCE:
                raise clock_is_behind(now, self._floor)
            self._floor = max(self._floor, now)
            return self._floor


def clock_is_behind(now: datetime, floor: datetime) -> EvidenceRefused:
    """The refusal to verify evidence with a wrong clock.

    Args:
        now: The clock's time.
        floor: A time that has certainly passed.
    """
    return EvidenceRefused(
        "clock",
        "this host's clock is behind what has certainly passed",
        expected=f"{floor.isoformat()} or later",
        seen=now.isoformat(),
        remedy="set the host's clock (NTP); a clock that was turned back revives old keys",
    )
