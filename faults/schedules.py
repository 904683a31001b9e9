"""Drives the server's core through seeded schedules: ``python -m faults.schedules [--count N] [--seed N]``."""

from __future__ import annotations

import argparse
import sys
import time

from faults.simulation.schedules import play, search


def main() -> int:
    """Plays schedules; 1 if any of them breaks an invariant."""
    parser = argparse.ArgumentParser(prog="python -m faults.schedules", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="number of schedules")
    parser.add_argument("--first", type=int, default=0, help="seed of the first schedule")
    parser.add_argument("--seed", type=int, help="play this schedule alone, and say what happens")
    options = parser.parse_args()
    if options.seed is not None:
        found = play(options.seed, print)
        sys.stdout.write(f"{found.what}\n" if found is not None else "nothing is broken\n")
        return 1 if found is not None else 0
    began, broken = time.monotonic(), 0
    for one in search(range(options.first, options.first + options.count)):
        broken += 1
        sys.stdout.write(f"{one.what}\n  again: {one.command}\n")
        sys.stdout.flush()
    seconds = time.monotonic() - began
    sys.stdout.write(
        f"{options.count:,} schedules, {broken} of them break an invariant; "
        f"{60 * options.count / seconds:,.0f} a minute\n"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
