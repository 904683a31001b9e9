"""The suite's results as Markdown: the goals, then a table for every case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import CaseName, CaseResult, Results
from benchmarks.sections import EMPTY, SECTIONS, SPEED, markdown_table

MARK = "<!-- What follows is written by the suite: python -m benchmarks --write. -->"


def document(results: Results) -> str:
    """All tables of what has run."""
    parts = [_machines(results), _goals(results)]
    for name, make in SECTIONS.items():
        case = results.cases.get(name)
        if case is not None:
            note = "\nTried out only: these figures say nothing.\n" if case.quick else ""
            parts.append(make(case) + note)
    missing = [name for name in SECTIONS if name not in results.cases]
    if missing:
        parts.append(f"## Not measured yet\n\n{', '.join(missing)}\n")
    return "\n".join(parts)


def write_page(path: Path, text: str, mark: str = MARK) -> None:
    """Writes the tables; in a page that has the mark, only what follows it is replaced."""
    page = path.read_text() if path.exists() else ""
    before, found, _ = page.partition(mark)
    path.write_text(f"{before}{mark}\n\n{text}" if found else text)


@dataclass(frozen=True)
class Goal:
    """A goal, and how to read what was reached.

    Attributes:
        text: The goal.
        case: Where it is measured.
        reached: Reads it; None where it was not measured.
        holds: Whether that is enough.
    """

    text: str
    case: CaseName
    reached: Callable[[CaseResult], float | None]
    holds: Callable[[float], bool]


def _ratio(title: str, name: str, other: str) -> Callable[[CaseResult], float | None]:
    return lambda case: case.results[title].ratio(name, other, SPEED)


def _overhead(title: str) -> Callable[[CaseResult], float | None]:
    return _ratio(title, "plaintext", "ra-tls")


def _table(figure: str) -> Callable[[CaseResult], float | None]:
    return lambda case: case.results["shard"].median("criteo", figure)


GOALS: Sequence[Goal] = (
    *(
        Goal(
            f"attested / plaintext training time, {title}: at most {limit:.2f}",
            "overhead",
            _overhead(title),
            lambda value, limit=limit: value <= limit,  # type: ignore[misc]
        )
        for title, limit in (
            ("HFL 4 x 128", 1.08),
            ("HFL 4 x 2,048", 1.03),
            ("SDT 2 x 128", 1.10),
            ("SDT 2 x 2,048", 1.05),
        )
    ),
    Goal(
        "HFL 4 x 128, attested: CPU of a step, server and workers, at most 55 ms",
        "overhead",
        lambda case: case.results["HFL 4 x 128"].median("ra-tls", "server_cpu_ms", "worker_cpu_ms"),
        lambda value: value <= 55,
    ),
    Goal(
        "4 x 128: attested at least 2.00 times stock TensorFlow's plain parameter server",
        "peers",
        _ratio("4 x 128", "coterie ra-tls", "tensorflow ps"),
        lambda value: value >= 2,
    ),
    Goal(
        "4 x 128: attested at least 1.60 times the same with one fused table",
        "peers",
        _ratio("4 x 128", "coterie ra-tls", "tensorflow ps fused"),
        lambda value: value >= 1.6,
    ),
    Goal(
        "2 x 2,048: attested at least 1.00 times stock TensorFlow's plain parameter server",
        "peers",
        _ratio("2 x 2,048", "coterie ra-tls", "tensorflow ps"),
        lambda value: value >= 1,
    ),
    Goal(
        "2 x 2,048: attested at least 0.92 of one TensorFlow process",
        "peers",
        _ratio("2 x 2,048", "coterie ra-tls", "tensorflow single"),
        lambda value: value >= 0.92,
    ),
    Goal(
        "16 x 128: at least twice the 10,333 examples a second of the first measurement",
        "growth",
        lambda case: case.results["workers"].median("16", SPEED),
        lambda value: value >= 2 * 10_333,
    ),
    Goal(
        "checkpoints every two seconds: at least 0.95 of the throughput without",
        "checkpoints",
        _ratio("HFL 4 x 128", "every 32 steps", "none"),
        lambda value: value >= 0.95,
    ),
    Goal(
        "sealed checkpoints: at least 0.95 of the throughput with open ones",
        "checkpoints",
        _ratio("HFL 4 x 128", "every 32 steps, sealed", "every 32 steps"),
        lambda value: value >= 0.95,
    ),
    Goal(
        "33,762,577 rows: memory in MB beyond 1.15 x (table + state), at most 300",
        "tables",
        _table("memory_beyond_1.15_state_mb"),
        lambda value: value <= 300,
    ),
    Goal(
        "33,762,577 rows: start-up below 5 s",
        "tables",
        _table("start_seconds"),
        lambda value: value < 5,
    ),
    Goal(
        "33,762,577 rows: a step of HFL 4 x 128 over one with 1,000,000 rows, at most 1.10",
        "tables",
        lambda case: case.results["whole steps"].ratio("33,762,577", "1,000,000", "step_ms"),
        lambda value: value <= 1.10,
    ),
)


def _goals(results: Results) -> str:
    rows = []
    for goal in GOALS:
        case = results.cases.get(goal.case)
        value = goal.reached(case) if case is not None else None
        if value is None:
            rows.append([goal.text, "not measured", EMPTY])
        else:
            rows.append([goal.text, f"{value:,.2f}", "yes" if goal.holds(value) else "**no**"])
    return "## Goals\n\n" + markdown_table(["Goal", "Measured", "Reached"], rows)


def _machines(results: Results) -> str:
    machines = [dict(case.machine) for case in results.cases.values()]
    lines = ["## Machine", ""]
    for key in dict.fromkeys(key for machine in machines for key in machine):
        seen = sorted({machine.get(key, "unknown") for machine in machines})
        lines.append(f"- {key}: {', '.join(seen)}")
    return "\n".join(lines) + "\n"
