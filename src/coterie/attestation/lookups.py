"""Look-ups of collateral, bounded in number, time and frequency.

A peer that connects names its platform, and the service that is asked may be slow or not answer. So
there is one look-up per platform at a time. Callers wait until a deadline that counts from its
start. Its outcome, also a failure, is reused for a while. No lock is held during a look-up: a
caller that waited in vain goes on without, and the next caller finds the answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from coterie.attestation.authentic import AnyPlatform
from coterie.errors import CoterieError, EnvironmentUnfit, error_from_dict

LOOK_UP_SECONDS = 5.0  # half of a handshake's time limit
PAUSE_SECONDS = 60.0
MOST_UNDER_WAY = 4
MOST_KEPT = 64
Found = TypeVar("Found")


_unfit = partial(
    EnvironmentUnfit,
    "the collateral of a platform cannot be had in time",
    expected=f"an answer of the PCCS, or of AMD's service, within {LOOK_UP_SECONDS:g} s",
    remedy="check --pccs-url or --kds-url, and the network; it is asked again in a minute",
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
        except Exception as error:  # noqa: BLE001 (raised in the waiting thread)
            self._outcome = error
        self.ended.set()

    @property
    def outcome(self) -> Found:
        """The result of the look-up.

        Raises:
            CoterieError: The look-up failed; a new error object for each caller.
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
        seconds: How long callers wait for a look-up, counted from its start.
        pause: How long its outcome is reused.
        monotonic: Monotonic clock, in seconds.
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
        self._lock = threading.Lock()  # guards `_made`; not held during a look-up
        self._made: dict[AnyPlatform, _LookUp[Found]] = {}  # oldest first

    def outcome(self, platform: AnyPlatform, look_up: Callable[[], Found]) -> Found:
        """The outcome of the look-up for a platform; starts one if there is no recent one.

        Raises:
            EnvironmentUnfit: It did not end in time, or too many others are running.
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

    def _make_room(self, platform: AnyPlatform) -> None:
        self._made.pop(platform, None)
        under_way = [one for one in self._made.values() if not one.ended.is_set()]
        if len(under_way) >= MOST_UNDER_WAY:
            raise _unfit(seen=f"{len(under_way)} other look-ups that have not ended")
        while len(self._made) >= MOST_KEPT:
            del self._made[next(key for key, one in self._made.items() if one.ended.is_set())]
