"""The command line called in this process, as its entry point calls it."""

from __future__ import annotations

import io
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from coterie.cli.main import invoke


def called(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What ``coterie`` with these arguments prints, and its exit code."""
    words = [str(argument) for argument in arguments]
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = invoke(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
