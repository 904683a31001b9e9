"""Starts a node inside of an image from fixed folders and the host's inputs only."""

from __future__ import annotations

import os
from pathlib import Path

from coterie.contract import Contract, Node, load_contract
from coterie.enclave.inputs import NodeInputs, read_inputs
from coterie.enclave.layout import Mounts
from coterie.enclave.program import start_program
from coterie.errors import ContractInvalid, VoucherRefused
from coterie.kinds import TeeKind
from coterie.nodes.options import NodeOptions
from coterie.nodes.starting import start_node
from coterie.runs.event_log import printed


def start_from_inputs(root: Path, kinds: tuple[TeeKind, ...]) -> None:
    """Runs the node to its end.

    Args:
        root: Root of the file tree.
        kinds: The kinds of TEE whose contracts this image runs; part of its measurement.

    Raises:
        ContractInvalid: The contract is for another kind of TEE, or has no such node.
        VoucherRefused: No key server of the node's party is named.
        CoterieError: As ``start_node``.
    """
    mounts = Mounts(root)
    inputs = read_inputs(mounts.node)
    contract = load_contract(mounts.contract)
    node = contract.node(inputs.name)
    _check_tee(contract, node, kinds)
    options = _options(contract, inputs, mounts, node)
    # The contract sets the sizes of TensorFlow's and OpenMP's thread pools, not the machine.
    os.environ["OMP_NUM_THREADS"] = str(contract.training.threads)
    if contract.tensorflow is not None:
        start_program(contract, node, mounts, options)
        return
    start_node(contract, mounts.contract, inputs.name, options, tell=printed())


def _check_tee(contract: Contract, node: Node, kinds: tuple[TeeKind, ...]) -> None:
    kind = contract.kind_of(node)
    if kind not in kinds:
        raise ContractInvalid(
            "this image runs contracts of another kind of TEE",
            expected=f"trust.tee = {' or '.join(kinds)}",
            seen=kind,
            remedy="use an image that was built for this contract; coterie node runs any",
        )


def _options(contract: Contract, inputs: NodeInputs, mounts: Mounts, node: Node) -> NodeOptions:
    own = inputs.key_servers.get(node.party)
    if own is None:
        raise VoucherRefused(
            f"nobody vouches for node {node.name}",
            expected=f"the key server of party {node.party} in key_servers of node.toml",
            seen=", ".join(sorted(inputs.key_servers)) or "none",
            remedy=f'add {node.party} = "HOST:PORT" below [key_servers]',
        )
    return NodeOptions(
        data=mounts.data if node in contract.data_owners() else None,
        sealed_only=True,
        out=mounts.out,
        memory=mounts.memory,
        rollback_consent=_if_there(mounts.inputs / "rollback-consent.json"),
        start=_if_there(mounts.inputs / "start"),
        listen=None if inputs.listen is None else str(inputs.listen),
        addresses={name: str(address) for name, address in inputs.addresses.items()},
        pccs_url=inputs.pccs_url,
        kds_url=inputs.kds_url,
        td_quote_url=inputs.td_quote_url,
        collateral=_if_there(mounts.inputs / "collateral"),
        key_server=str(own),
        key_servers={
            party: str(address)
            for party, address in inputs.key_servers.items()
            if party != node.party
        },
    )


def _if_there(path: Path) -> Path | None:
    return path if path.exists() else None
