"""A certificate and a session quote without sockets: what only a clever forger brings together."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from coterie.attestation.authentic import AnyQuote
from coterie.attestation.collateral import Collateral
from coterie.attestation.collateral_source import CachedCollateral, SimulatedCollateral, StapledOnly
from coterie.attestation.quote import parse_quote
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.statements import SimulatedLevel
from coterie.contract import Contract
from coterie.errors import EnvironmentUnfit, EvidenceRefused
from coterie.ratls.trust import TrustContext
from coterie.ratls.verify import JudgedSession, judge_certificate, judge_session
from tests.ratls.conftest import MEASUREMENT
from tests.ratls.forging import Forgery, forge

if TYPE_CHECKING:
    from tests.ratls.conftest import World

DATA = b"\5" * 64
OTHER_MEASUREMENT = b"\x77" * 32
OTHER_PLATFORM = SimulatedPki(ppid=b"\x99" * 16, pck_serial=77)


def failed_check(
    der: bytes, victim: TrustContext, *, expected_node: str | None = None, at: datetime
) -> str:
    with pytest.raises(EvidenceRefused) as refusal:
        judge_certificate(der, victim, expected_node=expected_node, at=at)
    assert refusal.value.remedy
    return refusal.value.failed_check


def test_an_honest_certificate_is_accepted(world: World) -> None:
    shown = world.trust("acme-worker").credentials.current().identity
    judged = judge_certificate(
        shown.certificate_der, world.trust("ps0"), expected_node="acme-worker", at=world.clock()
    )
    assert judged.claims == shown.claims
    assert judged.verdict is not None
    assert judged.no_collateral is None


FORGERIES = [
    Forgery(
        "evidence for another key",
        "pubkey_hash",
        lambda c: c.model_copy(update={"pubkey_hash": bytes(32)}),
    ),
    Forgery("a name that is no node's", "node", lambda c: c.model_copy(update={"node": "mallory"})),
    Forgery(
        "the victim's own name",
        "node",
        lambda c: c.model_copy(update={"node": "ps0", "role": "ps"}),
    ),
    Forgery("another role", "role", lambda c: c.model_copy(update={"role": "ps"})),
    Forgery("another party", "party", lambda c: c.model_copy(update={"party": "bolt"})),
    Forgery("another DNS name", "certificate_name", dns_node="bolt-worker"),
    Forgery("a quote over other claims", "report_data", quoted=lambda _: bytes(64)),
    Forgery("other code", "mrenclave", measurement=OTHER_MEASUREMENT),
    Forgery("an expired certificate", "certificate_validity", shift=timedelta(hours=-13)),
    Forgery("a certificate of tomorrow", "certificate_validity", shift=timedelta(hours=24)),
]


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_a_forged_certificate_is_refused_by_name(world: World, forgery: Forgery) -> None:
    der = forge(world, forgery).identity.certificate_der
    assert failed_check(der, world.trust("ps0"), at=world.clock()) == forgery.failed_check


def test_ones_own_key_is_refused(world: World) -> None:
    victim = world.trust("ps0")
    own = victim.credentials.current().identity.certificate_der
    assert failed_check(own, victim, at=world.clock()) == "own_key"


def test_another_node_than_the_one_dialled_is_refused(world: World) -> None:
    der = world.trust("acme-worker").credentials.current().identity.certificate_der
    check = failed_check(der, world.trust("ps0"), expected_node="bolt-worker", at=world.clock())
    assert check == "node"


class Torn:
    """A source that has collateral, but not in one piece."""

    def __init__(self, error: EvidenceRefused | EnvironmentUnfit) -> None:
        self._error = error

    def collateral_for(self, quote: AnyQuote, at: datetime) -> Collateral:  # noqa: ARG002 - protocol
        raise self._error


def test_collateral_that_was_refused_is_not_replaced_by_the_peers(world: World) -> None:
    """A node without collateral takes what its peer staples; a node with wrong collateral does not."""
    der = world.trust("acme-worker").credentials.current().identity.certificate_der
    wrong = EvidenceRefused("collateral_format", "the collateral is malformed", remedy="fetch it")
    victim = world.trust("ps0")
    assert (
        failed_check(
            der,
            replace(victim, collateral=CachedCollateral(Torn(wrong), kinds={"simulated"})),
            at=world.clock(),
        )
        == "collateral_format"
    )
    away = EnvironmentUnfit("no PCCS answers")
    judged = judge_certificate(
        der,
        replace(victim, collateral=CachedCollateral(Torn(away), kinds={"simulated"})),
        expected_node=None,
        at=world.clock(),
    )
    assert (judged.collateral, judged.verdict) == (None, None)
    assert str(judged.no_collateral) == str(away)


def accepting_both(world: World) -> Contract:
    """A contract under which the worker may be either of two programs."""
    roles = world.contract.trust.roles
    assert roles.worker is not None
    listed = (MEASUREMENT.hex(), OTHER_MEASUREMENT.hex())
    worker = roles.worker.model_copy(update={"measurement": None, "mrenclave": listed})
    return world.changed("trust", "roles", value=roles.model_copy(update={"worker": worker}))


def judged_session(
    world: World, tee: SimulatedTee, *, victim: TrustContext | None = None
) -> JudgedSession:
    """A worker's certificate, and a session quote that another TEE made."""
    contract = accepting_both(world)
    victim = victim or world.trust("ps0", contract=contract)
    worker = world.trust("acme-worker", contract=contract)
    der = worker.credentials.current().identity.certificate_der
    at = world.clock()
    judged = judge_certificate(der, victim, expected_node=None, at=at)
    return judge_session(judged, tee.quote(DATA), DATA, b"", trust=victim, at=at)


