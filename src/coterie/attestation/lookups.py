"""Look-ups of collateral, bounded: in number, in time, and in how often one is made.

Whoever connects names a platform, and a service that has to be asked may be slow, or not answer at all.
So there is one look-up per platform at a time, its end is not waited for beyond a deadline that counts
from its start, and its outcome, a failure too, stands for a while before it is asked for again. No lock
is held meanwhile: who waits in vain goes on without, and the next one finds the answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from coterie.attestation.platforms import Platform
from coterie.errors import CoterieError, EnvironmentUnfit, error_from_dict

LOOK_UP_SECONDS = 5.0  # half of what a handshake may take
PAUSE_SECONDS = 60.0
MOST_UNDER_WAY = 4
MOST_KEPT = 64
Found = TypeVar("Found")


_unfit = partial(
    EnvironmentUnfit,
    "the collateral of a platform cannot be had in time",
    expected=f"an answer of the PCCS within {LOOK_UP_SECONDS:g} s",
    remedy="check --pccs-url and the network; it is asked again in a minute",
)


class _LookUp(Generic[Found]):
    """One look-up, in a thread of its own."""

    def __init__(self, look_up: Callable[[], Found], began: float) -> None:
        self.began = began
        self.ended = threading.Event()
        self._outcome: Found | Exception | None = None
        self._look_up = look_up
        threading.Thread(target=self._run, name="collateral", daemon=True).start()

    def _run(self) -> None:
        try:
            self._outcome = self._look_up()
        except Exception as error:  # noqa: BLE001 (raised where it is waited for)
            self._outcome = error
        self.ended.set()

    @property
    def outcome(self) -> Found:
        """What came out.

        Raises:
            CoterieError: Why it failed; made anew for everybody who asks.
        """
        outcome = self._outcome
        if isinstance(outcome, CoterieError):
            raise error_from_dict(outcome.to_dict()) or outcome from outcome
        if isinstance(outcome, Exception):
            raise outcome
        assert outcome is not None
        return outcome


class LookUps(Generic[Found]):
    """Makes look-ups. Thread-safe.

    Args:
        seconds: How long the end of one is waited for, from its start.
        pause: How long its outcome stands.
        monotonic: Seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        *,
        seconds: float = LOOK_UP_SECONDS,
        pause: float = PAUSE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._pause = pause
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._made: dict[Platform, _LookUp[Found]] = {}  # oldest first

    def outcome(self, platform: Platform, look_up: Callable[[], Found]) -> Found:
        """The outcome of the look-up for a platform, which is made if none stands.

        Raises:
            EnvironmentUnfit: It has not ended in time, or too many others have not.
            CoterieError: It failed.
        """
        with self._lock:
            now = self._monotonic()
            made = self._made.get(platform)
            if made is None or (made.ended.is_set() and now - made.began >= self._pause):
                self._make_room(platform)
                made = self._made[platform] = _LookUp(look_up, now)
        if not made.ended.wait(max(0.0, made.began + self._seconds - now)):
            raise _unfit(seen=f"no answer within {self._seconds:g} s for {platform.name}")
        return made.outcome

    def _make_room(self, platform: Platform) -> None:
        self._made.pop(platform, None)
        under_way = [one for one in self._made.values() if not one.ended.is_set()]
        if len(under_way) >= MOST_UNDER_WAY:
            raise _unfit(seen=f"{len(under_way)} other look-ups that have not ended")
        while len(self._made) >= MOST_KEPT:
            del self._made[next(key for key, one in self._made.items() if one.ended.is_set())]
