"""The suite's results by case: a section of the page for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from benchmarks.comparing import Compared
from benchmarks.results import CaseName, CaseResult

SPEED = "examples_per_second"
EMPTY = ""
_SERVER, _WORKERS = "server_cpu_ms", "worker_cpu_ms"
_CPU_HEAD = ("server, CPU ms/step", "workers, CPU ms/step", "both")


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table."""
    columns = [*head]
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _overhead_section(case: CaseResult) -> str:
    rows = []
    for title, compared in case.results.items():
        turns = "/".join(str(len(turns)) for turns in compared.repetitions.values())
        overhead = compared.ratio("plaintext", "ra-tls", SPEED)
        rows.append(
            [
                title,
                _number(compared.median("plaintext", SPEED)),
                _number(compared.median("ra-tls", SPEED)),
                f"{overhead:.2f}" if overhead else EMPTY,
                EMPTY,
                EMPTY,
                turns,
            ]
        )
    head = ["Run", "plaintext, examples/s", "RA-TLS (simulated TEE), examples/s", "overhead"]
    speeds = markdown_table([*head, "gramine-direct", "SGX", "turns"], rows)
    return f"## Attested against plaintext\n\n{speeds}\n{_costs(case)}"


def _exchange_section(case: CaseResult) -> str:
    return f"## The exchange alone\n\n{_costs(case)}"


def _costs(case: CaseResult) -> str:
    """What a step of every run costs; one line for each transport."""
    rows = [
        [
            title,
            name,
            *_cpu(compared, name),
            _number(compared.median(name, "bytes_per_example")),
            _number(compared.median(name, "examples_per_server_cpu_second")),
        ]
        for title, compared in case.results.items()
        for name in compared.repetitions
    ]
    head = ("Run", "transport", *_CPU_HEAD, "bytes/example", "examples per CPU s of the server")
    return markdown_table(head, rows)


def _cpu(compared: Compared, name: str) -> list[str]:
    """Cells: CPU per step of the servers, of the workers, and of both."""
    parts = [(_SERVER,), (_WORKERS,), (_SERVER, _WORKERS)]
    return [_number(compared.median(name, *figures), 1) for figures in parts]


def _peer_section(case: CaseResult) -> str:
    rows = []
    for title, compared in case.results.items():
        for name in [*compared.repetitions, *compared.absent]:
            ratio = compared.ratio("coterie ra-tls", name, SPEED)
            rows.append(
                [
                    title,
                    name,
                    _number(compared.median(name, SPEED)),
                    f"{ratio:.2f}" if ratio else compared.absent.get(name, EMPTY),
                    *_cpu(compared, name),
                ]
            )
    head = ("Workers x batch", "Program", "examples/s", "Coterie, attested, over it", *_CPU_HEAD)
    return "## Against others\n\n" + markdown_table(head, rows)


def _growth_section(case: CaseResult) -> str:
    rows = [
        [
            axis,
            name,
            _number(compared.median(name, SPEED)),
            _number(compared.median(name, "step_ms"), 1),
            *_cpu(compared, name),
            _number(compared.median(name, "bytes_per_example")),
            _number(compared.median(name, "examples_per_server_cpu_second")),
        ]
        for axis, compared in case.results.items()
        for name in compared.repetitions
    ]
    head = ("What grows", "to", "examples/s", "ms/step", *_CPU_HEAD, "bytes/example")
    return "## Growth\n\n" + markdown_table([*head, "examples per CPU s of the server"], rows)


def _checkpoint_section(case: CaseResult) -> str:
    return "## Checkpoints\n\n" + _plain_table(
        case.results["HFL 4 x 128"], (SPEED, _SERVER, _WORKERS)
    )


def _transport_section(case: CaseResult) -> str:
    figures = ("gigabytes_per_cpu_second", "gigabytes_per_second")
    return "## The transport alone\n\n" + _plain_table(case.results["loopback"], figures)


def _row_section(case: CaseResult) -> str:
    shard, whole = case.results["shard"], case.results["whole steps"]
    figures = tuple(shard.repetitions["criteo"][0])
    return (
        "## Tables at real size\n\nA shard alone:\n\n"
        + _plain_table(shard, figures)
        + "\nHFL 4 x 128, attested, by number of rows:\n\n"
        + _plain_table(whole, ("step_ms", _SERVER, _WORKERS, SPEED))
    )


def _thin_section(case: CaseResult) -> str:
    rows = [
        [
            exchange,
            steps,
            _number(compared.median(steps, SPEED)),
            _number(compared.median(steps, "bytes_per_example")),
            _number(compared.median(steps, "test_auc"), 4),
            _number(compared.median(steps, "test_log_loss"), 4),
            _number(compared.median(steps, "step_ms")),
            *_cpu(compared, steps),
        ]
        for exchange, compared in case.results.items()
        for steps in compared.repetitions
    ]
    head = ("`exchange`", "`local_steps`", "examples/s", "bytes/example", "test AUC", "log loss")
    table = markdown_table([*head, "ms/step", *_CPU_HEAD], rows)
    return f"## Thin and long lines\n\n{table}"


SECTIONS: Mapping[CaseName, Callable[[CaseResult], str]] = {
    "overhead": _overhead_section,
    "peers": _peer_section,
    "exchange": _exchange_section,
    "growth": _growth_section,
    "checkpoints": _checkpoint_section,
    "transport": _transport_section,
    "tables": _row_section,
    "thin": _thin_section,
}


def _plain_table(compared: Compared, figures: tuple[str, ...]) -> str:
    rows = [
        [name, *(_number(compared.median(name, figure), 2) for figure in figures)]
        for name in compared.repetitions
    ]
    return markdown_table(["", *(figure.replace("_", " ") for figure in figures)], rows)


def _number(value: float | None, digits: int = 0) -> str:
    return EMPTY if value is None else f"{value:,.{digits}f}"
