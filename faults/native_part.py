"""Runs the native part of ``coterie tensorflow`` under sanitizers against a fuzzing peer, for as long as asked.

python -m faults.native_part [--rounds 20000] [--seed 1]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from coterie.errors import NodeFailed
from coterie.tensorflow.building import NATIVE_PART

SANITIZERS = ("address,undefined", "thread")
HARNESS = Path(__file__).parents[1] / "tests" / "tensorflow" / "native" / "harness.c"
_SECONDS = 3600


def build_harness(sanitizers: str, folder: Path) -> Path:
    """Builds the harness with sanitizers; returns its path.

    Raises:
        EnvironmentUnfit: There is no compiler or no OpenSSL.
        NodeFailed: It cannot be built.
    """
    program = folder / f"harness-{sanitizers.replace(',', '-')}"
    made = subprocess.run(
        [
            NATIVE_PART.compiler(),
            *("-std=gnu11", "-g", "-O1", "-Wall", "-Wextra"),
            *(f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"),
            *(*NATIVE_PART.include_flags, str(HARNESS), "-o", str(program)),
            *("-lssl", "-lcrypto", "-lpthread", "-ldl"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise NodeFailed("the harness cannot be built", seen=made.stderr[:2000])
    return program


def run_harness(
    harness: Path, *, rounds: int, seed: int, most_bytes: int, processes: int
) -> list[str]:
    """Runs it in some processes at once; returns what each said.

    Args:
        harness: The program.
        rounds: Connections per process.
        seed: Of the first process; each takes as many seeds as rounds.
        most_bytes: Bytes per direction and connection, at most.
        processes: How many.

    Raises:
        NodeFailed: A check failed, or a sanitizer found something.
    """
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}
    running = [
        subprocess.Popen(
            [str(harness), str(rounds), str(seed + i * rounds), str(most_bytes)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for i in range(processes)
    ]
    said = [process.communicate(timeout=_SECONDS) for process in running]
    for process, (_, errors) in zip(running, said, strict=True):
        if process.returncode or errors:
            raise NodeFailed("the native part failed under its harness", seen=errors[-4000:])
    return [out.strip() for out, _ in said]


def main() -> None:
    """Runs both sets of sanitizers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="coterie-harness-") as scratch:
        for sanitizers in SANITIZERS:
            harness = build_harness(sanitizers, Path(scratch))
            said = run_harness(
                harness,
                rounds=max(1, options.rounds // 8),
                seed=options.seed,
                most_bytes=100_000,
                processes=4,
            )
            sys.stdout.write("".join(f"{sanitizers}: {line}\n" for line in said))


if __name__ == "__main__":
    main()
