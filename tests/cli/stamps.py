"""Log lines without the moments at which they were written."""

from __future__ import annotations

import re

STAMP = re.compile(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")


def unstamped(text: str) -> list[str]:
    """The lines of a log; each must begin with its moment, but for those that go on from one before."""
    lines = []
    for line in text.splitlines():
        found = STAMP.match(line)
        assert found or line.startswith("  "), line
        lines.append(line[found.end() :] if found else line)
    return lines
