"""Reads and writes a run's result as a file in its directory."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from coterie.errors import ResultUnreadable, reason
from coterie.files import read_bounded, write_whole, writing
from coterie.runs.result import RunResult

RESULT = "result.json"
_MAX_RESULT_BYTES = 1 << 26


def parse_result(path: Path) -> RunResult:
    """Reads a result's file.

    Raises:
        OSError: It cannot be read.
        ValidationError: It is not a result of this version.
    """
    return RunResult.model_validate_json(read_bounded(path, _MAX_RESULT_BYTES))


def read_result(directory: Path) -> RunResult:
    """Reads the result of a finished run.

    Raises:
        ResultUnreadable: The file is absent, malformed, or of another version.
    """
    path = directory / RESULT
    try:
        result = parse_result(path)
        return result.model_copy(update={"path": str(directory)})
    except OSError as error:
        seen = reason(error)
        remedy = (
            "name the directory of a finished run, for nodes on machines of their own that of the first server; "
            "the same command again finishes a run"
        )
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        seen = f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        remedy = "read it with the version that made the run, or run it again"
    raise ResultUnreadable(
        f"the result {path} cannot be read",
        expected="what a finished run of this version left",
        seen=seen,
        remedy=remedy,
    )


def write_result(directory: Path, result: RunResult) -> None:
    """Writes a run's result durably and atomically.

    Raises:
        EnvironmentUnfit: It cannot be written.
    """
    with writing(directory / RESULT):
        write_whole(directory / RESULT, result.model_dump_json(indent=2).encode() + b"\n")
