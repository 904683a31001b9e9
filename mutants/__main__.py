"""Changes the meaning of the code, one change at a time: ``python -m mutants [--only GLOB]``.

Each change of the table is made in a copy of the package, over which the tests of that module's own
place are run. One must fail; where none can, the table says why. Why there is a table, and no tool that
makes changes by itself: docs/decisions/0024-mutations.md.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from mutants.mutation import problems
from mutants.table import TABLE
from mutants.trial import Trial, attempt, passing

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Tries the mutations; 1 if the table does not fit, or one was not noticed."""
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument(
        "--only", default="*", metavar="GLOB", help="titles, e.g. 'ps/core/coordinator/*'"
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="time for one's tests")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="tried at once")
    parser.add_argument("--list", action="store_true", help="show the table and try nothing")
    options = parser.parse_args()
    for fault in (faults := problems(TABLE, ROOT)):
        print(f"the table does not fit the code: {fault}")
    if faults:
        return 1
    chosen = [m for m in TABLE if fnmatch.fnmatchcase(m.title, options.only)]
    if not chosen:
        parser.error(f"no mutation is called {options.only}")
    if options.list:
        for mutation in chosen:
            print(f"{mutation.title}: {mutation.breaks}")
        return 0
    tests = {name for mutation in chosen for name in mutation.tests}
    if said := passing(tests, ROOT, 10 * options.seconds):
        print(f"the tests do not even pass without a mutation:\n{said}")
        return 1
    trials: list[Trial] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for trial in pool.map(partial(attempt, root=ROOT, seconds=options.seconds), chosen):
            trials.append(trial)
            mark = "" if trial.as_it_must else "  <--"
            print(f"{trial.result:9}{trial.mutation.title}{mark}", flush=True)
    return report(trials)


def report(trials: list[Trial]) -> int:
    """Prints what was tried, killed and survived; 1 if anything is not as it must be."""
    reasons = [t.mutation for t in trials if t.as_it_must and t.mutation.survives]
    wrong = [trial for trial in trials if not trial.as_it_must]
    killed = sum(trial.result == "killed" for trial in trials)
    print(f"\n{len(trials)} tried, {killed} killed, {len(trials) - killed} not")
    for mutation in reasons:
        print(f"\nsurvives for a reason: {mutation.title}: {mutation.survives}")
    for trial in wrong:
        mutation = trial.mutation
        print(f"\nNOT AS IT MUST BE: {mutation.title} ({trial.result})")
        print(f"  breaks: {mutation.breaks}")
        if mutation.survives:
            print("  the table says that nothing can notice it: take that out")
        elif trial.result == "survived":
            print(f"  write a test in tests/{' or tests/'.join(mutation.tests)}")
        else:
            print(f"  {trial.said}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
