"""Bad rows of a raw file: reasons and remedies."""

from __future__ import annotations

from dataclasses import dataclass, field

NAMED_LINES = 100
_NAMED_HINTS = 3


@dataclass(frozen=True)
class Fault:
    """The fault of a row.

    Attributes:
        reason: The reason, for example ``39 cells instead of 40``.
        hint: A remedy, if known.
        about: Subject of the hint; of several hints with one subject, only the first is reported.
    """

    reason: str
    hint: str = ""
    about: str = ""


@dataclass
class BadRows:
    """The skipped rows.

    Attributes:
        count: Their number.
        lines: The first of them, as in ``line 7: 39 cells instead of 40``.
        hints: Remedies for the first kinds of faults.
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
