"""A command that is told to end puts away what it began, and ends; also as the first process of a container."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coterie.termination import Terminated, exit_code
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.system

ROOT = REPOSITORY
HEARS = ("env", "--default-signal=HUP")  # also where the tests themselves were started by nohup
FIRST_PROCESS = ("unshare", "--pid", "--fork", "--kill-child")
# "ready" is written, and minutes go by, inside of one call into C: no handler runs in between.
DEEP_IN_C = """
import hashlib, operator, os
from functools import partial
from coterie.termination import end_in_order
end_in_order()
ready = partial(os.write, 1, b"ready\\n")
busy = partial(hashlib.pbkdf2_hmac, "sha256", b"", b"", 2**31 - 1)
all(map(operator.call, (ready, busy)))
"""


def preparing(folder: Path, *before: str) -> subprocess.Popen[str]:
    """``coterie prepare``, in the middle of a raw file that does not end."""
    raw = folder / "raw.tsv"
    os.mkfifo(raw)
    return subprocess.Popen(
        [
            *HEARS, *before, sys.executable, "-m", "coterie", "prepare", str(raw), str(folder / "data"),
            "--contract", str(ROOT / "examples" / "hfl.toml"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def child_of(process: subprocess.Popen[str]) -> int:
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_is_not_whole_is_put_away(tmp_path: Path, number: signal.Signals) -> None:
    process = preparing(tmp_path)
    with (tmp_path / "raw.tsv").open("wb"):  # it reads: staging has begun
        assert [path.name[:9] for path in (tmp_path / "data").iterdir()] == [".prepare-"]
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == exit_code(number)
    assert said.splitlines()[-1] == str(Terminated(number)).lower()
    assert not (tmp_path / "data").exists()


def test_it_ends_the_first_process_of_a_container(tmp_path: Path) -> None:
    """The kernel drops SIGTERM to the first process of a PID namespace that has no handler."""
    possible = subprocess.run([*FIRST_PROCESS, "true"], capture_output=True, text=True, check=False)
    if possible.returncode != 0:
        pytest.skip(f"no PID namespaces here: {possible.stderr.strip()}")
    process = preparing(tmp_path, *FIRST_PROCESS)
    with (tmp_path / "raw.tsv").open("wb"):
        os.kill(child_of(process), signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert not (tmp_path / "data").exists()


def test_a_hang_up_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    nohup = shutil.which("nohup")
    assert nohup is not None
    process = preparing(tmp_path, nohup)
    with (tmp_path / "raw.tsv").open("wb"):
        process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 5  # an empty file: it read on, to the end


def test_it_ends_a_process_that_is_deep_in_foreign_code() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", DEEP_IN_C], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    process.terminate()  # told twice, it ends at once
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 143
