"""The host's clock with a floor: the host may not turn time back to when old evidence was good."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from coterie.errors import EvidenceRefused

# Time services set clocks back by a little now and then; that is no attack and ends no run.
_TOLERANCE = timedelta(minutes=1)


class FlooredClock:
    """Tells the time, but no time before the newest thing that was seen. Thread-safe.

    Args:
        floor: The first floor, for instance the start of the run or the newest issue date known.
        clock: The host's clock, in UTC.
    """

    def __init__(
        self, floor: datetime, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._floor = floor
        self._clock = clock
        self._lock = threading.Lock()

    def observe(self, moment: datetime) -> None:
        """Raises the floor to a moment that has certainly passed.

        Args:
            moment: For instance the issue date of collateral whose signatures were checked.
        """
        with self._lock:
            self._floor = max(self._floor, moment)

    def __call__(self) -> datetime:
        """The host's time, which is the new floor; the floor where it is a little behind that.

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
    """The refusal to judge anything by a clock that is wrong.

    Args:
        now: What the clock says.
        floor: What has certainly passed.
    """
    return EvidenceRefused(
        "clock",
        "this host's clock is behind what has certainly passed",
        expected=f"{floor.isoformat()} or later",
        seen=now.isoformat(),
        remedy="set the host's clock (NTP); a clock that was turned back revives old keys",
    )
