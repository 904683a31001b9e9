"""Keys live in memory only; credentials are renewed before they end."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.errors import (
    ContractInvalid,
    CoterieError,
    EvidenceRefused,
    PeerUnreachable,
    VoucherRefused,
)
from coterie.ratls.credentials import CredentialKeeper, Credentials
from coterie.ratls.identity import P256_ORDER, NodeIdentity
from coterie.ratls.trust import make_trust
from coterie.ratls.voucher import Voucher
from tests.ratls.conftest import MEASUREMENT

if TYPE_CHECKING:
    from tests.ratls.conftest import World


def identity(world: World) -> NodeIdentity:
    return NodeIdentity.create(
        world.contract,
        world.node("ps0"),
        SimulatedTee(bytes(32)),
        incarnation=3,
        at=world.clock(),
    )


def test_its_claims_are_for_its_key(world: World) -> None:
    made = identity(world)

    assert made.claims.pubkey_hash == made.spki_digest
    assert (made.claims.node, made.claims.role, made.claims.party) == ("ps0", "ps", "operator")
    assert made.claims.incarnation == 3


def test_it_signs_statements_in_one_form(world: World) -> None:
    """Of the two values of s that verify, the lower one: a signature cannot be turned into another."""
    made = identity(world)
    for number in range(20):
        statement = b"a label\0" + bytes([number])
        signature = made.sign(statement)
        r, s = (int.from_bytes(signature[part : part + 32], "big") for part in (0, 32))
        assert len(signature) == 64
        assert s <= P256_ORDER // 2
        public = made.private_key.public_key()
        public.verify(encode_dss_signature(r, s), statement, ec.ECDSA(hashes.SHA256()))


def test_every_identity_has_a_key_of_its_own(world: World) -> None:
    assert identity(world).spki_der != identity(world).spki_der


def test_the_key_is_never_shown(world: World) -> None:
    made = identity(world)
    secret = f"{made.private_key.private_numbers().private_value:x}"

    shown = repr(made) + str(made) + repr(world.trust("ps0"))

    assert secret not in shown
    assert "PRIVATE KEY" not in shown
    assert "private_key" not in repr(made)


def test_credentials_stay_the_same_until_they_are_renewed(world: World) -> None:
    credentials = world.trust("ps0").credentials

    first = credentials.current()
    world.clock.advance(timedelta(hours=10))

    assert credentials.current() is first


def test_credentials_are_renewed_a_reattestation_time_before_their_end(world: World) -> None:
    credentials = world.trust("ps0").credentials
    first = credentials.current()
    world.clock.advance(timedelta(hours=11))

    second = credentials.current()

    assert second.identity.spki_der != first.identity.spki_der
    assert second.identity.claims.incarnation == first.identity.claims.incarnation
    assert credentials.held() == (second, first)
    assert credentials.is_own_key(first.identity.spki_digest)
    world.clock.advance(timedelta(hours=2))
    assert credentials.held() == (second,)


def test_short_vouchers_are_renewed_at_half_time(world: World) -> None:
    short = world.vouchers("operator", lifetime=timedelta(minutes=10))
    credentials = world.trust("ps0", vouchers=short).credentials
    first = credentials.current()

    world.clock.advance(timedelta(minutes=4))
    assert credentials.current() is first
    world.clock.advance(timedelta(minutes=2))
    assert credentials.current() is not first


def test_a_key_server_that_is_away_for_a_while_stops_nobody(world: World) -> None:
    class Away:
        over_network = False

        def __init__(self) -> None:
            self.away = False

        def vouch(self, identity: NodeIdentity) -> Voucher:
            if self.away:
                raise PeerUnreachable("the key server is away")
            return world.vouchers("operator").vouch(identity)

    source = Away()
    credentials = world.trust("ps0", vouchers=source).credentials
    first = credentials.current()
    source.away = True

    world.clock.advance(timedelta(hours=11))
    assert credentials.current() is first
    world.clock.advance(timedelta(hours=1))
    with pytest.raises(PeerUnreachable):
        credentials.current()

    source.away = False
    assert credentials.current() is not first


def test_a_restart_is_a_newer_incarnation(world: World) -> None:
    first = world.trust("ps0").credentials.incarnation

    assert world.trust("ps0").credentials.incarnation > first


def test_an_unknown_node_name_is_refused(world: World) -> None:
    with pytest.raises(ContractInvalid) as caught:
        make_trust(
            world.contract, "mallory", SimulatedTee(bytes(32)), world.vouchers("acme"), world.clock
        )

    assert "ps0" in caught.value.expected


def test_a_party_without_a_key_in_the_contract_cannot_vouch(world: World) -> None:
    contract = world.contract
    keyless = contract.model_copy(
        update={
            "parties": tuple(party.model_copy(update={"key": None}) for party in contract.parties)
        }
    )

    with pytest.raises(VoucherRefused, match="nobody can vouch"):
        world.trust("ps0", contract=keyless)


def test_a_simulated_node_under_a_production_contract_is_refused(world: World) -> None:
    production = world.changed("trust", "tee", value="sgx")

    with pytest.raises(EvidenceRefused) as caught:
        world.trust("ps0", contract=production)

    assert caught.value.failed_check == "tee_kind"
    assert (caught.value.expected, caught.value.seen) == ("sgx", "simulated")


class KeyServer:
    """Vouches when it is let; counts how often it was asked."""

    over_network = True

    def __init__(self, world: World) -> None:
        self._world = world
        self.asked = threading.Semaphore(0)
        self.answer = threading.Event()
        self.answer.set()
        self.error: CoterieError | None = None

    def vouch(self, identity: NodeIdentity) -> Voucher:
        self.asked.release()
        assert self.answer.wait(30)
        if self.error is not None:
            raise self.error
        return self._world.vouchers("operator").vouch(identity)


def keeper(world: World, server: KeyServer) -> CredentialKeeper:
    made = CredentialKeeper(
        world.contract,
        world.node("ps0"),
        SimulatedTee(MEASUREMENT),
        server,
        world.clock,
        incarnation=1,
        wait_seconds=0.0,
    )
    made.current()
    assert server.asked.acquire(timeout=0)
    return made


def renewed(credentials: CredentialKeeper, old: Credentials) -> Credentials:
    """Waits until there are others."""
    for thread in threading.enumerate():
        if thread.name == "credentials":
            thread.join(30)
    new = credentials.current()
    assert new is not old
    return new


def test_a_key_server_that_does_not_answer_is_waited_for_by_nobody(world: World) -> None:
    server = KeyServer(world)
    credentials = keeper(world, server)
    first = credentials.current()
    server.answer.clear()
    world.clock.advance(timedelta(hours=11))

    for _ in range(20):
        assert credentials.current() is first
        assert credentials.held() == (first,)
        assert credentials.is_own_key(first.identity.spki_digest)
    assert server.asked.acquire(timeout=30)
    assert not server.asked.acquire(timeout=0), "it is asked once at a time"

    server.answer.set()
    second = renewed(credentials, first)
    assert credentials.held() == (second, first)


def test_credentials_that_have_run_out_are_not_shown(world: World) -> None:
    server = KeyServer(world)
    credentials = keeper(world, server)
    first = credentials.current()
    server.answer.clear()
    world.clock.advance(timedelta(hours=11))
    assert credentials.current() is first
    world.clock.advance(timedelta(hours=2))

    with pytest.raises(PeerUnreachable, match="credentials of node ps0 have run out") as unfit:
        credentials.current()
    assert unfit.value.seen == "no answer of its key server yet"
    assert credentials.held() == ()
    server.answer.set()
    assert credentials.held() in ((), (renewed(credentials, first),))


def test_a_renewal_that_is_refused_is_made_again_later(world: World) -> None:
    server = KeyServer(world)
    credentials = keeper(world, server)
    first = credentials.current()
    server.error = VoucherRefused("not you")
    world.clock.advance(timedelta(hours=11))
    assert credentials.current() is first
    for thread in threading.enumerate():
        if thread.name == "credentials":
            thread.join(30)
    assert server.asked.acquire(timeout=30)
    assert credentials.current() is first
    assert not server.asked.acquire(timeout=0), "not before a quarter of the rest is over"

    server.error = None
    world.clock.advance(timedelta(minutes=30))
    credentials.current()  # begins it, and may have it at once
    renewed(credentials, first)


def test_handshakes_go_on_on_both_sides_while_a_key_server_is_absent(world: World) -> None:
    server = KeyServer(world)
    trust = replace(world.trust("ps0"), credentials=keeper(world, server))
    server.answer.clear()
    world.clock.advance(timedelta(hours=11))
    try:
        for _ in range(3):
            assert world.handshake(world.trust("acme-worker"), trust).attested
            outcome = world.handshake(
                trust, world.trust("acme-worker"), expected_node="acme-worker"
            )
            assert outcome.attested
    finally:
        server.answer.set()
