"""What the inspection of calls costs: two attested clusters of a server and four workers, in turn.

One cluster inspects calls, as `coterie tensorflow` does in mode hfl, and the other does not. Both are
compared as `benchmarks.clusters` does it, and must learn the same.

    python -m benchmarks.inspection [--pairs 20] [--batch 128] [--every 10]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from math import isclose
from pathlib import Path

from benchmarks.clusters import Side, compared, in_turn
from coterie.contract import load_contract
from coterie.tensorflow.digests import read_program
from coterie.tensorflow.local import ATTESTED_NODE, run_cluster

_EXAMPLES = Path(__file__).parents[1] / "examples" / "tensorflow"
_CLUSTER = _EXAMPLES / "criteo-federated.toml"
_PROGRAM = _EXAMPLES / "dlrm_between_graph.py"
_UNINSPECTED = (sys.executable, "-m", "benchmarks.uninspected", "tensorflow", "node")
_COMPARED = 100  # steps; later a difference of last bits has grown
_REL = 0.02


def run(arguments: list[str], *, inspected: bool) -> None:
    """Runs a cluster of this machine, and prints what its workers print."""
    contract = load_contract(_CLUSTER)
    first = contract.by_role("worker")[0].name
    run_cluster(
        contract,
        read_program(_PROGRAM),
        arguments,
        None,
        data=None,
        say=lambda _text: None,
        # Workers take the same steps, so one of them counts.
        printed=lambda node, line: print(line, flush=True) if node == first else None,
        command=ATTESTED_NODE if inspected else _UNINSPECTED,
    )


def check_losses(one: Sequence[str], other: Sequence[str]) -> None:
    """Checks that two synchronous clusters have learned the same in the first steps of both.

    The sum of four workers' gradients depends in its last bits on which of them come first.

    Args:
        one: The lines that a worker of one cluster has printed.
        other: Those of the same worker of the other.

    Raises:
        RuntimeError: The losses of a step differ.
    """
    first = zip(one[:_COMPARED], other[:_COMPARED], strict=False)
    for step, lines in enumerate(first, 1):
        losses = [float.fromhex(line.rpartition(" ")[2]) for line in lines]
        if not isclose(*losses, rel_tol=_REL):
            raise RuntimeError(f"the losses of step {step} differ: {losses[0]} and {losses[1]}")


def main() -> None:
    """Runs the between-graph example with and without inspection, in turn, and prints the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument(
        "--every", type=int, default=10, help="steps between two glances at a clock"
    )
    parser.add_argument("--be", choices=["inspected", "uninspected"], help="be one of the clusters")
    options = parser.parse_args()
    if options.be is not None:
        arguments = ["--sync", "--steps", str(10**6), "--batch", str(options.batch)]
        run(arguments, inspected=options.be == "inspected")
        return
    workers = len(load_contract(_CLUSTER).by_role("worker"))
    own = [sys.executable, "-m", "benchmarks.inspection", "--batch", str(options.batch), "--be"]
    with ExitStack() as stack:
        without, inspected = (
            stack.enter_context(closing(Side([*own, kind], options.every)))
            for kind in ("uninspected", "inspected")
        )
        pairs = in_turn(without, inspected, options.pairs)
        check_losses(without.losses, inspected.losses)
    sys.stdout.write(compared(pairs, workers, options.batch, "not inspected", "inspected"))


if __name__ == "__main__":
    main()
