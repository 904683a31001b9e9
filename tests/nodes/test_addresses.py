"""Addresses that cannot be right are refused before anything is started or waited for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coterie.cli.node import addresses_of
from coterie.contract import Contract, load_contract
from coterie.errors import ContractInvalid
from coterie.nodes.options import NodeOptions, check_addresses
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
NOTHING = NodeOptions()


def contract(name: str) -> Contract:
    return load_contract(EXAMPLES / name)


def refused(mode: str, options: NodeOptions, node: str = "ps0") -> ContractInvalid:
    agreed = contract(mode)
    with pytest.raises(ContractInvalid) as refusal:
        check_addresses(agreed, agreed.node(node), options)
    return refusal.value


@pytest.mark.parametrize(
    ("name", "address", "seen"),
    [
        ("ps", "127.0.0.1:7440", "ps"),
        ("acme-worker", "127.0.0.1:7440", "acme-worker"),
        ("ps0", "http://127.0.0.1:7440", "http://127.0.0.1:7440"),
        ("ps0", "127.0.0.1", "127.0.0.1"),
        ("ps0", "127.0.0.1:0", "0"),
        ("ps0", "127.0.0.1:65536", "127.0.0.1:65536"),
    ],
)
def test_where_nobody_can_be_is_not_dialled(name: str, address: str, seen: str) -> None:
    refusal = refused("hfl.toml", replace(NOTHING, addresses={name: address}), "acme-worker")
    assert refusal.seen == seen


def test_a_node_that_only_dials_out_is_named_as_such() -> None:
    refusal = refused("hfl.toml", replace(NOTHING, addresses={"acme-worker": "10.0.0.1:1"}))
    assert "only dials out" in refusal.what
    assert refusal.expected == "one of ps0"


@pytest.mark.parametrize("listen", ["127.0.0.1:65535", "http://0.0.0.0:7440", "7440"])
def test_a_node_listens_at_two_ports(listen: str) -> None:
    refused("hfl.toml", replace(NOTHING, listen=listen))


@pytest.mark.parametrize("address", ["https://keys.example:7500", "keys.example:0"])
def test_so_are_key_servers(address: str) -> None:
    refused("hfl.toml", replace(NOTHING, key_server=address))
    refused("hfl.toml", replace(NOTHING, key_servers={"acme": address}))


def test_workers_of_a_rented_cluster_are_dialled() -> None:
    agreed = contract("sdt.toml")
    options = replace(NOTHING, addresses={"worker0": "10.0.0.1:7450", "ps0": "[::1]:7440"})
    check_addresses(agreed, agreed.node("chief"), options)


def test_a_node_has_one_address() -> None:
    assert addresses_of(["a=x:1", "b=y:2"]) == {"a": "x:1", "b": "y:2"}
    with pytest.raises(ContractInvalid, match="twice for a"):
        addresses_of(["a=x:1", "a=y:2"])
