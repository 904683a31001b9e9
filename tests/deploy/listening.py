"""Who listens and who dials whom, said once more and apart from the chart (DESIGN of the protocol)."""

from __future__ import annotations

from coterie.contract import Contract, Node


def listens(contract: Contract, node: Node) -> int | None:
    """The port of a node that listens; None for one that only dials."""
    if node.role == "ps" or (node.role == "worker" and contract.mode == "sdt"):
        assert node.address is not None
        return node.address.port
    assert node.address is None
    return None


def dials_of(contract: Contract, node: Node) -> tuple[Node, ...]:
    """Whom a node dials: everybody the servers, the chief the workers too (docs/protocol.md)."""
    servers = contract.by_role("ps")
    if node.role == "ps":
        return () if node == servers[0] else servers[:1]
    return servers + (contract.by_role("worker") if node.role == "chief" else ())


def key_servers_of(contract: Contract, node: Node) -> tuple[str, ...]:
    """Whose key servers a node asks on SGX: its own party's, the parameter server everybody's."""
    if node.role != "ps":
        return (node.party,)
    return (node.party, *(one.name for one in contract.parties if one.name != node.party))
