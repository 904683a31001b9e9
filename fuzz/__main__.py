"""Fuzzes all targets one after the other: ``python -m fuzz [--seconds N] [TARGET ...]``.

Prints one JSON line per target: executions, coverage, and the finding if there is one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.seeds import seeds
from fuzz.targets import TARGETS

RSS_LIMIT_MB = 1024
SECONDS_PER_INPUT = 5
ROOT = Path(__file__).parents[1]


def fuzz(name: str, seconds: int, findings: Path) -> dict[str, object]:
    """Fuzzes one target in a process of its own.

    Args:
        name: Which one.
        seconds: For how long.
        findings: Where inputs that break something are written.

    Returns:
        What libFuzzer reported.
    """
    with tempfile.TemporaryDirectory(prefix=f"coterie-fuzz-{name}-") as folder:
        corpus = Path(folder)
        for seed in seeds(name):
            (corpus / hashlib.sha256(seed).hexdigest()).write_bytes(seed)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "fuzz.one",
                name,
                f"-max_len={TARGETS[name].max_bytes}",
                f"-rss_limit_mb={RSS_LIMIT_MB}",
                f"-timeout={SECONDS_PER_INPUT}",
                f"-max_total_time={seconds}",
                f"-artifact_prefix={findings}/{name}-",
                "-print_final_stats=1",
                folder,
            ],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        report = done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace")
        inputs = len(list(corpus.iterdir()))
    progress = re.findall(r"cov: (\d+) ft: (\d+)", report)
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", report))
    return {
        "target": name,
        "seconds": seconds,
        "executions": int(stats.get("number_of_executed_units", 0)),
        "coverage": int(progress[-1][0]) if progress else 0,
        "coverage_of_seeds": int(progress[0][0]) if progress else 0,
        "inputs": inputs,
        "peak_rss_mb": int(stats.get("peak_rss_mb", 0)),
        "slowest_input_s": int(stats.get("slowest_unit_time_sec", 0)),
        "finding": None if done.returncode == 0 else report[-3000:],
    }


def main() -> int:
    """Fuzzes what the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=120, help="per target")
    parser.add_argument("--findings", type=Path, default=ROOT / "build" / "fuzz")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - TARGETS.keys():
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    arguments.findings.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in arguments.targets or TARGETS:
        result = fuzz(name, arguments.seconds, arguments.findings)
        failed = failed or result["finding"] is not None
        print(json.dumps(result), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
