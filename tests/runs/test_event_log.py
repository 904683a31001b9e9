"""A run's log of events: appended to, read back one by one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from coterie.runs import events
from coterie.runs.event_log import FILE, LineLog, all_of, event_log, read_events
from faults.disk import no_room

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


# --- what cannot be written --------------------------------------------------------------------


def test_a_log_without_room_holds_what_it_was_told_until_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with event_log(tmp_path) as log:
        log(JOINED)
        size = (tmp_path / FILE).stat().st_size
        with no_room(size + 10):
            for _ in range(3):
                log(JOINED)
            assert (tmp_path / FILE).stat().st_size <= size + 10
        log(JOINED)
        assert list(read_events(tmp_path)) == [JOINED] * 5
    said = capsys.readouterr().err.splitlines()
    assert said == [
        (
            f"{tmp_path / FILE} cannot be written (File too large): what happens is not told there; "
            "the work goes on"
        )
    ]


def test_a_log_that_never_finds_room_ends_nothing_and_grows_no_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FILE).mkdir()
    log = LineLog(tmp_path / FILE)
    for number in range(3000):
        log.add(f"{number:06}" + "x" * 1000, at_once=True)
    assert len(log._held) < 2 << 20
    (tmp_path / FILE).rmdir()
    log.close()
    lines = (tmp_path / FILE).read_text().splitlines()
    assert lines[-1].startswith("002999")
    assert all(line == "" or len(line) == 1006 for line in lines), "whole lines, the newest"
    assert capsys.readouterr().err.count("Is a directory") == 1


PRINT = """
import sys
from coterie.runs.event_log import printed
from coterie.runs.events import Started
tell = printed()
for _ in range(3):
    tell(Started("ps0", "ps", "operator"))
print("more")
sys.stderr.write("went on\\n")
"""


@pytest.mark.system
def test_a_closed_standard_output_ends_nothing_and_is_said_once() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", PRINT],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert ended.returncode == 0
    assert ended.stderr.splitlines() == [
        (
            "standard output cannot be written (Broken pipe): what happens is not told there; "
            "the work goes on"
        ),
        "went on",
    ]


@pytest.mark.system
def test_a_standard_output_on_a_full_disk_ends_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-c", PRINT],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 0
    assert ended.stderr.count("No space left on device") == 1
    assert ended.stderr.endswith("went on\n")
