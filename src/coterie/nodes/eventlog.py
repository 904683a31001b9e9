"""Where a node's and a run's events go: a file, to which a resumed run appends, and standard output."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from coterie.nodes.eventlines import MAX_LINE_BYTES, decode_event, encode_event
from coterie.ps.events import Event, EventSink, StepDone

FILE = "events.jsonl"


@contextmanager
def event_log(folder: Path) -> Iterator[EventSink]:
    """A sink that appends to the folder's log. Steps wait in a buffer for the next other event."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = threading.Lock()  # nodes of one process tell from threads of their own
    with (folder / FILE).open("a", encoding="utf-8") as log:

        def keep(event: Event) -> None:
            with lock:
                log.write(encode_event(event) + "\n")
                if not isinstance(event, StepDone):
                    log.flush()

        yield keep


def read_events(folder: Path) -> Iterator[Event]:
    """The events in a folder's log, one by one; lines that hold none are left out."""
    try:
        log = (folder / FILE).open("rb")
    except FileNotFoundError:
        return
    with log:
        while line := log.readline(MAX_LINE_BYTES + 1):
            event = decode_event(line.decode("utf-8", "replace").rstrip("\n"))
            if event is not None:
                yield event


def printed(line: Callable[[Event], str] = encode_event) -> EventSink:
    """A sink that writes every event as a line to standard output, at once.

    Args:
        line: Makes a line of an event.
    """

    def write(event: Event) -> None:
        sys.stdout.write(line(event) + "\n")
        sys.stdout.flush()

    return write


def all_of(*sinks: EventSink) -> EventSink:
    """A sink that tells all of these."""

    def tell(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return tell
