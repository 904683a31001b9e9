"""Opens a party's prepared data set at a node; a sealed one in memory, with a fetched key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from coterie.contract import Contract, Node
from coterie.data.dataset import DataSet, open_dataset
from coterie.errors import DataError


def open_party_data(
    contract: Contract,
    node: Node,
    folder: Path,
    fetch_key: Callable[[bytes], bytes],
    *,
    sealed_only: bool,
) -> DataSet:
    """Opens and verifies the data set of a node's party.

    Args:
        contract: The contract.
        node: The node.
        folder: What ``coterie prepare`` or ``coterie seal`` wrote for the party.
        fetch_key: Fetches the key of a sealed data set, given its id.
        sealed_only: Whether data in the clear is refused, since the host could have made it.

    Raises:
        DataError: It is not there, damaged, of another party or data section, or not sealed.
        CoterieError: As ``fetch_key``.
    """
    from coterie.sealed.sealed_dataset import SealedDataSet, check_owner, open_sealed_dataset

    sealed = SealedDataSet.at(folder)
    if sealed is None and sealed_only:
        raise DataError(
            f"the data set of node {node.name} is not sealed, or not there",
            expected="what coterie seal wrote",
            seen="something else",
            remedy="seal it with coterie seal, and put the result where the node looks for data",
        )
    if sealed is None:
        return open_dataset(folder, contract.data, party=node.party)
    check_owner(sealed, contract.data, party=node.party)
    return open_sealed_dataset(sealed, fetch_key(sealed.set_id), contract.data, party=node.party)
