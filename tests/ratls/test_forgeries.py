"""Forged certificates and evidence: each is refused by the name of the check that fails."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from coterie.attestation.collateral_source import StapledOnly
from coterie.errors import (
    EvidenceRefused,
    HandshakeFailed,
)
from coterie.ratls.evidence import LEGACY_OIDS
from coterie.ratls.handshake import AttestedPeer
from coterie.runs.event_format import describe_event
from coterie.runs.events import Refused

if TYPE_CHECKING:
    from tests.ratls.conftest import World
from tests.ratls.forging import Forgery, forge, legacy, without_claim

OTHER_MEASUREMENT = b"\x77" * 32


FORGERIES = [
    Forgery(
        "evidence for another key",
        "pubkey_hash",
        claims=lambda claims: claims.model_copy(update={"pubkey_hash": bytes(32)}),
    ),
    Forgery(
        "no key hash",
        "pubkey_hash",
        buffer=lambda buffer: without_claim(buffer, "pubkey-hash"),
    ),
    Forgery(
        "the key hash twice",
        "claims_encoding",
        buffer=lambda buffer: b"\xa7" + buffer[1:] + buffer[1:][: 12 + 39],
    ),
    Forgery(
        "a key hash by another algorithm",
        "pubkey_hash_algorithm",
        buffer=lambda buffer: buffer.replace(b"\x82\x01\x58\x20", b"\x82\x07\x58\x20"),
    ),
    Forgery("a quote over other claims", "report_data", quoted=lambda _: bytes(64)),
    Forgery(
        "upper report data that is not zero",
        "report_data",
        quoted=lambda buffer: hashlib.sha256(buffer).digest() + b"\1" + bytes(31),
    ),
    Forgery("claims that are no CBOR", "claims_encoding", buffer=lambda _: b"\xff"),
    Forgery("claims with something after them", "claims_encoding", buffer=lambda buf: buf + b"\0"),
    Forgery(
        "claims encoded in another way",
        "claims_encoding",
        buffer=lambda buffer: b"\xb8\x06" + buffer[1:],
    ),
    Forgery(
        "a name that is no node's",
        "node",
        claims=lambda claims: claims.model_copy(update={"node": "mallory"}),
    ),
    Forgery(
        "the listener's own name",
        "node",
        claims=lambda claims: claims.model_copy(update={"node": "ps0"}),
    ),
    Forgery("another role", "role", claims=lambda claims: claims.model_copy(update={"role": "ps"})),
    Forgery(
        "another party", "party", claims=lambda claims: claims.model_copy(update={"party": "bolt"})
    ),
    Forgery("another DNS name", "certificate_name", dns_node="bolt-worker"),
    Forgery("other code", "mrenclave", measurement=OTHER_MEASUREMENT),
    Forgery("an expired certificate", "certificate_validity", shift=timedelta(hours=-13)),
    Forgery("a certificate of tomorrow", "certificate_validity", shift=timedelta(hours=24)),
]


class TestLegacyEvidence:
    """It binds the key and nothing else, so no node may show it."""

    @pytest.mark.parametrize(
        ("oids", "seen"),
        [
            (LEGACY_OIDS[:1], LEGACY_OIDS[0]),
            (LEGACY_OIDS[1:], LEGACY_OIDS[1]),
            (LEGACY_OIDS, " and ".join(LEGACY_OIDS)),
        ],
        ids=["Gramine's spelling", "the intended spelling", "both at once"],
    )
    def test_is_refused_by_name(self, world: World, oids: tuple[str, ...], seen: str) -> None:
        worker = world.showing(world.trust("acme-worker"), legacy(world, *oids))

        outcome = world.handshake(worker, world.trust("ps0"))

        assert isinstance(outcome.listener, EvidenceRefused)
        assert outcome.listener.failed_check == "evidence_extension"
        assert seen in outcome.listener.seen


class TestForgedCertificates:
    @pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
    def test_is_refused_by_name(self, world: World, forgery: Forgery) -> None:
        worker = world.showing(world.trust("acme-worker"), forge(world, forgery))

        outcome = world.handshake(worker, world.trust("ps0"))

        assert isinstance(outcome.listener, EvidenceRefused)
        assert outcome.listener.failed_check == forgery.failed_check
        assert outcome.listener.remedy
        # Inside of TLS the other side hears of it by an alert only: where to look, but not why.
        assert isinstance(outcome.dialler, HandshakeFailed)
        assert outcome.dialler.what == "ps0 refused this node's certificate or evidence"
        assert "alert" in outcome.dialler.seen
        assert outcome.dialler.remedy.startswith("read the log of ps0: its refusal names the check")

    @pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
    def test_is_refused_by_a_dialler_too(self, world: World, forgery: Forgery) -> None:
        worker = world.showing(world.trust("acme-worker"), forge(world, forgery))

        outcome = world.handshake(world.trust("ps0"), worker, expected_node="acme-worker")

        assert isinstance(outcome.dialler, EvidenceRefused)
        assert outcome.dialler.failed_check == forgery.failed_check
        assert isinstance(outcome.listener, HandshakeFailed)
        assert outcome.listener.what == "the peer refused this node's certificate or evidence"
        assert "log of the peer" in outcome.listener.remedy

    @pytest.mark.parametrize(
        ("dns_node", "shown"),
        [
            ("a\x1b[31mred", ".a?[31mred.coterie.invalid"),
            (
                "a\nps0 attested eve (worker of acme): UpToDate",
                ".a?ps0 attested eve (worker of acme): UpToDate.coterie.invalid",
            ),
        ],
        ids=["an escape", "a line feed"],
    )
    def test_its_dns_name_steers_no_terminal_and_forges_no_log_line(
        self, world: World, dns_node: str, shown: str
    ) -> None:
        forged = forge(world, Forgery("a DNS name", "certificate_name", dns_node=dns_node))
        assert any(dns_node in name for name in forged.identity.certificate.dns_names)

        outcome = world.handshake(
            world.showing(world.trust("acme-worker"), forged), world.trust("ps0")
        )

        assert isinstance(outcome.listener, EvidenceRefused)
        assert outcome.listener.failed_check == "certificate_name"
        assert outcome.listener.seen.endswith(shown)
        assert str(outcome.listener).isprintable()
        told = describe_event(Refused("ps0", "EvidenceRefused", str(outcome.listener)))
        assert told.isprintable()

    def test_the_unforged_one_is_accepted(self, world: World) -> None:
        honest = forge(world, Forgery("nothing", ""))

        outcome = world.handshake(
            world.showing(world.trust("acme-worker"), honest), world.trust("ps0")
        )

        assert outcome.attested

    def test_other_code_is_refused_whichever_side_runs_it(self, world: World) -> None:
        changed = world.trust("ps0", measurement=OTHER_MEASUREMENT)

        outcome = world.handshake(world.trust("acme-worker"), changed)

        assert isinstance(outcome.dialler, EvidenceRefused)
        assert outcome.dialler.failed_check == "mrenclave"

    def test_another_node_than_the_one_dialled_is_refused(self, world: World) -> None:
        outcome = world.handshake(world.trust("acme-worker"), world.trust("bolt-worker"))

        assert isinstance(outcome.dialler, EvidenceRefused)
        assert outcome.dialler.failed_check == "node"
        assert (outcome.dialler.expected, outcome.dialler.seen) == ("ps0", "bolt-worker")

    def test_a_node_that_meets_itself_refuses_itself(self, world: World) -> None:
        server = world.trust("ps0")

        outcome = world.handshake(server, server)

        assert isinstance(outcome.dialler, EvidenceRefused)
        assert outcome.dialler.failed_check == "own_key"

    def test_no_collateral_anywhere_is_a_refusal(self, world: World) -> None:
        worker = world.trust("acme-worker", collateral=StapledOnly())
        server = world.trust("ps0", collateral=StapledOnly())

        outcome = world.handshake(worker, server)

        refusals = [
            side
            for side in (outcome.dialler, outcome.listener)
            if isinstance(side, EvidenceRefused)
        ]
        assert refusals
        assert {refusal.failed_check for refusal in refusals} == {"collateral_missing"}
        assert not isinstance(outcome.dialler, AttestedPeer)
        assert not isinstance(outcome.listener, AttestedPeer)
