"""Sinks for the events of a node or run: standard output, and a file, which is appended to.

A sink never ends or blocks a training. A failure to write is reported once, on standard error.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from coterie.files import say_unwritten, silence_output, unhindered
from coterie.runs.event_format import MAX_LINE_BYTES, decode_event, encode_event
from coterie.runs.events import Event, EventSink, StepDone

FILE = "events.jsonl"
_MOST_HELD_BYTES = 1 << 20


class LineLog:
    """Appends lines to a file that is made with the first line. Thread-safe.

    Lines that cannot be written are kept for the next attempt, up to a bound. If the disk has room
    again in time, no line is missing.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # guards the waiting lines and the file
        self._file: int | None = None
        self._held = b""
        self._said = False

    def add(self, line: str, *, at_once: bool) -> None:
        """Adds a line, without its end.

        Args:
            line: The text.
            at_once: Whether to write it now; otherwise it waits for the next such line.
        """
        with self._lock:
            self._held += line.encode() + b"\n"
            if at_once or len(self._held) > _MOST_HELD_BYTES:
                self._write()

    def close(self) -> None:
        """Writes the waiting lines and closes the file."""
        with self._lock:
            if self._held:
                self._write()
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _write(self) -> None:
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(
                    self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
                )
            while self._held:
                self._held = self._held[os.write(self._file, self._held) :]
        except OSError as error:
            if not self._said:
                self._said = True
                say_unwritten(str(self._path), error)
            if len(self._held) > _MOST_HELD_BYTES:
                # Keep the newest lines, after a line's end: the last line in the file may be
                # incomplete.
                kept = self._held[-_MOST_HELD_BYTES // 2 :]
                self._held = b"\n" + kept[kept.find(b"\n") + 1 :]


@contextmanager
def event_log(folder: Path) -> Iterator[EventSink]:
    """A sink that appends to the log in a folder. Steps are buffered until the next other event."""
    log = LineLog(folder / FILE)

    def keep(event: Event) -> None:
        log.add(json_line(event), at_once=not isinstance(event, StepDone))

    try:
        yield keep
    finally:
        log.close()


def read_events(folder: Path) -> Iterator[Event]:
    """Yields the events in a folder's log; lines that are not events are skipped."""
    try:
        log = (folder / FILE).open("rb")
    except FileNotFoundError:
        return
    with log:
        while line := log.readline(MAX_LINE_BYTES + 1):
            event = decode_event(line.decode("utf-8", "replace").rstrip("\n"))
            if event is not None:
                yield event


def json_line(event: Event) -> str:
    """An event as a line of JSON, with the present time."""
    return encode_event(event, datetime.now(UTC))


def printed(line: Callable[[Event], str] = json_line) -> EventSink:
    """A sink that writes every event as a line to standard output, unbuffered.

    Args:
        line: Makes the line of an event.
    """

    def write(event: Event) -> None:
        sys.stdout.write(line(event) + "\n")
        sys.stdout.flush()

    return unhindered(write, "standard output", silence_output)


def all_of(*sinks: EventSink) -> EventSink:
    """A sink that passes every event to all the given sinks."""

    def tell(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return tell
