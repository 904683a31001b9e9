"""Who waits says so after a few seconds and then ever more rarely, also while one attempt hangs."""

from __future__ import annotations

import queue
from itertools import count, pairwise

from coterie.errors import PeerUnreachable
from coterie.waiting import LONGEST_SECONDS, Backoff, Patience, trying


def moments(patience: Patience, until: float, since: float = 0.0) -> list[float]:
    """When it is said, by a clock that is looked at four times a second."""
    ticks = (since + 0.25 * tick for tick in range(int(4 * until)))
    return [now - since for now in ticks if patience.due(now, since)]


def test_it_is_said_at_growing_intervals() -> None:
    said = moments(Patience(2.0), 300.0)
    assert said == [2, 4, 8, 16, 32, 64, 124, 184, 244]
    assert all(b - a <= LONGEST_SECONDS for a, b in pairwise(said))


def test_progress_begins_a_new_wait() -> None:
    patience = Patience(2.0)
    assert moments(patience, 5.0) == [2, 4]
    assert moments(patience, 5.0, since=100.0) == [2, 4]


def test_what_is_tried_in_vain_is_told_with_what_failed_last() -> None:
    heard: queue.Queue[tuple[float, float, str]] = queue.Queue()
    clock = count(0.0, 5.0)  # every look takes five seconds, so nothing is waited for
    tell = lambda *said: heard.put(said)  # noqa: E731
    with trying("nothing yet", 1e9, tell, monotonic=lambda: next(clock)) as failure:
        waited, left, why = heard.get()
        assert why == "nothing yet"
        assert waited + left == 1e9
        failure.note(PeerUnreachable("it does not answer", seen="refused"))
        while (said := heard.get())[2] == why:
            assert said[0] > waited
    assert said[2] == "it does not answer: refused"


def test_nothing_is_told_when_the_time_is_up() -> None:
    heard: list[float] = []
    clock = count(0.0, 50.0)
    looks = queue.Queue[None]()

    def monotonic() -> float:
        looks.put(None)
        return next(clock)

    with trying("nothing yet", 10.0, lambda waited, *_: heard.append(waited), monotonic=monotonic):
        for _ in range(6):
            looks.get()
    assert heard == []


def test_pauses_between_attempts_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 15.0)
    assert [backoff.pause() for _ in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]
    backoff.reset()
    assert backoff.pause() == 0.5
