"""Runs the cases of ``preloaded/`` in a process of their own, with the native part in front of libc."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from coterie.tensorflow.building import NATIVE_PART

pytestmark = pytest.mark.system


CASES = Path(__file__).parent / "preloaded"


def test_the_cases_in_a_preloaded_process(native_part: None) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "-o", "python_files=case_*.py", "-o", "addopts=-ra --import-mode=importlib -p no:randomly", str(CASES)],
        env={**os.environ, "LD_PRELOAD": str(NATIVE_PART.path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-6000:] + finished.stderr[-2000:]
    assert " passed" in finished.stdout
    assert "skipped" not in finished.stdout
