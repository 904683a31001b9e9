"""Limits the reports of refusals, which any client can cause without end.

The first refusal of an address for a reason is reported at once, then the tenth, the hundredth and
so on, each with the number since the last report. After ``MOST_KEPT`` addresses within an hour,
further addresses share one count for each reason. At the end of the hour the rest is reported, and
a new hour begins.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from coterie.errors import CallRefused, CoterieError, EvidenceRefused
from coterie.text import printable

MOST_KEPT = 64
HOUR_SECONDS = 3600.0
ELSEWHERE = "other addresses"
_GROWTH = 10
_log = logging.getLogger(__name__)

Refused = Callable[[str, CoterieError, int], None]


def log_refusal(address: str, error: CoterieError, count: int) -> None:
    """Logs why a peer was refused, and how often since the last report."""
    times = "" if count == 1 else f" {count} times"
    _log.warning("refused a peer at %s%s: %s", address, times, printable(str(error), None))


def origin(host: str) -> str:
    """The unit of counting: an IPv4 address, or the /64 network of an IPv6 address.

    An owner of one IPv6 address has a network of them (RFC 6177).
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


@dataclass
class _Count:
    """Number of refusals of an address for a reason."""

    error: CoterieError
    told: int = 0
    seen: int = 0


class Tally:
    """Counts refusals, and reports few of them. Thread-safe.

    Args:
        tell: Called with the address, the newest error, and the number since the last report.
        monotonic: Monotonic clock, in seconds.
    """

    def __init__(self, tell: Refused, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards the counts; reports are made after its release
        self._counts: dict[tuple[str, str], _Count] = {}
        self._began = monotonic()

    def note(self, address: str, error: CoterieError) -> None:
        """Counts a refusal, and reports it if it is due."""
        told: list[tuple[str, CoterieError, int]] = []
        with self._lock:
            now = self._monotonic()
            if now - self._began >= HOUR_SECONDS:
                told = self._rest()
                self._counts, self._began = {}, now
            place, reason = origin(address), _reason(error)
            known = sum(1 for other, _ in self._counts if other != ELSEWHERE)
            if (place, reason) not in self._counts and known >= MOST_KEPT:
                place = ELSEWHERE
            count = self._counts.setdefault((place, reason), _Count(error))
            count.error, count.seen = error, count.seen + 1
            if count.seen >= max(1, count.told * _GROWTH):
                told.append((place, error, count.seen - count.told))
                count.told = count.seen
        for line in told:
            self._tell(*line)

    def flush(self) -> None:
        """Reports what was not reported yet."""
        with self._lock:
            told = self._rest()
        for line in told:
            self._tell(*line)

    def _rest(self) -> list[tuple[str, CoterieError, int]]:
        rest = []
        for (place, _), count in self._counts.items():
            if count.seen > count.told:
                rest.append((place, count.error, count.seen - count.told))
                count.told = count.seen
        return rest


def _reason(error: CoterieError) -> str:
    name = type(error).__name__
    if isinstance(error, EvidenceRefused):
        return f"{name} {error.failed_check}"
    return f"{name} {error.what}" if isinstance(error, CallRefused) else name
