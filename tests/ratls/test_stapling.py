"""Collateral that a peer staples: taken up like any other, and nothing older replaces anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from coterie.attestation.authentic import AnyQuote
from coterie.attestation.collateral import Collateral
from coterie.attestation.collateral_source import CachedCollateral, SimulatedCollateral, StapledOnly
from coterie.attestation.quote import parse_quote
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.verdict import Verdict
from coterie.errors import EvidenceRefused, HandshakeFailed
from coterie.ratls.trust import TrustContext, make_trust
from coterie.ratls.verify import judge_certificate, judge_session
from tests.ratls.conftest import MEASUREMENT

if TYPE_CHECKING:
    from tests.ratls.conftest import World

DAY = timedelta(days=1)
DATA = b"\5" * 64
PKI = SimulatedPki()
STRANGER = SimulatedPki(seed=b"a stranger")


def judge(victim: TrustContext, peer: TrustContext, stapled: bytes) -> Verdict:
    """A victim without collateral judges a peer's two quotes by what the peer staples."""
    at = victim.clock()
    der = peer.credentials.current().identity.certificate_der
    judged = judge_certificate(der, victim, expected_node=None, at=at)
    assert judged.verdict is None
    quote = peer.tee.quote(DATA)
    return judge_session(judged, quote, DATA, stapled, trust=victim, at=at).verdict


def as_json(collateral: Collateral) -> bytes:
    return collateral.to_json().encode()


@dataclass(frozen=True)
class Staple:
    """Something that a peer may staple, and the check that refuses it."""

    name: str
    failed_check: str
    stapled: Callable[[datetime], bytes]


STAPLES = [
    Staple("nothing", "collateral_missing", lambda _: b""),
    Staple("no JSON", "collateral_format", lambda _: b"{"),
    Staple("another object", "collateral_format", lambda _: b"{}"),
    Staple("too much", "collateral_format", lambda _: b" " * ((1 << 20) + 1)),
    Staple(
        "another vendor's",
        "pck_crl_chain_root",
        lambda at: as_json(STRANGER.issue(at - DAY)),
    ),
    Staple("of long ago", "root_crl_validity", lambda at: as_json(PKI.issue(at - 400 * DAY))),
    Staple(
        "with a stale CRL",
        "pck_crl_validity",
        lambda at: as_json(replace(PKI.issue(at - DAY), pck_crl=PKI.crl("pck_ca", at - 40 * DAY))),
    ),
    Staple(
        "without a CRL",
        "pck_crl_format",
        lambda at: as_json(replace(PKI.issue(at - DAY), pck_crl=b"")),
    ),
    Staple(
        "for another platform",
        "fmspc",
        lambda at: as_json(replace(PKI, statement_fmspc=b"\1" * 6).issue(at - DAY)),
    ),
    Staple(
        "altered",
        "tcb_info_signature",
        lambda at: as_json(
            replace(
                PKI.issue(at - DAY),
                tcb_info=PKI.issue(at - DAY).tcb_info + " ",
            )
        ),
    ),
    Staple("genuine, from tomorrow", "clock", lambda at: as_json(PKI.issue(at + DAY))),
]


@pytest.mark.parametrize("staple", STAPLES, ids=lambda staple: staple.name)
def test_is_refused_by_name(world: World, staple: Staple) -> None:
    victim = world.trust("ps0", collateral=StapledOnly())
    peer = world.trust("acme-worker")

    with pytest.raises(EvidenceRefused) as refusal:
        judge(victim, peer, staple.stapled(world.clock()))

    assert refusal.value.failed_check == staple.failed_check
    assert refusal.value.remedy


def test_what_is_genuine_is_kept_for_the_next_peer(world: World) -> None:
    victim = world.trust("ps0", collateral=StapledOnly())
    stapled = PKI.issue(world.clock() - DAY)

    judge(victim, world.trust("acme-worker"), as_json(stapled))

    quote = parse_quote(world.trust("bolt-worker").tee.quote(DATA))
    assert victim.collateral.collateral_for(quote, world.clock()) == stapled


