"""Handshakes in which the contract demands tokens of the worker: beside its evidence, and never instead of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from coterie.attestation.appraiser import Appraiser
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.attestation.tee.simulated.tokens import SimulatedTokens
from coterie.attestation.tokens.sources import TokenSource
from coterie.contract import Contract
from coterie.errors import EvidenceRefused, HandshakeFailed
from coterie.kinds import TeeKind
from coterie.ratls.messages import MAX_TOKENS_BYTES
from coterie.ratls.trust import TrustContext, make_trust
from tests.ratls.conftest import MEASUREMENT, Outcome, World
from tests.ratls.demanding import DEMAND, DemandingWorld, Given
from tests.ratls.kinds import TEES, of_two, trust


@pytest.fixture
def world() -> DemandingWorld:
    return DemandingWorld()


def node(
    world: DemandingWorld,
    contract: Contract,
    name: str,
    tokens: TokenSource | None = None,
    measurement: bytes = MEASUREMENT,
) -> TrustContext:
    vouchers = world.vouchers(world.node(name).party)
    tee = SimulatedTee(measurement)
    return make_trust(contract, name, tee, vouchers, world.clock, tokens=tokens)


def handshake(world: DemandingWorld, tokens: TokenSource | None = None) -> Outcome:
    contract = world.contract
    worker = node(world, contract, "acme-worker", tokens)
    return world.handshake(worker, node(world, contract, "ps0"))


def service(world: DemandingWorld, **changes: object) -> SimulatedTokens:
    made = SimulatedTokens(world.contract.trust.tokens_of("worker", "simulated"), world.clock)
    return replace(made, **changes)  # type: ignore[arg-type]


def refused(outcome: Outcome) -> str:
    assert isinstance(outcome.dialler, HandshakeFailed)
    assert isinstance(outcome.listener, EvidenceRefused)
    return outcome.listener.failed_check


def test_quotes_are_appraised_and_then_tokens(world: DemandingWorld) -> None:
    _, server = handshake(world).attested
    names = [check.name for check in server.peer.verdict.checks]
    assert names.index("report_data") < names.index("token")
    assert names[-1] == "token_claims"
    assert server.peer.proof is not None
    assert server.peer.proof.tokens.count(b".") == 2


def test_only_the_role_that_is_listed_needs_them(world: DemandingWorld) -> None:
    worker, _ = handshake(world).attested
    assert "token" not in {check.name for check in worker.peer.verdict.checks}
    assert worker.peer.proof is not None
    assert worker.peer.proof.tokens == b""


def test_the_pin_ends_with_the_token(world: DemandingWorld) -> None:
    soon = int((world.clock() + timedelta(minutes=2)).timestamp())
    _, server = handshake(world, service(world, changed={"exp": soon})).attested
    assert int(server.peer.expires_at.timestamp()) == soon


@pytest.mark.parametrize("shown", [None, b""])
def test_a_node_without_a_token_is_refused(world: DemandingWorld, shown: bytes | None) -> None:
    assert refused(handshake(world, Given(shown))) == "token"


def test_a_token_about_another_key_is_refused(world: DemandingWorld) -> None:
    stolen = service(world).tokens(bytes(64))
    assert refused(handshake(world, Given(stolen))) == "token_nonce"


def test_a_token_of_an_earlier_certificate_is_refused(world: DemandingWorld) -> None:
    """Tokens that a peer has shown do not serve its next key, nor another node's."""
    _, server = handshake(world).attested
    assert server.peer.proof is not None
    again = handshake(world, Given(server.peer.proof.tokens))
    assert refused(again) == "token_nonce"


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"changed": {"iss": "https://other.example"}}, "token_issuer"),
        ({"changed": {"dbgstat": "enabled"}}, "token_claims"),
        ({"changed": {"exp": 1}}, "token_validity"),
        ({"header": {"alg": "none"}}, "token_signature"),
    ],
)
def test_a_token_that_is_not_as_demanded_is_refused(
    world: DemandingWorld, changes: dict[str, object], check: str
) -> None:
    assert refused(handshake(world, service(world, **changes))) == check


def test_the_best_token_does_not_stand_for_a_quote(world: DemandingWorld) -> None:
    contract = world.contract
    altered = node(world, contract, "acme-worker", service(world), measurement=b"\7" * 32)
    altered = replace(altered, appraiser=Appraiser(contract.trust, own_measurement=MEASUREMENT))
    assert refused(world.handshake(altered, node(world, contract, "ps0"))) == "mrenclave"


def test_tokens_that_are_too_long_for_a_message_are_not_shown(
    world: DemandingWorld, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(handshake(world, Given(b"a" * (MAX_TOKENS_BYTES + 1)))) == "token"
    assert "more than peers read" in caplog.text


def test_tokens_that_nobody_demanded_are_not_read() -> None:
    plain = World()
    worker = replace(plain.trust("acme-worker"), tokens=Given(b"whatever"))
    _, server = plain.handshake(worker, plain.trust("ps0")).attested
    assert server.peer.proof is not None
    assert server.peer.proof.tokens == b""


def test_tokens_are_demanded_of_one_kind_of_a_roles_nodes() -> None:
    """Each table of a role has its own demands."""
    plain = World()
    demand = DEMAND.replace("ROLE.tokens", "worker.alternatives.tokens")
    contract = of_two(plain, "simulated-snp", "simulated", demand)
    server = trust(plain, contract, "ps0", TEES["simulated"])
    shown = {}
    kinds: tuple[tuple[str, TeeKind], ...] = (
        ("acme-worker", "simulated-snp"),
        ("bolt-worker", "simulated"),
    )
    for name, kind in kinds:
        worker = trust(plain, contract, name, TEES[kind])
        _, seen = plain.handshake(worker, server).attested
        assert seen.peer.proof is not None
        shown[name] = bool(seen.peer.proof.tokens)
        without = plain.handshake(replace(worker, tokens=None), server)
        assert isinstance(without.listener, EvidenceRefused) is (kind == "simulated")
    assert shown == {"acme-worker": False, "bolt-worker": True}
