"""The key server as it is started: what it says before it listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from coterie.contract.signatures import public_key_text
from coterie.errors import ContractExpired, EvidenceRefused, HandshakeFailed, SignatureRefused
from coterie.keys.server.policy import KeyPolicy
from coterie.keys.server.server import KeyServer
from tests.keys.server.conftest import Owner


def told(owner: Owner, model: str | None) -> list[Mapping[str, str]]:
    """What a server says while it starts."""
    lines: list[Mapping[str, str]] = []
    policy = owner.policy()
    if model == "plain":
        policy = replace(policy, model="plain")
    server = KeyServer(
        policy, owner.world.keys["acme"], listen="127.0.0.1:0", log=owner.log, tell=lines.append
    )
    with server.serving():
        return lines


def test_a_policy_that_gives_the_model_away_is_warned_of_before_the_server_listens(
    owner: Owner,
) -> None:
    warning, listening = told(owner, "plain")
    assert warning["event"] == "WARNING"
    assert "gets the trained model IN THE CLEAR" in warning["what"]
    assert warning["seen"] == "any platform"
    assert listening["event"] == "Listening"


def test_a_policy_that_seals_it_is_not(owner: Owner) -> None:
    assert [line["event"] for line in told(owner, None)] == ["Listening"]


def in_half_an_hour(owner: Owner) -> str:
    return (owner.world.clock() + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")


def start(owner: Owner, policy: KeyPolicy) -> KeyServer:
    return KeyServer(
        policy,
        owner.world.keys["acme"],
        listen="127.0.0.1:0",
        log=owner.log,
        host_clock=owner.world.clock,
    )


def test_a_server_of_a_contract_that_has_ended_does_not_start(owner: Owner) -> None:
    contract = owner.world.changed("trust", "not_after", value=in_half_an_hour(owner))
    start(owner, owner.policy(contract))
    owner.world.clock.advance(timedelta(minutes=31))
    with pytest.raises(ContractExpired, match="ended at"):
        start(owner, owner.policy(contract))


@pytest.mark.parametrize("own_rules", [False, True], ids=["the contract's rules", "its own rules"])
def test_nodes_get_nothing_once_the_contract_has_ended(owner: Owner, own_rules: bool) -> None:
    contract = owner.world.changed("trust", "not_after", value=in_half_an_hour(owner))
    policy = owner.policy(contract)
    if own_rules:
        policy = replace(policy, trust=owner.world.contract.trust)
    identity = owner.identity(contract=contract)
    with owner.serving(policy):
        owner.client(contract=contract).vouch(identity)
        owner.world.clock.advance(timedelta(minutes=31))
        with pytest.raises(HandshakeFailed):
            owner.client(contract=contract).vouch(identity)
    (refusal,) = owner.refused
    if own_rules:
        assert isinstance(refusal, ContractExpired)
    else:
        assert isinstance(refusal, EvidenceRefused)
        assert refusal.failed_check == "contract_expiry"


def test_a_server_with_a_key_that_has_ended_does_not_start(owner: Owner) -> None:
    contract = owner.world.contract
    update = {
        "key_not_after": in_half_an_hour(owner),
        "next_key": public_key_text(owner.world.keys["bolt"]),
    }
    parties = tuple(
        party.model_copy(update=update) if party.name == "acme" else party
        for party in contract.parties
    )
    policy = owner.policy(contract.model_copy(update={"parties": parties}))
    start(owner, policy)
    owner.world.clock.advance(timedelta(minutes=31))
    with pytest.raises(SignatureRefused, match="not the key that the contract names for acme"):
        start(owner, policy)
