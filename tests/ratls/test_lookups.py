"""A stranger's evidence causes no look-up, and what a stranger staples is not read."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from coterie.attestation.authentic import AnyCollateral, AnyQuote
from coterie.attestation.collateral_source import CachedCollateral, SimulatedCollateral, StapledOnly
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.errors import (
    CoterieError,
    EnvironmentUnfit,
    EvidenceRefused,
    HandshakeFailed,
    VoucherRefused,
)
from coterie.ratls.claims import report_data
from coterie.ratls.credentials import Credentials
from coterie.ratls.evidence import InteroperableEvidence
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.trust import TrustContext
from tests.ratls.forging import vouch

if TYPE_CHECKING:
    from tests.ratls.conftest import World


@dataclass
class Service:
    """A source that is asked over a network."""

    answer: AnyCollateral | CoterieError | None = None
    asked: list[AnyQuote] = field(default_factory=list)

    def collateral_for(self, quote: AnyQuote, at: datetime) -> AnyCollateral:
        self.asked.append(quote)
        if isinstance(self.answer, CoterieError):
            raise self.answer
        return self.answer or SimulatedCollateral().collateral_for(quote, at)


def worker_with(world: World, tee: SimulatedTee, *, voucher: bool = True) -> TrustContext:
    """A worker of acme whose quotes, of certificate and session, some TEE makes."""
    honest = world.trust("acme-worker")
    identity = NodeIdentity.create(
        world.contract, world.node("acme-worker"), tee, incarnation=1, at=world.clock()
    )
    party = "acme" if voucher else "bolt"
    shown = Credentials(identity, vouch(world, identity.claims, party))
    return replace(world.showing(honest, shown), tee=tee)


class Elsewhere(SimulatedTee):
    """Its quotes are genuine, and were made for something else."""

    def quote(self, report_data: bytes) -> bytes:
        return super().quote(bytes(len(report_data)))


class Altered(SimulatedTee):
    """Changes what a genuine quote says, without the key to sign it."""

    def quote(self, report_data: bytes) -> bytes:
        quote = bytearray(SimulatedTee(b"\7" * 32).quote(report_data))
        quote[112:144] = self._measurement
        return bytes(quote)


MINE = bytes(range(32))
STRANGERS: dict[str, tuple[str, Callable[[], SimulatedTee]]] = {
    "a chain of its own": (
        "pck_chain_root",
        lambda: SimulatedTee(
            MINE, pki=SimulatedPki(seed=b"a stranger", fmspc=secrets.token_bytes(6))
        ),
    ),
    "a quote for another key": ("report_data", lambda: Elsewhere(MINE)),
    "another program": ("mrenclave", lambda: SimulatedTee(b"\7" * 32)),
    "an altered quote": ("quote_signature", lambda: Altered(MINE)),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_causes_no_look_up(world: World, stranger: str) -> None:
    check, tee = STRANGERS[stranger]
    service = Service()
    server = world.trust("ps0", collateral=service)
    for _ in range(5):
        outcome = world.handshake(worker_with(world, tee()), server)
        assert isinstance(outcome.listener, EvidenceRefused)
        assert outcome.listener.failed_check == check
    assert service.asked == []

    assert world.handshake(world.trust("bolt-worker"), server).attested
    assert len(service.asked) == 1


def test_an_absent_service_is_asked_once_for_many_peers(world: World) -> None:
    """Among others for this node's own collateral, which a peer may want stapled."""
    down = EnvironmentUnfit("the PCCS is down", expected="200", seen="503", remedy="wait")
    service = Service(down)
    server = world.trust("ps0", collateral=service)
    peer = world.trust("acme-worker", collateral=StapledOnly())
    for _ in range(5):
        outcome = world.handshake(peer, server)
        assert isinstance(outcome.listener, EnvironmentUnfit | HandshakeFailed)
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    ("tee", "voucher", "refusal"),
    [
        (SimulatedTee(MINE), False, VoucherRefused),
        (SimulatedTee(MINE), True, None),
    ],
    ids=["without its party's word", "honest"],
)
def test_what_is_stapled_is_read_after_the_voucher_holds(
    world: World, tee: SimulatedTee, voucher: bool, refusal: type[CoterieError] | None
) -> None:
    told: list[datetime] = []
    server = world.trust(
        "ps0",
        collateral=CachedCollateral(StapledOnly(), kinds={"simulated"}, observe=told.append),
    )
    outcome = world.handshake(worker_with(world, tee, voucher=voucher), server)
    assert (refusal is None) == bool(told)
    if refusal is not None:
        assert isinstance(outcome.listener, refusal)


def test_a_session_quote_of_another_session_is_refused_before_what_is_stapled_is_read(
    world: World,
) -> None:
    class Stale(SimulatedTee):
        """Its certificate's quote is in order, that of the session is not."""

        first = True

        def quote(self, report_data: bytes) -> bytes:
            made, self.first = super().quote(report_data if self.first else bytes(64)), False
            return made

    told: list[datetime] = []
    server = world.trust(
        "ps0",
        collateral=CachedCollateral(StapledOnly(), kinds={"simulated"}, observe=told.append),
    )
    outcome = world.handshake(worker_with(world, Stale(MINE)), server)
    assert isinstance(outcome.listener, EvidenceRefused)
    assert outcome.listener.failed_check == "session_binding"
    assert told == []


def test_evidence_is_still_judged_by_collateral(world: World) -> None:
    """What is checked without it is checked first, not instead."""
    revoked = SimulatedPki(revoked=frozenset({"pck"})).issue(world.clock() - timedelta(days=1))
    server = world.trust("ps0", collateral=Service(revoked))
    outcome = world.handshake(world.trust("acme-worker"), server)
    assert isinstance(outcome.listener, EvidenceRefused)
    assert outcome.listener.failed_check == "pck_revocation"


def test_the_evidence_helper_makes_what_nodes_make(world: World) -> None:
    shown = worker_with(world, SimulatedTee(MINE)).credentials.current().identity
    evidence = shown.certificate.evidence
    assert isinstance(evidence, InteroperableEvidence)
    assert report_data(evidence.claims) in evidence.quote
    assert shown.certificate.not_after - world.clock() < timedelta(hours=12)
