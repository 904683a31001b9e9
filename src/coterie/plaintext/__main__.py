"""Starts one node over the plaintext transport; only for ``coterie bench``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coterie.contract import load_contract
from coterie.errors import CoterieError
from coterie.nodes.options import NodeOptions
from coterie.nodes.process import end_with_parent, run_node
from coterie.plaintext.fabric import PlaintextFabric
from coterie.runs.event_log import printed

if TYPE_CHECKING:  # workers only
    from coterie.training.step import StepMaker


def main(arguments: Sequence[str] | None = None, make_step: StepMaker | None = None) -> int:
    """Runs the node; returns its exit code.

    Args:
        arguments: Of the program; the process's own if absent.
        make_step: As in ``NodeContext``.
    """
    parser = argparse.ArgumentParser(prog="python -m coterie.plaintext", description=__doc__)
    parser.add_argument("contract", type=Path)
    parser.add_argument("node")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--address", action="append", default=[])
    parser.add_argument("--log-format", choices=["json"], default="json")
    parser.add_argument("--end-with-parent", action="store_true")
    parser.add_argument("--party-key", type=Path, help="ignored: nobody is vouched for here")
    options = parser.parse_args(arguments)
    if options.end_with_parent:
        end_with_parent()
    try:
        contract = load_contract(options.contract)
        node = contract.node(options.node)
        addresses = dict(item.split("=", 1) for item in options.address)
        run_node(
            contract,
            node,
            NodeOptions(data=options.data, out=options.out, start=options.start),
            lambda on_event, incarnation: PlaintextFabric(
                contract,
                node,
                listen=options.listen,
                addresses=addresses,
                incarnation=incarnation,
                on_event=on_event,
            ),
            "PLAINTEXT",
            on_event=printed(),
            make_step=make_step,
        )
    except CoterieError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
