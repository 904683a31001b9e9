"""Runs the campaign: ``python -m faults [--seeds N] [--first SEED] [--seed SEED] [--out FILE]``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from coterie.errors import CoterieError
from coterie.nodes.run import run_in_process
from coterie.ps.events import Event
from faults.calls import run_with_troubled_calls
from faults.plan import Case, Scheme, case_of
from faults.processes import CaseFailed, run_with_hurt_lines, run_with_kills, run_without
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
            _play(case, impatient if case.removed else made, expected, folder)
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
    scene = made[case.scheme]
    happened, must = "", "same model"
    home = folder / f"case-{case.seed}"
    home.mkdir()
    try:
        if case.removed is not None:
            must = "named error"
            happened = f"removed {run_without(case, scene, home)}"
            digest = ""
        elif case.calls is not None:
            digest, counts = run_with_troubled_calls(case, scene)
            happened = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        elif case.lines:
            digest, hurt = run_with_hurt_lines(case, scene, home)
            happened = ", ".join(hurt) or "nothing: the run was over"
        else:
            digest, killed = run_with_kills(case, scene, home)
            happened = f"killed {', '.join(killed) or 'nobody: the run was over'}"
        said = must if case.removed or digest == expected[case.scheme] else "ANOTHER MODEL"
    except (CoterieError, CaseFailed) as error:
        said = f"FAILED: {error}"
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


def _ignore(_event: Event) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
