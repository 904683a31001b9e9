"""The cluster as TensorFlow sees it: virtual addresses that only the attested layer can connect to.

Node i of the contract is 239.67.(i / 256).(i % 256), port 2222, on every machine. The addresses are
multicast ones of administrative scope (RFC 2365). No kernel opens a TCP connection to such an
address, so TensorFlow without the layer cannot reach any node. TensorFlow never learns the nodes'
real addresses.
"""

from __future__ import annotations

import json
from typing import get_args

from coterie.contract import Contract, Node
from coterie.errors import ContractInvalid
from coterie.kinds import Role

VIRTUAL_PORT = 2222


def virtual_address(index: int) -> str:
    """A node's address in TensorFlow's configuration.

    Args:
        index: The node's place among the contract's nodes.
    """
    return f"239.67.{index // 256}.{index % 256}:{VIRTUAL_PORT}"


def tf_config(contract: Contract, node: Node) -> str:
    """The value of ``TF_CONFIG`` for a node: the cluster, and this task's place in it."""
    addresses = {one.name: virtual_address(i) for i, one in enumerate(contract.nodes)}
    cluster = {
        role: [addresses[one.name] for one in contract.by_role(role)]
        for role in get_args(Role)
        if contract.by_role(role)
    }
    task = {"type": node.role, "index": contract.by_role(node.role).index(node)}
    return json.dumps({"cluster": cluster, "task": task})


def check_contract(contract: Contract) -> None:
    """Checks that a contract is one for a TensorFlow cluster.

    Raises:
        ContractInvalid: It has no ``[tensorflow]`` section.
    """
    if contract.tensorflow is None:
        raise ContractInvalid(
            f"contract {contract.name} is not one for a TensorFlow program",
            expected="a section [tensorflow]",
            seen="none",
            remedy="add it, with what `coterie tensorflow measure PROGRAM.py` prints; or use `coterie run`",
        )
