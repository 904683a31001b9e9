"""What ties a request to one session with one party's key server, in the form that both sides compute."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.contract.signatures import public_key_text
from coterie.errors import KeyRefused
from coterie.keys.server.session import request_report_data, sign_session, verify_session
from coterie.ratls.session import session_report_data
from tests.ratls.conftest import World

EXPORTER, SERVER, NODE, NONCE = b"e" * 32, b"s" * 32, b"n" * 32, b"c" * 32
NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEYS = {"server_key": SERVER, "node_key": NODE}


@pytest.fixture
def world() -> World:
    return World()


def signed(world: World, party: str = "acme") -> bytes:
    return sign_session(world.keys[party], exporter=EXPORTER, **KEYS)


def test_a_partys_signature_holds_for_its_session(world: World) -> None:
    verify_session(world.contract, "acme", signed(world), exporter=EXPORTER, at=NOW, **KEYS)


@pytest.mark.parametrize("part", ["exporter", "server_key", "node_key"])
def test_it_holds_for_no_other_session(world: World, part: str) -> None:
    other = {"exporter": EXPORTER, **KEYS, part: bytes(32)}
    with pytest.raises(KeyRefused, match="not the key server of party acme") as refusal:
        verify_session(world.contract, "acme", signed(world), at=NOW, **other)
    assert refusal.value.expected == f"a signature with {public_key_text(world.keys['acme'])}"


@pytest.mark.parametrize("signature", ["bolt", "a stranger", "nobody"])
def test_no_one_else_answers_for_the_party(world: World, signature: str) -> None:
    if signature == "a stranger":
        world.keys["stranger"] = Ed25519PrivateKey.generate()
        contract = replace(world, keys={p: world.keys[p] for p in ("operator", "acme", "bolt")})
        made = signed(world, "stranger")
        agreed = contract.contract
    else:
        made = bytes(64) if signature == "nobody" else signed(world, signature)
        agreed = world.contract
    with pytest.raises(KeyRefused, match="not the key server of party acme"):
        verify_session(agreed, "acme", made, exporter=EXPORTER, at=NOW, **KEYS)


def test_the_signature_is_over_a_label_of_its_own(world: World) -> None:
    statement = b"coterie key server 1\0" + EXPORTER + SERVER + NODE
    world.keys["acme"].public_key().verify(signed(world), statement)


def test_a_nodes_quote_is_that_of_the_dialler_for_this_session() -> None:
    made = request_report_data(exporter=EXPORTER, nonce=NONCE, **KEYS)
    assert made == session_report_data(
        "dialler", exporter=EXPORTER, own_key=NODE, peer_key=SERVER, peer_nonce=NONCE
    )
    for part in ("exporter", "server_key", "node_key", "nonce"):
        other = {"exporter": EXPORTER, "nonce": NONCE, **KEYS, part: bytes(32)}
        assert request_report_data(**other) != made
