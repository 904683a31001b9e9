"""How long a server waits for nodes to leave: as long as somebody gets further, and not for ever."""

from __future__ import annotations

from coterie.ps.core.departures import SECONDS_A_PART, Departures
from tests.ps.conftest import Clock


def begun(clock: Clock, parts: int = 10) -> Departures:
    departures = Departures(20.0, clock)
    clock.now += 1000
    departures.begin(parts)
    return departures


def test_nobody_who_takes_nothing_is_waited_for_longer_than_a_step() -> None:
    clock = Clock()
    departures = begun(clock)
    assert departures.seconds_left() == 20
    clock.now += 15
    assert departures.seconds_left() == 5


def test_who_gets_further_is_waited_for() -> None:
    clock = Clock()
    departures = begun(clock)
    for part in range(1, 6):
        clock.now += 15
        departures.sent("w0", part)
        assert departures.seconds_left() == 20


def test_who_begins_anew_wins_no_time() -> None:
    clock = Clock()
    departures = begun(clock)
    departures.sent("w0", 3)
    clock.now += 15
    for part in (1, 2, 3):
        departures.sent("w0", part)
    assert departures.seconds_left() == 5
    departures.sent("w1", 1)
    assert departures.seconds_left() == 20, "another node is another download"


def test_all_of_it_has_an_end() -> None:
    clock = Clock()
    departures = begun(clock, parts=4)
    for part in range(1, 5):
        clock.now += 19
        departures.sent("w0", part)
    assert departures.seconds_left() == 20 + 4 * SECONDS_A_PART - 4 * 19
