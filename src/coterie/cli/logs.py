"""Logging of the command line: how much (``-v``) and in which form (``--log-format``)."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from coterie.text import printable, utc_text

if TYPE_CHECKING:
    from coterie.runs.events import Event, EventSink

Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Log every event, each step too, and errors' causes."),
]


class LogFormat(StrEnum):
    """Forms of a log line."""

    TEXT = "text"
    JSON = "json"


Format = Annotated[
    LogFormat | None,
    typer.Option("--log-format", help="Log lines as text (unless said otherwise) or as JSON."),
]


@dataclass(frozen=True)
class LogSettings:
    """How this process logs.

    Attributes:
        form: Form of every line.
        verbose: Whether to log every event and the causes of errors.
    """

    form: LogFormat = LogFormat.TEXT
    verbose: bool = False


class _Process:
    """The settings of this process, shared by all of its threads."""

    settings = LogSettings()


def settings() -> LogSettings:
    """The settings from the command line."""
    return _Process.settings


def start() -> None:
    """Resets the settings of an earlier command in this process."""
    _Process.settings = LogSettings()


def choose(*, verbose: bool, form: LogFormat | None) -> None:
    """Adds the settings from one place of the command line to those before it."""
    found = settings()
    found = replace(found, form=form or found.form, verbose=verbose or found.verbose)
    _Process.settings = found
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if found.form is LogFormat.JSON else _Text())
    logger = logging.getLogger("coterie")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if found.verbose else logging.WARNING)


def line_of(event: Event) -> str:
    """An event as a line of the chosen form, with the present time."""
    from coterie.runs.event_format import describe_event, encode_event

    now = datetime.now(UTC)
    if settings().form is LogFormat.JSON:
        return encode_event(event, now)
    return f"{utc_text(now)} {describe_event(event)}"


def line_of_fields(fields: Mapping[str, str]) -> str:
    """Another log entry as a line of the chosen form, with the present time."""
    now = utc_text(datetime.now(UTC))
    if settings().form is LogFormat.JSON:
        return json.dumps({"time": now, **fields})
    head, *rest = fields.items()
    return " ".join([now, head[1], *(f"{name}={json.dumps(text)}" for name, text in rest if text)])


def every_event(title: str) -> EventSink | None:
    """A sink that writes every event to standard error; None if only a summary is wanted.

    Args:
        title: Name of the run, which begins lines for people.
    """
    chosen = settings()
    if chosen.form is LogFormat.TEXT and not chosen.verbose:
        return None

    def write(event: Event) -> None:
        line = line_of(event)
        if chosen.form is LogFormat.TEXT:
            at, _, said = line.partition(" ")
            line = f"{at} {title}: {said}"
        sys.stderr.write(f"{line}\n")

    return write


class _Text(logging.Formatter):
    """Formats a log record as one line, with its exception indented below."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        lines = [f"{utc_text(at)} {record.getMessage()}"]
        if record.exc_info:
            lines += self.formatException(record.exc_info).split("\n")
        return "\n  ".join(printable(line, None) for line in lines)


class _Json(logging.Formatter):
    """A log record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        value = {
            "event": "Log",
            "time": utc_text(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            value["exception"] = self.formatException(record.exc_info)
        return json.dumps(value)
