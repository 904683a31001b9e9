"""What a parameter server is told about other parties' shares, and what of it is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from coterie.cli.node import _own_and_others
from coterie.contract import Contract
from coterie.errors import ContractInvalid, KeyRefused, SignatureRefused, VoucherRefused
from coterie.keys.key_shares import checkpoint_key, party_share
from coterie.nodes.checkpoint_key import fetch_checkpoint_key
from coterie.nodes.options import NodeOptions, check_share_options
from coterie.nodes.trust import node_trust
from tests.nodes.test_trust import KEY, NO_OPTIONS, OTHER_KEY, contract


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    paths = {}
    for party, key in (("a", KEY), ("b", OTHER_KEY)):
        paths[party] = tmp_path / f"{party}.pem"
        paths[party].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return paths


@pytest.fixture
def agreed() -> Contract:
    return contract("simulated")


def fetched(agreed: Contract, options: NodeOptions) -> bytes:
    trust = node_trust(agreed, agreed.nodes[0], options, incarnation=1)
    return fetch_checkpoint_key(trust, options)


def test_simulated_servers_may_take_shares_from_the_parties_keys(
    agreed: Contract, keys: dict[str, Path]
) -> None:
    options = replace(NO_OPTIONS, party_key=keys["a"], party_keys={"b": keys["b"]})
    shares = {"a": party_share(KEY, agreed), "b": party_share(OTHER_KEY, agreed)}
    assert fetched(agreed, options) == checkpoint_key(agreed, shares)


def test_a_party_that_nobody_was_named_for_is_named(
    agreed: Contract, keys: dict[str, Path]
) -> None:
    with pytest.raises(KeyRefused, match="share of party b of the checkpoints' key") as refused:
        fetched(agreed, replace(NO_OPTIONS, party_key=keys["a"]))
    assert refused.value.remedy == "give --key-server b=HOST:PORT, or --party-key b=FILE"


def test_a_key_that_is_not_the_partys_gives_no_share(
    agreed: Contract, keys: dict[str, Path]
) -> None:
    with pytest.raises(SignatureRefused, match="not the key that the contract names for b"):
        fetched(agreed, replace(NO_OPTIONS, party_key=keys["a"], party_keys={"b": keys["a"]}))


@pytest.mark.parametrize("options", [{"key_servers": {"b": "x:1"}}, {"party_keys": {"b": Path()}}])
def test_only_parameter_servers_take_other_parties_shares(
    agreed: Contract, options: dict[str, dict[str, str]]
) -> None:
    given = replace(NO_OPTIONS, **options)  # type: ignore[arg-type]
    check_share_options(agreed, agreed.nodes[0], given)
    with pytest.raises(ContractInvalid, match="node w1 needs its own party's key server"):
        check_share_options(agreed, agreed.nodes[1], given)


def test_a_party_that_the_contract_does_not_have_is_refused(agreed: Contract) -> None:
    options = replace(NO_OPTIONS, key_servers={"c": "x:1"})
    with pytest.raises(ContractInvalid, match="the contract has no party 'c'") as refused:
        check_share_options(agreed, agreed.nodes[0], options)
    assert refused.value.expected == "one of a, b"


def test_real_servers_take_no_partys_key(keys: dict[str, Path]) -> None:
    options = replace(NO_OPTIONS, key_server="localhost:1", party_keys={"b": keys["b"]})
    agreed = contract("sgx")
    with pytest.raises(VoucherRefused, match="does not belong on the host of node ps"):
        node_trust(agreed, agreed.nodes[0], options, incarnation=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (None, {})),
        (["host:1"], ("host:1", {})),
        (["host:1", "b=host:2", "c=host:3"], ("host:1", {"b": "host:2", "c": "host:3"})),
        (["/keys/x=1.pem"], ("/keys/x=1.pem", {})),
        (["b=/keys/x=1.pem"], (None, {"b": "/keys/x=1.pem"})),
    ],
)
def test_options_are_the_nodes_own_or_a_named_partys(
    values: list[str], expected: tuple[str | None, dict[str, str]]
) -> None:
    assert _own_and_others("--key-server", values) == expected


@pytest.mark.parametrize(("values", "who"), [(["x:1", "y:1"], "own party"), (["b=x", "b=y"], "b")])
def test_an_option_that_is_given_twice_is_refused(values: list[str], who: str) -> None:
    with pytest.raises(ContractInvalid, match=f"--key-server is given twice for .*{who}"):
        _own_and_others("--key-server", values)
