"""Tries one mutation: a copy of the package, one change in it, the tests that must fail."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mutants.mutation import PACKAGE, Mutation, mutated

# No cache, no random order and one seed: two runs of one mutation end alike.
_PYTEST = (
    *("-m", "pytest", "-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"),
    "--hypothesis-seed=0",
)
_FAILED = 1  # pytest's exit code of tests that ran and failed; all others but 0 mean something else
_END = 2000

Result = Literal["killed", "survived", "hung", "broken"]


@dataclass(frozen=True)
class _Run:
    returncode: int
    said: str


@dataclass(frozen=True)
class Trial:
    """How a mutation fared.

    Attributes:
        mutation: Which one.
        result: ``killed``: a test failed; ``survived``: all passed; ``hung``: they did not end in
            time; ``broken``: they could not even be run.
        said: The end of what pytest said.
    """

    mutation: Mutation
    result: Result
    said: str

    @property
    def as_it_must(self) -> bool:
        """Whether tests noticed, or it is written down why they cannot."""
        return self.result == ("survived" if self.mutation.survives else "killed")


def passing(tests: Iterable[str], root: Path, seconds: float) -> str:
    """Runs tests over the code as it is.

    Returns:
        The end of what pytest said if they do not pass; empty if they do.
    """
    with tempfile.TemporaryDirectory(prefix="coterie-mutants-") as name:
        done = _run(sorted(set(tests)), root, _copy(root, Path(name)), seconds)
    if done is None:
        return f"not over within {seconds} s"
    return "" if done.returncode == 0 else done.said


def attempt(mutation: Mutation, root: Path, seconds: float) -> Trial:
    """Tries a mutation.

    Args:
        mutation: One whose text fits.
        root: Of the project; nothing in it is changed.
        seconds: Time for its tests.
    """
    with tempfile.TemporaryDirectory(prefix="coterie-mutants-") as name:
        source = _copy(root, Path(name))
        path = source / Path(PACKAGE).name / mutation.file
        path.write_text(mutated(mutation, path.read_text()))
        shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
        done = _run(mutation.tests, root, source, seconds)
    if done is None:
        return Trial(mutation, "hung", f"not over within {seconds} s")
    results: dict[int, Result] = {0: "survived", _FAILED: "killed"}
    return Trial(mutation, results.get(done.returncode, "broken"), done.said)


def _copy(root: Path, folder: Path) -> Path:
    """Copies the package; what is compiled of it stays valid, since times are copied too."""
    shutil.copytree(root / PACKAGE, folder / PACKAGE)
    return (folder / PACKAGE).parent


def _run(tests: Iterable[str], root: Path, source: Path, seconds: float) -> _Run | None:
    environment = {
        **os.environ,
        # Before the editable install, which is not touched.
        "PYTHONPATH": os.pathsep.join((str(source), str(root))),
        "COTERIE_HYPOTHESIS_PROFILE": "coterie-unshrunk",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(source.parent / "hypothesis"),
    }
    command = [sys.executable, *_PYTEST, *(f"tests/{name}" for name in tests)]
    with subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what the tests started, too
    return _Run(process.returncode, said.strip()[-_END:])