def test_the_session_quote_of_the_same_program_on_the_same_platform_is_accepted(
    world: World,
) -> None:
    found = judged_session(world, SimulatedTee(MEASUREMENT))
    assert dict(found.verdict.measurements)["mrenclave"] == MEASUREMENT.hex()


@pytest.mark.parametrize(
    ("tee", "seen"),
    [
        (SimulatedTee(OTHER_MEASUREMENT), OTHER_MEASUREMENT.hex()),
        (SimulatedTee(MEASUREMENT, pki=OTHER_PLATFORM), OTHER_PLATFORM.ppid.hex()),
    ],
    ids=["another program", "another platform"],
)
def test_a_session_quote_of_another_program_or_platform_is_refused_though_both_are_listed(
    world: World, tee: SimulatedTee, seen: str
) -> None:
    with pytest.raises(EvidenceRefused, match="are of two programs") as refusal:
        judged_session(world, tee)
    assert refusal.value.failed_check == "session_binding"
    assert seen in refusal.value.seen
    assert seen not in refusal.value.expected


def test_a_quote_for_another_session_is_refused_by_that_name(world: World) -> None:
    victim = world.trust("ps0")
    der = world.trust("acme-worker").credentials.current().identity.certificate_der
    judged = judge_certificate(der, victim, expected_node=None, at=world.clock())
    quote = SimulatedTee(MEASUREMENT).quote(bytes(64))
    with pytest.raises(EvidenceRefused, match="made for another session") as refusal:
        judge_session(judged, quote, DATA, b"", trust=victim, at=world.clock())
    assert refusal.value.failed_check == "session_binding"


@pytest.mark.parametrize(
    ("forgery", "check"),
    [
        (Forgery("a quote over other claims", "", quoted=lambda _: bytes(64)), "report_data"),
        (Forgery("other code", "", measurement=OTHER_MEASUREMENT), "mrenclave"),
    ],
    ids=lambda value: value.name if isinstance(value, Forgery) else value,
)
def test_what_a_quote_shows_by_itself_is_judged_without_collateral(
    world: World, forgery: Forgery, check: str
) -> None:
    victim = world.trust("ps0", collateral=StapledOnly())
    der = forge(world, forgery).identity.certificate_der
    assert failed_check(der, victim, at=world.clock()) == check


def test_the_certificates_quote_is_judged_by_stapled_collateral(world: World) -> None:
    """The state of its platform could not be judged in the handshake."""
    victim = world.trust("ps0", collateral=StapledOnly())
    der = world.trust("acme-worker").credentials.current().identity.certificate_der
    at = world.clock()
    judged = judge_certificate(der, victim, expected_node=None, at=at)
    assert judged.verdict is None
    quote = SimulatedTee(MEASUREMENT).quote(DATA)
    good = SimulatedCollateral().collateral_for(parse_quote(quote), at).to_json().encode()
    assert judge_session(judged, quote, DATA, good, trust=victim, at=at).verdict.tee == "simulated"
    levels = (SimulatedLevel("UpToDate", (), 9), SimulatedLevel("OutOfDate", ("INTEL-SA-00001",)))
    late = SimulatedPki(levels=levels).collateral(at).to_json().encode()
    victim = world.trust("ps0", collateral=StapledOnly())  # which has kept nothing better
    with pytest.raises(EvidenceRefused) as refusal:
        judge_session(judged, quote, DATA, late, trust=victim, at=at)
    assert refusal.value.failed_check == "tcb_status"
