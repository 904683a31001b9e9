"""Where the time goes: the server's sums, and what workers say of theirs."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest

from coterie.errors import MessageRefused
from coterie.ps.times import ServerClock, times_from_wire, times_to_wire
from coterie.ps.wire import ps_pb2 as pb
from coterie.runs.events import ServerTimes, WorkerTimes
from coterie.spans import Span

TIMES = WorkerTimes("w0", 10, prepare=0.1, compute=2.0, transport=0.5, server=1.5, wait=0.25)
KINDS = ("prepare", "compute", "transport", "server", "wait")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_server_adds_up_its_work_by_kind() -> None:
    now = Clock()
    clock = ServerClock(now)
    for seconds in (1.0, 2.0):
        with clock.decoding():
            now.now += seconds
        with clock.applying():
            now.now += 10 * seconds
        with clock.reading():
            now.now += 100 * seconds
    clock.waited(0.5)
    assert clock.event("ps0") == ServerTimes("ps0", 2, decode=3.0, apply=30.0, read=300.0, wait=0.5)


def test_work_that_fails_counts_and_is_no_step() -> None:
    now = Clock()
    clock = ServerClock(now)
    with suppress(ZeroDivisionError), clock.applying():
        now.now += 4
        raise ZeroDivisionError
    assert clock.event("ps0") == ServerTimes("ps0", 0, decode=0.0, apply=4.0, read=0.0, wait=0.0)


def test_every_piece_of_work_is_a_span_also_if_it_fails() -> None:
    now, spans = Clock(), list[Span]()
    clock = ServerClock(now, spans.append)
    with clock.decoding():
        now.now += 1
    with clock.reading():
        now.now += 2
    with suppress(ZeroDivisionError), clock.applying():
        now.now += 4
        raise ZeroDivisionError
    clock.waited(0.5)
    assert spans == [Span("decode", 1), Span("read", 2), Span("apply", 4), Span("wait", 0.5)]


def test_a_workers_times_come_back_from_the_wire() -> None:
    octets = times_to_wire(TIMES).SerializeToString()
    assert times_from_wire("w0", pb.WorkerTimes.FromString(octets)) == TIMES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_what_is_no_duration_is_refused(kind: str, value: float) -> None:
    message = times_to_wire(TIMES)
    setattr(message, kind, value)
    with pytest.raises(MessageRefused) as refused:
        times_from_wire("w0", message)
    assert refused.value.what == f"times.{kind} of w0 is no duration"
    assert refused.value.expected == "seconds, 0 or more"
    assert refused.value.seen == str(value)
