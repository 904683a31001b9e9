"""The suite's results as Markdown: the goals, then a table for every case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparing import Compared
from benchmarks.results import CaseName, CaseResult, Results

_SPEED = "examples_per_second"
MARK = "<!-- What follows is written by the suite: python -m benchmarks --write. -->"
_EMPTY = ""


def document(results: Results) -> str:
    """All tables of what has run."""
    parts = [_machines(results), _goals(results)]
    for name, make in _TABLES.items():
        case = results.cases.get(name)
        if case is not None:
            note = "\nTried out only: these figures say nothing.\n" if case.quick else ""
            parts.append(make(case) + note)
    return "\n".join(parts)


def write_page(path: Path, text: str, mark: str = MARK) -> None:
    """Writes the tables; in a page that has the mark, only what follows it is replaced."""
    page = path.read_text() if path.exists() else ""
    before, found, _ = page.partition(mark)
    path.write_text(f"{before}{mark}\n\n{text}" if found else text)


@dataclass(frozen=True)
class Goal:
    """A goal of issue 4, and how to read what was reached.

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
    return lambda case: case.results[title].ratio(name, other, _SPEED)


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
            ("HFL 4 x 128", 1.10),
            ("HFL 4 x 2,048", 1.05),
            ("SDT 2 x 128", 1.10),
            ("SDT 2 x 2,048", 1.05),
        )
    ),
    Goal(
        "4 x 128: attested at least 2.00 times stock TensorFlow's plain parameter server",
        "peers",
        _ratio("4 x 128", "coterie ra-tls", "tensorflow ps"),
        lambda value: value >= 2,
    ),
    Goal(
        "2 x 2,048: attested at least 1.00 times stock TensorFlow's plain parameter server",
        "peers",
        _ratio("2 x 2,048", "coterie ra-tls", "tensorflow ps"),
        lambda value: value >= 1,
    ),
    Goal(
        "2 x 2,048: attested at least 0.85 of one TensorFlow process",
        "peers",
        _ratio("2 x 2,048", "coterie ra-tls", "tensorflow single"),
        lambda value: value >= 0.85,
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
            rows.append([goal.text, "not measured", _EMPTY])
        else:
            rows.append([goal.text, f"{value:,.2f}", "yes" if goal.holds(value) else "**no**"])
    return "## Goals\n\n" + _markdown(["Goal", "Measured", "Reached"], rows)


def _machines(results: Results) -> str:
    machines = [dict(case.machine) for case in results.cases.values()]
    lines = ["## Machine", ""]
    for key in machines[0] if machines else ():
        seen = sorted({machine.get(key, "unknown") for machine in machines})
        lines.append(f"- {key}: {', '.join(seen)}")
    return "\n".join(lines) + "\n"


def _overhead_table(case: CaseResult) -> str:
    rows = []
    for title, compared in case.results.items():
        digests = "/".join(str(len(turns)) for turns in compared.repetitions.values())
        overhead = compared.ratio("plaintext", "ra-tls", _SPEED)
        rows.append(
            [
                title,
                _number(compared.median("plaintext", _SPEED)),
                _number(compared.median("ra-tls", _SPEED)),
                f"{overhead:.2f}" if overhead else _EMPTY,
                _EMPTY,
                _EMPTY,
                digests,
            ]
        )
    head = ["Run", "plaintext, examples/s", "RA-TLS (simulated TEE), examples/s", "overhead"]
    return "## Attested against plaintext\n\n" + _markdown(
        [*head, "gramine-direct", "SGX", "turns"], rows
    )


def _peer_table(case: CaseResult) -> str:
    rows = []
    for title, compared in case.results.items():
        for name in [*compared.repetitions, *compared.absent]:
            ratio = compared.ratio("coterie ra-tls", name, _SPEED)
            rows.append(
                [
                    title,
                    name,
                    _number(compared.median(name, _SPEED)),
                    f"{ratio:.2f}" if ratio else compared.absent.get(name, _EMPTY),
                ]
            )
    return "## Against others\n\n" + _markdown(
        ["Workers x batch", "Program", "examples/s", "Coterie, attested, over it"], rows
    )


def _growth_table(case: CaseResult) -> str:
    rows = []
    for axis, compared in case.results.items():
        for name in compared.repetitions:
            cells = [
                _number(compared.median(name, figure), digits)
                for figure, digits in (
                    (_SPEED, 0),
                    ("step_ms", 1),
                    ("server_cpu_ms", 1),
                    ("worker_cpu_ms", 1),
                    ("bytes_per_example", 0),
                )
            ]
            rows.append([axis, name, *cells])
    head = ["What grows", "to", "examples/s", "ms/step", "PS CPU ms/step", "workers' CPU ms/step"]
    return "## Growth\n\n" + _markdown([*head, "bytes/example"], rows)


def _checkpoint_table(case: CaseResult) -> str:
    return "## Checkpoints\n\n" + _plain_table(case.results["HFL 4 x 128"], (_SPEED,))


def _transport_table(case: CaseResult) -> str:
    figures = ("gigabytes_per_cpu_second", "gigabytes_per_second")
    return "## The transport alone\n\n" + _plain_table(case.results["loopback"], figures)


def _row_table(case: CaseResult) -> str:
    shard, whole = case.results["shard"], case.results["whole steps"]
    figures = tuple(shard.repetitions["criteo"][0])
    return (
        "## Tables at real size\n\nA shard alone:\n\n"
        + _plain_table(shard, figures)
        + "\nHFL 4 x 128, attested, by number of rows:\n\n"
        + _plain_table(whole, ("step_ms", "server_cpu_ms", _SPEED))
    )


_TABLES: dict[CaseName, Callable[[CaseResult], str]] = {
    "overhead": _overhead_table,
    "peers": _peer_table,
    "growth": _growth_table,
    "checkpoints": _checkpoint_table,
    "transport": _transport_table,
    "tables": _row_table,
}


def _plain_table(compared: Compared, figures: tuple[str, ...]) -> str:
    rows = [
        [name, *(_number(compared.median(name, figure), 2) for figure in figures)]
        for name in compared.repetitions
    ]
    return _markdown(["", *(figure.replace("_", " ") for figure in figures)], rows)


def _number(value: float | None, digits: int = 0) -> str:
    return _EMPTY if value is None else f"{value:,.{digits}f}"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
