"""A contract that ends, and a party that changes its key: what peers and key servers make of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.contract import Contract
from coterie.contract.expiry import moment
from coterie.contract.signatures import public_key_text
from coterie.errors import ContractExpired, EvidenceRefused, VoucherRefused
from coterie.ratls.voucher import PartyKeyVouchers
from tests.ratls.conftest import World

HALF_AN_HOUR = timedelta(minutes=30)
SECOND = timedelta(seconds=1)


def in_half_an_hour(world: World) -> str:
    return (world.clock() + HALF_AN_HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def ending(world: World) -> Contract:
    """A contract that ends in half an hour."""
    return world.changed("trust", "not_after", value=in_half_an_hour(world))


def test_nobody_is_trusted_longer_than_the_contract_lasts(world: World, ending: Contract) -> None:
    worker, server = (world.trust(name, contract=ending) for name in ("acme-worker", "ps0"))
    ends = [peer.peer.expires_at for peer in world.handshake(worker, server).attested]
    assert ends == [moment(str(ending.trust.not_after))] * 2
    longer = world.handshake(world.trust("acme-worker"), world.trust("ps0")).attested
    assert min(peer.peer.expires_at for peer in longer) > max(ends)


def test_a_node_shows_nothing_once_the_contract_has_ended(world: World, ending: Contract) -> None:
    worker = world.trust("acme-worker", contract=ending)
    worker.credentials.current()
    world.clock.advance(HALF_AN_HOUR + SECOND)
    with pytest.raises(ContractExpired, match="contract test ended at"):
        worker.credentials.current()
    with pytest.raises(ContractExpired):
        worker.credentials.held()
    with pytest.raises(ContractExpired) as ended:
        world.trust("acme-worker", contract=ending)
    assert str(ending.trust.not_after) in ended.value.expected


def test_a_peer_that_goes_on_is_refused(world: World, ending: Contract) -> None:
    """It shows credentials that are still valid, as a program that does not look at the end would."""
    worker, server = (world.trust(name, contract=ending) for name in ("acme-worker", "ps0"))
    late = [world.showing(one, one.credentials.current()) for one in (worker, server)]
    assert world.handshake(*late).attested
    world.clock.advance(HALF_AN_HOUR + SECOND)
    outcome = world.handshake(*late)
    assert isinstance(outcome.dialler, EvidenceRefused)
    assert outcome.dialler.failed_check == "contract_expiry"
    assert str(world.clock().year) in outcome.dialler.seen


@pytest.fixture
def next_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def rotating(world: World, next_key: Ed25519PrivateKey) -> Contract:
    """Acme's key ends in half an hour; its next one counts from now on."""
    keys = {"next_key": public_key_text(next_key), "key_not_after": in_half_an_hour(world)}
    contract = world.contract
    parties = tuple(
        party.model_copy(update=keys) if party.name == "acme" else party
        for party in contract.parties
    )
    return contract.model_copy(update={"parties": parties})


def test_a_party_vouches_with_its_next_key_before_and_after_the_change(
    world: World, next_key: Ed25519PrivateKey
) -> None:
    contract = rotating(world, next_key)
    server = world.trust("ps0", contract=contract)
    late = PartyKeyVouchers(next_key, clock=world.clock)
    for vouchers in (None, late):
        worker = world.trust("acme-worker", contract=contract, vouchers=vouchers)
        assert world.handshake(worker, server).attested
    world.clock.advance(HALF_AN_HOUR + SECOND)
    worker = world.trust("acme-worker", contract=contract, vouchers=late)
    assert world.handshake(worker, server).attested


def test_what_a_key_that_ended_vouches_for_is_refused(
    world: World, next_key: Ed25519PrivateKey
) -> None:
    contract = rotating(world, next_key)
    worker, server = (world.trust(name, contract=contract) for name in ("acme-worker", "ps0"))
    shown = world.showing(worker, worker.credentials.current())
    world.clock.advance(HALF_AN_HOUR + SECOND)
    with pytest.raises(VoucherRefused, match="not signed by party acme") as refusal:
        world.trust("acme-worker", contract=contract)
    assert refusal.value.expected == f"a signature with {public_key_text(next_key)}"
    outcome = world.handshake(shown, server)
    assert isinstance(outcome.listener, VoucherRefused)


def test_a_party_without_a_key_that_counts_cannot_vouch(world: World) -> None:
    contract = world.contract
    parties = tuple(
        party.model_copy(update={"key_not_after": in_half_an_hour(world)})
        for party in contract.parties
    )
    contract = contract.model_copy(update={"parties": parties})
    world.trust("acme-worker", contract=contract)
    world.clock.advance(HALF_AN_HOUR + SECOND)
    with pytest.raises(VoucherRefused, match="nobody can vouch for party acme") as refusal:
        world.trust("acme-worker", contract=contract)
    assert "the key of acme ended at" in refusal.value.what
