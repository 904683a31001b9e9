"""Times of a run by kind of work: a server's sums, and the workers' reports."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Literal

from coterie.errors import MessageRefused
from coterie.ps.wire import ps_pb2 as pb
from coterie.runs.events import ServerTimes, WorkerTimes
from coterie.spans import Span, Tracer, untraced

_Kind = Literal["decode", "apply", "read", "wait"]


def times_to_wire(times: WorkerTimes) -> pb.WorkerTimes:
    """A worker's times as a message; the caller's name is not in it."""
    return pb.WorkerTimes(
        steps=times.steps,
        prepare=times.prepare,
        compute=times.compute,
        transport=times.transport,
        server=times.server,
        wait=times.wait,
    )


def times_from_wire(node: str, message: pb.WorkerTimes) -> WorkerTimes:
    """A worker's times from its message.

    Raises:
        MessageRefused: A value is not a duration.
    """
    seconds = {
        "prepare": message.prepare,
        "compute": message.compute,
        "transport": message.transport,
        "server": message.server,
        "wait": message.wait,
    }
    for name, value in seconds.items():
        if not (isfinite(value) and value >= 0):
            raise MessageRefused(
                f"times.{name} of {node} is no duration",
                expected="seconds, 0 or more",
                seen=str(value),
            )
    return WorkerTimes(node=node, steps=message.steps, **seconds)


class ServerClock:
    """Adds up the seconds of a run by kind of work. Thread-safe.

    Args:
        monotonic: Seconds of a clock that only goes forward.
        tracer: Takes a span of each piece of work.
    """

    def __init__(self, monotonic: Callable[[], float], tracer: Tracer = untraced) -> None:
        self._monotonic = monotonic
        self._tracer = tracer
        self._lock = threading.Lock()  # guards the sums: calls add to them from several threads
        self._steps = 0
        self._sums: dict[_Kind, float] = {"decode": 0.0, "apply": 0.0, "read": 0.0, "wait": 0.0}

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Measures decoding and bounding of a push."""
        with self._adding("decode"):
            yield

    @contextmanager
    def applying(self) -> Iterator[None]:
        """Measures aggregation and update of a step."""
        with self._adding("apply"):
            yield
        with self._lock:
            self._steps += 1

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Measures gathering of rows for a reply."""
        with self._adding("read"):
            yield

    def waited(self, seconds: float) -> None:
        """Adds a caller's wait for others."""
        self._add("wait", seconds)

    def event(self, node: str) -> ServerTimes:
        """The sums so far."""
        with self._lock:
            return ServerTimes(node=node, steps=self._steps, **self._sums)

    @contextmanager
    def _adding(self, kind: _Kind) -> Iterator[None]:
        began = self._monotonic()
        try:
            yield
        finally:
            self._add(kind, self._monotonic() - began)

    def _add(self, kind: _Kind, seconds: float) -> None:
        with self._lock:
            self._sums[kind] += seconds
        self._tracer(Span(kind, seconds))
