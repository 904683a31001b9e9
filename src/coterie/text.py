"""Text of strangers, made fit for terminals and logs.

A terminal obeys what it is shown (ECMA-48 control sequences), a line feed begins a new log line, and
characters that turn the direction of writing (Unicode UAX 9) make a line read otherwise than it is.
"""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime

MAX_TEXT = 600


def printable(text: str, limit: int | None = MAX_TEXT) -> str:
    """Text with a question mark for each character that does not just show itself.

    Args:
        text: Of anybody.
        limit: Longest result, in characters; None where the text is bounded already.
    """
    if limit is None:
        limit = len(text)
    clean = "".join(char if char.isprintable() else "?" for char in text[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def utc_text(at: datetime) -> str:
    """A moment as ISO 8601 (RFC 3339) writes it: of UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def first_octets(octets: bytes) -> str:
    """Bytes of a stranger for people: as text, with escapes for what does not just show itself."""
    return repr(octets)[2:-1] or "nothing"


def format_of(text: bytes) -> int | None:
    """The number under ``format`` in a JSON object; None where there is none, or no such object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = value.get("format") if isinstance(value, dict) else None
    return found if type(found) is int else None


def ending_words(code: int, last_line: str) -> str:
    """How a process ended, for people.

    Args:
        code: As ``subprocess`` gives it: below 0 the signal that killed the process.
        last_line: Of what it wrote to standard error; may be empty.
    """
    if code >= 0:
        how = f"exit code {code}"
    else:
        try:
            how = f"killed by signal {-code}, {signal.Signals(-code).name}"
        except ValueError:
            how = f"killed by signal {-code}"
        if -code == signal.SIGKILL:
            how += ": mostly by the system, for want of memory (its log says so: `dmesg`)"
    return f"{how}; last words: {last_line[:300]}" if last_line else f"{how}; it wrote nothing"
