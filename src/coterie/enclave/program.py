"""Starts a TensorFlow cluster's program inside of an enclave, of the image ``tensorflow`` only."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

from coterie.contract import Contract, Node
from coterie.enclave.layout import Mounts
from coterie.errors import EnvironmentUnfit
from coterie.nodes.options import NodeOptions
from coterie.runs.event_log import printed

_LAYER = "coterie.tensorflow"


def start_program(contract: Contract, node: Node, mounts: Mounts, options: NodeOptions) -> None:
    """Runs the program until it ends. It gets no arguments: only the contract determines it.

    Args:
        contract: The contract, which names the program's digest.
        node: This node's entry in it.
        mounts: The folders with the program, among the host's inputs.
        options: Other settings of the host; untrusted.

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
    from coterie.contract.signatures import valid_signatures
    from coterie.tensorflow.node import Start, agreed_program, run_node

    program = agreed_program(contract, mounts.contract, mounts.program)
    signatures = valid_signatures(contract, mounts.contract)
    given = with_data_that_is_there(options)
    run_node(Start(contract, node, program, (), given, signatures=signatures), printed())


def with_data_that_is_there(options: NodeOptions) -> NodeOptions:
    """The options without a data set, if the host has put nothing in its place.

    A program may make its own data, or need none. One that needs a party's data must end without
    them: the host can take them away.
    """
    folder = options.data
    if folder is None or (folder.is_dir() and any(folder.iterdir())):
        return options
    return replace(options, data=None)
