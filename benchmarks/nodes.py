"""Runs a node of a benchmark's run, as ``coterie node`` or ``coterie.plaintext`` would.

With ``--fixed-gradients`` a worker has no model: ``benchmarks.fixed_step``. No option of Coterie's own
programs does that.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.fixed_step import fixed_step
from benchmarks.thin_line import LineKind, line_to
from coterie import tensorflow_settings
from coterie.cli.node import addresses_of
from coterie.contract import load_contract
from coterie.errors import CoterieError
from coterie.nodes.options import NodeOptions
from coterie.nodes.process import end_with_parent
from coterie.nodes.starting import start_node
from coterie.plaintext.__main__ import main as plaintext
from coterie.runs.event_log import printed
from coterie.training.step import StepMaker


def main() -> int:
    """Runs the node; returns its exit code."""
    tensorflow_settings.withdraw()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=("ra-tls", "PLAINTEXT"), default="ra-tls")
    parser.add_argument("--fixed-gradients", action="store_true")
    parser.add_argument(
        "--line", type=LineKind.parse, help="MEGABITS:MILLISECONDS to each address; attested only"
    )
    parser.add_argument("contract", type=Path)
    parser.add_argument("node")
    own, others = parser.parse_known_args()
    make_step = fixed_step(own.node) if own.fixed_gradients else None
    if own.transport == "PLAINTEXT":
        return plaintext([str(own.contract), own.node, *others], make_step)
    return _attested(own.contract, own.node, others, make_step, own.line)


def _attested(
    contract_file: Path,
    name: str,
    arguments: list[str],
    make_step: StepMaker | None,
    line: LineKind | None,
) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--listen")
    parser.add_argument("--address", action="append", default=[])
    parser.add_argument("--party-key", type=Path)
    parser.add_argument("--log-format", choices=["json"], default="json")
    parser.add_argument("--end-with-parent", action="store_true")
    options = parser.parse_args(arguments)
    if options.end_with_parent:
        end_with_parent()
    addresses = addresses_of(options.address)
    try:
        with ExitStack() as stack:
            if line is not None:
                addresses = {
                    node: stack.enter_context(line_to(address, line))
                    for node, address in addresses.items()
                }
            start_node(
                load_contract(contract_file),
                contract_file,
                name,
                NodeOptions(
                    data=options.data,
                    out=options.out,
                    listen=options.listen,
                    addresses=addresses,
                    party_key=options.party_key,
                ),
                tell=printed(),
                make_step=make_step,
            )
    except CoterieError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
