"""The clock with a floor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from coterie.attestation.clock import FlooredClock
from coterie.errors import EvidenceRefused

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Host:
    """A host's clock that a test sets."""

    def __init__(self) -> None:
        self.time = AT

    def __call__(self) -> datetime:
        return self.time


def refused(clock: FlooredClock) -> EvidenceRefused:
    with pytest.raises(EvidenceRefused) as refusal:
        clock()
    assert refusal.value.failed_check == "clock"
    return refusal.value


def test_goes_on_with_the_host() -> None:
    host = Host()
    clock = FlooredClock(AT - timedelta(days=1), clock=host)
    assert clock() == AT
    host.time += SECOND
    assert clock() == AT + SECOND


def test_does_not_go_back_with_the_host() -> None:
    host = Host()
    clock = FlooredClock(AT, clock=host)
    host.time = AT + timedelta(hours=1)
    clock()
    host.time = AT + timedelta(minutes=58)
    refusal = refused(clock)
    assert refusal.expected.startswith("2026-03-01T13:00:00")
    assert refusal.seen.startswith("2026-03-01T12:58:00")


def test_stands_still_while_the_host_is_a_little_behind() -> None:
    host = Host()
    clock = FlooredClock(AT, clock=host)
    host.time = AT - timedelta(seconds=59)
    assert clock() == AT
    host.time = AT - timedelta(seconds=61)
    refused(clock)
    host.time = AT + SECOND
    assert clock() == AT + SECOND


def test_what_was_observed_has_passed() -> None:
    host = Host()
    clock = FlooredClock(AT, clock=host)
    clock.observe(AT - timedelta(days=2))
    assert clock() == AT
    clock.observe(AT + timedelta(days=2))
    refused(clock)
    host.time = AT + timedelta(days=3)
    assert clock() == host.time
