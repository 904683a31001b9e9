"""A run's log of events: appended to, read back one by one."""

from __future__ import annotations

import threading
from pathlib import Path

from coterie.nodes.eventlog import FILE, all_of, event_log, read_events
from coterie.ps import events

JOINED = events.Joined("acme", ("bolt",))


def test_what_was_told_is_read_back_over_several_lives(tmp_path: Path) -> None:
    step = events.StepDone(1, 2, 3, 0.5, 0.1, 0.25, 1, 3)
    for event in (JOINED, step):
        with event_log(tmp_path / "deep" / "folder") as log:
            log(event)
    assert list(read_events(tmp_path / "deep" / "folder")) == [JOINED, step]


def test_all_but_steps_are_on_disk_at_once(tmp_path: Path) -> None:
    with event_log(tmp_path) as log:
        log(JOINED)
        assert list(read_events(tmp_path)) == [JOINED]


def test_threads_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    with event_log(tmp_path) as log:

        def tell(name: str) -> None:
            for step in range(200):
                log(events.LeftOut(name * 50, step))

        threads = [threading.Thread(target=tell, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(list(read_events(tmp_path))) == 800


def test_a_log_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert list(read_events(tmp_path)) == []


def test_endless_lines_are_read_in_pieces_that_hold_no_event(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"{" + b"x" * (3 << 20) + b"\n")
    with event_log(tmp_path) as log:
        log(JOINED)
    assert list(read_events(tmp_path)) == [JOINED]


def test_several_sinks_hear_the_same() -> None:
    first: list[events.Event] = []
    second: list[events.Event] = []
    all_of(first.append, second.append)(JOINED)
    all_of()(JOINED)
    assert first == second == [JOINED]