def test_what_is_refused_is_not_kept(world: World) -> None:
    victim, peer = world.trust("ps0", collateral=StapledOnly()), world.trust("acme-worker")
    with pytest.raises(EvidenceRefused):
        judge(victim, peer, as_json(STRANGER.issue(world.clock() - DAY)))

    assert judge(victim, peer, as_json(PKI.issue(world.clock() - DAY))).tcb_status == "UpToDate"


class TestNothingOlderReplacesAnything:
    """The victim's own collateral has run out, so it asks; what it held is not forgotten."""

    def test_an_older_crl_does_not_hide_a_revocation(self, world: World) -> None:
        at = world.clock()
        revoked = replace(PKI, pck_serial=6)
        victim = world.trust("ps0", collateral=StapledOnly())
        seen = replace(revoked, revoked=frozenset({"pck"}), statement_days=2).issue(at - 3 * DAY)
        victim.collateral.remember(
            parse_quote(world.trust("acme-worker").tee.quote(DATA)), seen, at - 2 * DAY
        )
        peer = make_trust(
            world.contract,
            "acme-worker",
            SimulatedTee(MEASUREMENT, pki=revoked),
            world.vouchers("acme"),
            world.clock,
        )
        older = replace(PKI.issue(at - DAY), pck_crl=PKI.crl("pck_ca", at - 4 * DAY))

        with pytest.raises(EvidenceRefused) as refusal:
            judge(victim, peer, as_json(older))

        assert refusal.value.failed_check == "pck_revocation"

    def test_an_older_crl_does_not_hide_a_revocation_that_only_it_hides(self, world: World) -> None:
        """The same platform and staple, met by a victim that never saw the newer list."""
        at = world.clock()
        peer = make_trust(
            world.contract,
            "acme-worker",
            SimulatedTee(MEASUREMENT, pki=replace(PKI, pck_serial=6)),
            world.vouchers("acme"),
            world.clock,
        )
        older = replace(PKI.issue(at - DAY), pck_crl=PKI.crl("pck_ca", at - 4 * DAY))

        verdict = judge(world.trust("ps0", collateral=StapledOnly()), peer, as_json(older))

        assert verdict.tcb_status == "UpToDate"

    @pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
    def test_a_rolled_back_statement_does_not_count(self, world: World, part: str) -> None:
        at = world.clock()
        numbers = {f"{part}_evaluation": 17}
        victim, peer = world.trust("ps0", collateral=StapledOnly()), world.trust("acme-worker")
        seen = replace(PKI, statement_days=2, **numbers).issue(at - 3 * DAY)  # type: ignore[arg-type]
        victim.collateral.remember(parse_quote(peer.tee.quote(DATA)), seen, at - 2 * DAY)

        with pytest.raises(EvidenceRefused) as refusal:
            judge(victim, peer, as_json(PKI.issue(at - DAY)))

        assert refusal.value.failed_check == f"{part}_validity"


class Dishonest(CachedCollateral):
    """Judges its peers honestly, and staples something else."""

    def __init__(self, stapled: Collateral) -> None:
        super().__init__(SimulatedCollateral(), kinds={"simulated"})
        self._stapled = stapled

    def collateral_for(self, quote: AnyQuote, at: datetime) -> Collateral:  # noqa: ARG002 - protocol
        return self._stapled


class TestOverSockets:
    def test_the_peer_is_told_what_was_wrong_with_its_collateral(self, world: World) -> None:
        victim = world.trust("acme-worker", collateral=StapledOnly())
        stale = PKI.issue(world.clock() - 400 * DAY)
        server = replace(world.trust("ps0"), collateral=Dishonest(stale))

        outcome = world.handshake(victim, server)

        assert isinstance(outcome.dialler, EvidenceRefused)
        assert outcome.dialler.failed_check == "root_crl_validity"
        assert isinstance(outcome.listener, HandshakeFailed)
        assert "[root_crl_validity]" in outcome.listener.what

    def test_is_asked_for_once(self, world: World) -> None:
        victim = world.trust("acme-worker", collateral=StapledOnly())
        server = world.trust("ps0")
        assert world.handshake(victim, server).attested

        nothing = replace(world.trust("ps0"), collateral=Dishonest(STRANGER.issue(world.clock())))

        assert world.handshake(victim, nothing).attested
