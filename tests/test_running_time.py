"""A clock that stands still while its process does."""

from __future__ import annotations

import threading
import time

from coterie.running_time import GAP_SECONDS, RunningTime
from tests.ps.conftest import Clock


def test_it_goes_as_the_clock_below_while_it_is_read() -> None:
    clock = Clock()
    ran = RunningTime(clock)
    began = ran()
    for _ in range(10):
        clock.now += GAP_SECONDS - 0.5
        ran()
    assert ran() - began == 10 * (GAP_SECONDS - 0.5)


def test_what_nobody_read_did_not_pass_and_is_told() -> None:
    clock, gaps = Clock(), list[float]()
    ran = RunningTime(clock, gaps.append)
    began = ran()
    clock.now += 2
    assert ran() - began == 2
    clock.now += 3600
    assert ran() - began == 2
    clock.now += 1
    assert ran() - began == 3
    assert gaps == [3600]


def test_it_is_read_all_the_time_by_a_thread_that_ends() -> None:
    reads: list[None] = []
    enough = threading.Event()

    def monotonic() -> float:
        reads.append(None)
        if len(reads) == 3:
            enough.set()
        return time.monotonic()

    ran = RunningTime(monotonic)
    with ran.ticking():
        assert enough.wait(timeout=30)
    assert not [thread for thread in threading.enumerate() if thread.name == "running time"]
