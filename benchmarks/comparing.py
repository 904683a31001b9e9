"""Takes turns: A B A B, so that what the machine does meanwhile meets all alike; then medians."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from statistics import median

from pydantic import BaseModel, ConfigDict

Figures = Mapping[str, float]


class Compared(BaseModel):
    """Repetitions of things that took turns.

    Attributes:
        repetitions: By name of the thing: one set of figures for each turn.
        absent: By name of the thing: why it was not run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    repetitions: dict[str, list[dict[str, float]]]
    absent: dict[str, str]

    def median(self, name: str, *figures: str) -> float | None:
        """Median of a figure, or of the sum of several; None where it was not measured."""
        turns = self.repetitions.get(name)
        if not turns or any(figure not in turn for turn in turns for figure in figures):
            return None
        return median(sum(turn[figure] for figure in figures) for turn in turns)

    def ratio(self, name: str, other: str, figure: str) -> float | None:
        """Median over the turns of one's figure over the other's of the same turn."""
        ones, others = self.repetitions.get(name), self.repetitions.get(other)
        if not ones or not others:
            return None
        return median(a[figure] / b[figure] for a, b in zip(ones, others, strict=True))


class Unavailable(Exception):
    """A peer cannot run on this machine."""


def take_turns(things: Mapping[str, Callable[[], Figures]], repeat: int, title: str) -> Compared:
    """Runs every thing ``repeat`` times, in turns."""
    repetitions: dict[str, list[dict[str, float]]] = {}
    absent: dict[str, str] = {}
    for turn in range(repeat):
        for name, thing in things.items():
            if name in absent:
                continue
            try:
                figures = dict(thing())
            except Unavailable as error:
                absent[name] = str(error)
                continue
            repetitions.setdefault(name, []).append(figures)
            shown = ", ".join(f"{key} {value:,.2f}" for key, value in figures.items())
            sys.stderr.write(f"{title}: {name}, turn {turn + 1} of {repeat}: {shown}\n")
            sys.stderr.flush()
    return Compared(repetitions=repetitions, absent=absent)
