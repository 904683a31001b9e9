"""The native kernels under sanitizers: no byte outside of the arrays, no undefined step, one result.

What a round is: ``native/harness.c``.
"""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.plane.building import KERNEL_LIBRARY

pytestmark = [pytest.mark.system, pytest.mark.slow]

HARNESS = Path(__file__).parent / "native" / "harness.c"
ROUNDS = 1500


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the harness takes all three ways")
def test_every_way_stays_within_its_arrays_and_gives_the_same_bytes(tmp_path: Path) -> None:
    try:
        compiler = KERNEL_LIBRARY.compiler()
    except EnvironmentUnfit as error:
        pytest.skip(str(error))
    program = tmp_path / "harness"
    command = [
        *(compiler, "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-ffp-contract=off"),
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", '-DSOURCE_DIGEST="0"'),
        *KERNEL_LIBRARY.include_flags,
        *(str(file) for file in (*KERNEL_LIBRARY.sources, HARNESS)),
        *("-o", str(program), "-lm"),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[:2000]
    ran = subprocess.run(
        [str(program), str(ROUNDS), "1"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[:4000]
    assert ran.stdout.startswith(f"{ROUNDS} rounds by ")
    assert ran.stdout.endswith("ways: the same bytes\n")
