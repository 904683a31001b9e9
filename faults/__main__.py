"""Runs the campaign: ``python -m faults [--seeds N] [--first SEED] [--seed SEED] [--out FILE]``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from coterie.errors import CoterieError
from coterie.nodes.launch import run_in_process
from coterie.runs.events import Event
from faults.calls import run_with_troubled_calls
from faults.machines import (
    run_with_disk_trouble,
    run_with_double,
    run_with_limit,
    run_with_power_failure,
)
from faults.nodes import CaseFailed
from faults.plan import (
    Calls,
    Case,
    DiskTrouble,
    Double,
    Kills,
    Limit,
    Lines,
    PowerFailure,
    Removal,
    Scheme,
    case_of,
)
from faults.processes import run_with_hurt_lines, run_with_kills, run_without
from faults.scene import Pace, Scene, scenes


def main() -> int:
    """Plays the cases; 1 if any did not end as it must."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="number of cases")
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--seed", type=int, help="play this case alone")
    parser.add_argument("--out", type=Path, help="write the outcomes as JSON")
    options = parser.parse_args()
    seeds = (
        [options.seed]
        if options.seed is not None
        else list(range(options.first, options.first + options.seeds))
    )
    with tempfile.TemporaryDirectory(prefix="coterie-faults-") as name:
        folder = Path(name)
        made = scenes(folder / "patient")
        impatient = scenes(folder / "impatient", Pace(patience=30))
        expected = {
            scheme: run_in_process(scene.contract, scene.data, _ignore).model_digest
            for scheme, scene in made.items()
        }
        outcomes = [
            _play(
                case,
                impatient if isinstance(case.trouble, Removal) else made,
                expected,
                folder,
            )
            for case in map(case_of, seeds)
        ]
    failed = [outcome for outcome in outcomes if not outcome["as_it_must"]]
    sys.stdout.write(f"{len(outcomes)} cases, {len(failed)} failed\n")
    if options.out is not None:
        options.out.write_text(json.dumps(outcomes, indent=1) + "\n")
    return 1 if failed else 0


def _play(
    case: Case, made: dict[Scheme, Scene], expected: dict[Scheme, str], folder: Path
) -> dict[str, object]:
    began = time.monotonic()
    home = folder / f"case-{case.seed}"
    home.mkdir()
    must = "named error" if isinstance(case.trouble, Removal) else "same model"
    happened = ""
    try:
        digest, happened = _played(case, made[case.scheme], home)
        said = must if digest in ("", expected[case.scheme]) else "ANOTHER MODEL"
    except (CoterieError, CaseFailed) as error:
        happened, said = str(case.trouble), f"FAILED: {error}"
    seconds = time.monotonic() - began
    sys.stdout.write(f"{case.seed:4} {case.scheme:13} {seconds:5.1f} s  {said}  ({happened})\n")
    sys.stdout.flush()
    return {
        "seed": case.seed,
        "scheme": case.scheme,
        "as_it_must": said == must,
        "outcome": said,
        "happened": happened,
        "seconds": round(seconds, 1),
    }


def _played(  # noqa: PLR0911 (one per kind)
    case: Case, scene: Scene, home: Path
) -> tuple[str, str]:
    """Plays a case; the model's digest, empty where there must be none, and what happened."""
    match case.trouble:
        case Removal(kill):
            return "", run_without(kill, scene, home)
        case Calls() as calls:
            return run_with_troubled_calls(calls, case.seed, scene)
        case Lines() as lines:
            return run_with_hurt_lines(lines, scene, home)
        case Kills() as kills:
            return run_with_kills(kills, scene, home)
        case DiskTrouble() as trouble:
            return run_with_disk_trouble(trouble, scene, home)
        case PowerFailure() as failure:
            return run_with_power_failure(failure, scene, home)
        case Double() as double:
            return run_with_double(double, scene, home)
        case Limit() as limit:
            return run_with_limit(limit, scene, home)


def _ignore(_event: Event) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
