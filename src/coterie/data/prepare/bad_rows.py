"""Why a row of a raw file is bad, and what helps."""

from __future__ import annotations

from dataclasses import dataclass, field

NAMED_LINES = 100
_NAMED_HINTS = 3


@dataclass(frozen=True)
class Fault:
    """What is wrong with a row.

    Attributes:
        reason: As in ``39 cells instead of 40``.
        hint: What helps against it, where that is known.
        about: What the hint is about: of several that differ in their examples alone, one is told.
    """

    reason: str
    hint: str = ""
    about: str = ""


@dataclass
class BadRows:
    """Rows that were skipped.

    Attributes:
        count: How many.
        lines: The first of them: ``line 7: 39 cells instead of 40``.
        hints: What helps against the first kinds of them.
    """

    count: int = 0
    lines: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)

    def add(self, line: int, fault: Fault) -> None:
        """Counts one row, and names it if there is room."""
        self.count += 1
        if len(self.lines) < NAMED_LINES:
            self.lines.append(f"line {line}: {fault.reason}")
        about = fault.about or fault.hint
        if fault.hint and about not in self._told and len(self.hints) < _NAMED_HINTS:
            self._told.add(about)
            self.hints.append(fault.hint)
