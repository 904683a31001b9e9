"""Runs the benchmark suite: ``python -m benchmarks [--only CASE] [--repeat N] [--quick]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from benchmarks.cases import Suite
from benchmarks.comparing import Compared
from benchmarks.machine import description
from benchmarks.markdown import document, write_page
from benchmarks.results import CaseName, CaseResult, read_results
from benchmarks.runs import workshop
from coterie import tensorflow_settings
from coterie.plane.choice import choice

CASES = get_args(CaseName)


def main() -> None:
    """Runs the cases; writes JSON and a Markdown table."""
    # Peers have threads of their own choice: a parameter server strategy stands still with one.
    tensorflow_settings.withdraw()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=CASES, action="append", help="run these cases alone")
    parser.add_argument("--repeat", type=int, default=5, help="turns of every comparison")
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps, to try it out")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks.json"), help="the results, added to if there"
    )
    parser.add_argument("--write", type=Path, help="the results as Markdown, into a page")
    parser.add_argument("--sample", type=Path, help="a Criteo file, for thin; else synthetic rows")
    options = parser.parse_args()
    found = read_results(options.out)
    with workshop() as shop:
        suite = Suite(shop, options.repeat, quick=options.quick, sample=options.sample)
        cases: dict[CaseName, Callable[[], dict[str, Compared]]] = {
            "overhead": suite.overhead,
            "peers": suite.peers,
            "exchange": suite.exchange,
            "growth": suite.growth,
            "checkpoints": suite.checkpoints,
            "transport": suite.transport,
            "tables": suite.tables,
            "thin": suite.thin,
        }
        for name in options.only or CASES:
            found.cases[name] = CaseResult(
                machine={**description(), "kernels": choice().kernels.name},
                quick=options.quick,
                results=cases[name](),
            )
            options.out.write_text(found.model_dump_json(indent=1) + "\n")
    text = document(found)
    if options.write is not None:
        write_page(options.write, text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
