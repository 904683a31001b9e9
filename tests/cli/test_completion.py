"""Shell completion works in a real bash, and the scripts for other shells are there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COTERIE = Path(sys.executable).with_name("coterie")
# Asks the completion that the script registers, as bash does for a word under the cursor.
PROBE = """
set -eu
eval "$(coterie --show-completion bash)"
complete -p coterie >/dev/null
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_coterie_completion coterie "${{COMP_WORDS[$COMP_CWORD]}}" ""
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def environment() -> dict[str, str]:
    # The one switch that lets a shell be named instead of being found among parent processes.
    return {
        **os.environ,
        "PATH": f"{COTERIE.parent}{os.pathsep}{os.environ['PATH']}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }


def completed(words: str) -> list[str]:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    done = subprocess.run(
        [bash, "-c", PROBE.format(words=words)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.system
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("coterie sy", ["synthesize"]),
        ("coterie contract s", ["sign", "show"]),
        ("coterie bench --rep", ["--repeat"]),
        ("coterie doctor --tee sg", ["sgx"]),
    ],
)
def test_bash_completes(words: str, expected: list[str]) -> None:
    assert completed(words) == expected


@pytest.mark.system
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(shell: str) -> None:
    done = subprocess.run(
        [COTERIE, "--show-completion", shell],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=True,
    )
    assert "_COTERIE_COMPLETE" in done.stdout
