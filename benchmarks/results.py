"""The suite's results as a file: what ran where, and every repetition."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from benchmarks.comparing import Compared

CaseName = Literal[
    "overhead", "peers", "exchange", "growth", "checkpoints", "transport", "tables", "thin"
]


class CaseResult(BaseModel):
    """One case.

    Attributes:
        machine: Where it ran.
        quick: Whether it was only tried out; such figures say nothing.
        results: By title.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: dict[str, str]
    quick: bool
    results: dict[str, Compared]


class Results(BaseModel):
    """All cases that have run; others are absent."""

    model_config = ConfigDict(extra="forbid")

    cases: dict[CaseName, CaseResult] = {}


def read_results(path: Path) -> Results:
    """Reads a results file; no cases where there is none."""
    return Results.model_validate_json(path.read_text()) if path.exists() else Results()
