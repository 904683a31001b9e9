"""Tokens in exchanges other than the handshake: a key server demands a node's, and a visitor a server's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from coterie.attestation.tee.simulated.tokens import SimulatedTokens
from coterie.errors import EvidenceRefused, HandshakeFailed
from tests.keys.server.conftest import Owner
from tests.ratls.demanding import DemandingWorld, Given
from tests.status.test_status import Scene


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(DemandingWorld(), tmp_path)


@pytest.fixture
def scene() -> Scene:
    return Scene(DemandingWorld(of="ps"))


def test_a_key_server_vouches_for_a_node_with_its_token(owner: Owner) -> None:
    demanded = owner.world.contract.trust.tokens_of("worker", "simulated")
    with owner.serving():
        client = replace(owner.client(), tokens=SimulatedTokens(demanded, owner.world.clock))
        assert client.vouch(owner.identity()).signature


@pytest.mark.parametrize("tokens", [None, Given(None), Given(b"a.b.c\na.b.c")])
def test_a_key_server_vouches_for_no_node_without_it(owner: Owner, tokens: Given | None) -> None:
    with owner.serving():
        client = replace(owner.client(), tokens=tokens)
        with pytest.raises(HandshakeFailed) as refused:
            client.vouch(owner.identity())
    assert "[token]" in refused.value.what


def test_who_asks_for_the_status_of_a_server_sees_its_token(scene: Scene) -> None:
    with scene.serving():
        said = scene.ask()
    assert "token_nonce" in {check.name for check in said.verdict.checks}


def test_a_server_without_its_token_is_not_believed(scene: Scene) -> None:
    server = replace(scene.world.trust("ps0"), tokens=Given(b""))
    with scene.serving(server), pytest.raises(EvidenceRefused) as refused:
        scene.ask()
    assert refused.value.failed_check == "token"
