"""What only tells something starts at once: it loads none of the libraries that verbs work with."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from coterie.cli.main import application

# Measured: each of them costs tens to thousands of milliseconds, or loads one that does.
HEAVY = {
    "asn1crypto", "cryptography", "dcap_qvl", "google.protobuf", "grpc", "jinja2", "keras", "matplotlib",
    "numpy", "OpenSSL", "polars", "prometheus_client", "pyarrow", "scipy", "tensorflow",
}  # fmt: skip
PROBE = """
import atexit, sys
from coterie.cli.main import main
heavy = set(sys.argv.pop(1).split(","))
atexit.register(lambda: sys.stderr.write(f"loaded: {sorted(heavy & set(sys.modules))}\\n"))
main()
"""


def loaded(*words: str, **environment: str) -> str:
    """What of the heavy libraries a command has loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(sorted(HEAVY)), *words],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.stdout.strip()
    return done.stderr.strip().splitlines()[-1]


def completion(*words: str) -> dict[str, str]:
    return {
        "_COTERIE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }


@pytest.mark.system
@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), *((verb, "--help") for verb in application().commands)],
    ids=" ".join,
)  # fmt: skip
def test_help_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    assert loaded(*words) == "loaded: []"


@pytest.mark.system
@pytest.mark.parametrize(
    "words",
    [
        ("coterie", "r"),
        ("coterie", "attest", "v"),
        ("coterie", "run", "--"),
        ("coterie", "demo", "--"),
    ],
    ids=" ".join,
)
def test_completion_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    assert loaded(**completion(*words)) == "loaded: []"
