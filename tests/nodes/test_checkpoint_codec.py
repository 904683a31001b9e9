"""Whether checkpoints are sealed is the contract's to say; a missing key never opens them."""

from __future__ import annotations

import time

import pytest

from coterie.contract import Contract
from coterie.errors import KeyRefused
from coterie.nodes.fabric import NodeContext
from coterie.nodes.in_process import InProcessFabric, InProcessHub
from coterie.nodes.server_node import _casing
from tests.ps.conftest import small_contract


class Proving(InProcessFabric):
    """A fabric over which nodes prove themselves, but nobody gives it the key."""

    proves_nothing = False


def sealing() -> Contract:
    small = small_contract()
    trust = small.trust.model_copy(update={"seal_checkpoints": True})
    return small.model_copy(update={"trust": trust})


def context(contract: Contract, kind: type[InProcessFabric]) -> NodeContext:
    (node,) = contract.by_role("ps")
    return NodeContext(
        contract=contract,
        node=node,
        fabric=kind(InProcessHub(contract), node),
        incarnation=1,
        on_event=lambda _: None,
        monotonic=time.monotonic,
    )


def test_a_key_that_is_missing_is_an_error() -> None:
    contract = sealing()
    assert contract.trust.checkpoints_sealed
    with pytest.raises(
        KeyRefused, match="there is no key for the checkpoints of node ps0"
    ) as refused:
        _casing(context(contract, Proving), (0, 1))
    assert refused.value.expected == "an attested run"


def test_a_fabric_that_proves_nothing_says_so_and_seals_nothing() -> None:
    assert not _casing(context(sealing(), InProcessFabric), (0, 1)).sealed


def test_a_contract_that_does_not_seal_needs_no_key() -> None:
    assert not _casing(context(small_contract(), Proving), (0, 1)).sealed
