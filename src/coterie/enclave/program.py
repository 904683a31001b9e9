"""Starts a TensorFlow cluster's program inside of an enclave: the image ``tensorflow`` alone has what it needs."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from coterie.contract import Contract, Node
from coterie.contract.signatures import check_consent
from coterie.enclave.layout import Mounts
from coterie.errors import EnvironmentUnfit
from coterie.nodes.eventlines import encode_event
from coterie.nodes.trust import NodeOptions
from coterie.ps.events import Event

_LAYER = "coterie.tensorflow"


def start_program(contract: Contract, node: Node, mounts: Mounts, options: NodeOptions) -> None:
    """Runs the program until it ends. It gets no arguments: nothing but the contract says what it does.

    Args:
        contract: What was agreed; names the program's digest.
        node: This node's entry in it.
        mounts: Where the program is, among the host's inputs.
        options: What else the host gives; untrusted.

    Raises:
        EnvironmentUnfit: This image runs no TensorFlow programs, or the program cannot be read.
        CoterieError: As ``coterie.tensorflow.node.run_node``.
    """
    if find_spec(_LAYER) is None:
        raise EnvironmentUnfit(
            f"contract {contract.name} is one for a TensorFlow program, which this image cannot run",
            expected="the image tensorflow",
            seen="an image for Coterie's own training",
            remedy="build it with `coterie build gramine --image tensorflow`",
        )
    from coterie.tensorflow.cluster import check_contract
    from coterie.tensorflow.measuring import read_program
    from coterie.tensorflow.node import Start, ensure_preloaded, run_node

    check_contract(contract)
    program = read_program(mounts.program)
    ensure_preloaded()
    check_consent(contract, mounts.contract)

    def write(event: Event) -> None:
        sys.stdout.write(encode_event(event) + "\n")
        sys.stdout.flush()

    run_node(Start(contract, node, program, (), options), write)
