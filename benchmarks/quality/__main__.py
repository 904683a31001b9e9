"""Compares settings of the Criteo examples: ``python -m benchmarks.quality SAMPLE --out FOLDER``.

Settings are compared on rows that may choose. ``--test`` prints the test part's tables instead, of the
setting that was chosen and the one before it: they are for when the choice has been made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from benchmarks.quality.memory import memory
from benchmarks.quality.runs import CHOOSING, Bench, Fold
from benchmarks.quality.settings import BEFORE, CHOSEN, settings_of
from benchmarks.quality.tables import borrowing, choice, drift
from coterie.kinds import Mode

_EXAMPLES = Path(__file__).parents[2] / "examples"
_NAMES = ("criteo-sdt", "criteo-hfl")
_SIZES = ("10,000 rows", "50,000 rows", CHOSEN, "300,000 rows", "1,000,000 rows")


def main() -> None:
    """Trains what has not been trained, and prints tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("sample", type=Path, help="a file in Criteo's format, in order of time")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="what was trained is kept here and not trained again: take a new one for other code",
    )
    parser.add_argument("--example", choices=_NAMES, action="append", help="these alone")
    every = {one.name for mode in get_args(Mode) for one in settings_of(mode)}
    parser.add_argument(
        "--only", choices=sorted(every), action="append", help="these settings alone"
    )
    parser.add_argument("--seeds", type=int, default=3, help="initial parameters per setting")
    parser.add_argument("--test", action="store_true", help="the test part, once all is chosen")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    seeds = range(options.seeds)
    for name in options.example or _NAMES:
        bench = Bench(options.sample, _EXAMPLES / f"{name}.toml", options.out)
        settings = {setting.name: setting for setting in settings_of(bench.mode)}
        sys.stdout.write(f"### {name}\n\n")
        folds: Sequence[Fold] = ("test",) if options.test else CHOOSING
        tried = [BEFORE] if options.test else options.only or settings
        names = dict.fromkeys([CHOSEN, *tried])
        wanted = [settings[one] for one in names if one in settings]
        sys.stdout.write(choice(bench, wanted, folds, seeds) + "\n")
        sys.stdout.write(drift(bench, settings[CHOSEN], folds, seeds) + "\n")
        if not options.test:
            sizes = [settings[one] for one in _SIZES if settings.get(one) in wanted]
            sys.stdout.write(borrowing(bench, sizes, CHOOSING, seeds) + "\n")
            sys.stdout.write(memory(bench, sizes) + "\n")


if __name__ == "__main__":
    main()
