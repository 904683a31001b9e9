"""Keys live in memory only; credentials are renewed before they end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from coterie.attestation.tee.simulated import SimulatedTee
from coterie.errors import ContractInvalid, EvidenceRefused, PeerUnreachable, VoucherRefused
from coterie.ratls.identity import P256_ORDER, NodeIdentity
from coterie.ratls.trust import make_trust
from coterie.ratls.voucher import Voucher

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
