"""Vouchers: one encoding, one signer, one thing vouched for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from coterie.errors import VoucherRefused
from coterie.ratls.claims import Claims
from coterie.ratls.voucher import (
    MAX_VOUCHER_BYTES,
    PartyKeyVouchers,
    Voucher,
    sign_voucher,
    verify_voucher,
)

if TYPE_CHECKING:
    from tests.ratls.conftest import World

CLAIMS = Claims(
    pubkey_hash=b"k" * 32,
    contract_digest=b"c" * 32,
    node="acme-worker",
    role="worker",
    party="acme",
    incarnation=7,
)
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
VOUCHER = sign_voucher(Ed25519PrivateKey.generate(), CLAIMS, expiry=AT + timedelta(hours=24))

vouchers = st.builds(
    Voucher,
    contract_digest=st.binary(min_size=32, max_size=32),
    node=st.text(max_size=63),
    role=st.text(max_size=16),
    spki_sha256=st.binary(min_size=32, max_size=32),
    incarnation=st.integers(0, 2**64 - 1),
    expiry=st.integers(0, 253_402_300_799),
    signature=st.binary(min_size=64, max_size=64),
)


@given(vouchers)
def test_what_is_encoded_is_decoded_again(voucher: Voucher) -> None:
    assert Voucher.from_cbor(voucher.to_cbor()) == voucher
    assert voucher.expires_at.timestamp() == voucher.expiry


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(VoucherRefused):
        Voucher.from_cbor(data)


def test_no_more_bytes_than_a_voucher_has_are_decoded() -> None:
    with pytest.raises(VoucherRefused, match="cannot be read") as refused:
        Voucher.from_cbor(bytes(MAX_VOUCHER_BYTES + 1))
    assert refused.value.seen == f"{MAX_VOUCHER_BYTES + 1} bytes, more than {MAX_VOUCHER_BYTES}"


@given(st.data())
def test_a_changed_byte_is_refused(data: st.DataObject) -> None:
    encoded = bytearray(VOUCHER.to_cbor())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        other = Voucher.from_cbor(bytes(encoded))
    except VoucherRefused:
        return
    assert other != VOUCHER


def test_the_signature_has_a_domain_of_its_own() -> None:
    assert VOUCHER.signed_bytes().startswith(b"coterie voucher 1\0")
    assert VOUCHER.signature not in VOUCHER.signed_bytes()


def test_a_voucher_ends_when_its_source_says(world: World) -> None:
    identity = world.trust("acme-worker").credentials.current().identity
    source = PartyKeyVouchers(
        Ed25519PrivateKey.generate(), clock=lambda: AT, lifetime=timedelta(minutes=5)
    )

    assert source.vouch(identity).expires_at == AT + timedelta(minutes=5)


def test_a_good_voucher_is_returned(world: World) -> None:
    shown = world.trust("acme-worker").credentials.current()

    checked = verify_voucher(
        shown.voucher, shown.identity.claims, contract=world.contract, at=world.clock()
    )

    assert checked == shown.voucher


def test_a_voucher_is_not_valid_at_its_very_end(world: World) -> None:
    shown = world.trust("acme-worker").credentials.current()
    end = shown.voucher.expires_at

    verify_voucher(
        shown.voucher,
        shown.identity.claims,
        contract=world.contract,
        at=end - timedelta(microseconds=1),
    )
    with pytest.raises(VoucherRefused, match="expired"):
        verify_voucher(shown.voucher, shown.identity.claims, contract=world.contract, at=end)


# Of everything that a voucher covers: how it can be another one, and what the refusal calls it.
OTHERS: list[tuple[str, dict[str, bytes | str | int], dict[str, bytes | str | int]]] = [
    ("contract", {"contract_digest": b"x" * 32}, {"contract_digest": b"x" * 32}),
    ("node", {"node": "acme-worker-2"}, {"node": "acme-worker-2"}),
    ("role", {"role": "chief"}, {"role": "chief"}),
    ("key", {"spki_sha256": b"x" * 32}, {"pubkey_hash": b"x" * 32}),
    ("incarnation", {"incarnation": 8}, {"incarnation": 8}),
]
WHATS = [what for what, _, _ in OTHERS]


def shown_by(world: World) -> tuple[Voucher, Claims]:
    """A voucher that acme signed, and the claims of its node."""
    shown = world.trust("acme-worker", incarnation=7).credentials.current()
    return shown.voucher, shown.identity.claims


@pytest.mark.parametrize(("what", "change", "_"), OTHERS, ids=WHATS)
def test_its_partys_voucher_for_something_else_is_refused(
    world: World, what: str, change: dict[str, bytes | str | int], _: object
) -> None:
    voucher, claims = shown_by(world)
    other = voucher.model_copy(update={**change})
    signed = other.model_copy(update={"signature": world.keys["acme"].sign(other.signed_bytes())})
    with pytest.raises(VoucherRefused) as refused:
        verify_voucher(signed, claims, contract=world.contract, at=world.clock())
    assert refused.value.what == (
        f"the voucher of node acme-worker of party acme is for another {what}"
    )
    (value,) = change.values()
    assert refused.value.seen == (value.hex() if isinstance(value, bytes) else str(value))
    assert refused.value.expected != refused.value.seen


@pytest.mark.parametrize(("what", "change", "claimed"), OTHERS, ids=WHATS)
def test_a_voucher_cannot_be_altered_to_fit_other_claims(
    world: World,
    what: str,
    change: dict[str, bytes | str | int],
    claimed: dict[str, bytes | str | int],
) -> None:
    """The signature covers all that is compared."""
    voucher, claims = shown_by(world)
    altered = voucher.model_copy(update={**change})
    other = claims.model_copy(update={**claimed})
    with pytest.raises(VoucherRefused, match="is not signed by party acme"):
        verify_voucher(altered, other, contract=world.contract, at=world.clock())


def test_a_voucher_cannot_be_prolonged(world: World) -> None:
    voucher, claims = shown_by(world)
    longer = voucher.model_copy(update={"expiry": voucher.expiry + 3600})
    with pytest.raises(VoucherRefused, match="is not signed by party acme"):
        verify_voucher(longer, claims, contract=world.contract, at=world.clock())


@pytest.mark.parametrize("signer", ["operator", "bolt", "a stranger", "nobody"])
def test_only_the_nodes_own_party_vouches_for_it(world: World, signer: str) -> None:
    voucher, claims = shown_by(world)
    key = world.keys.get(signer, Ed25519PrivateKey.generate())
    signature = bytes(64) if signer == "nobody" else key.sign(voucher.signed_bytes())
    with pytest.raises(VoucherRefused) as refused:
        verify_voucher(
            voucher.model_copy(update={"signature": signature}),
            claims,
            contract=world.contract,
            at=world.clock(),
        )
    assert refused.value.what == "the voucher of node acme-worker is not signed by party acme"
    assert refused.value.expected.startswith("a signature with ed25519:")


def test_a_node_without_a_voucher_is_refused(world: World) -> None:
    _, claims = shown_by(world)
    with pytest.raises(VoucherRefused, match="came without a voucher"):
        verify_voucher(None, claims, contract=world.contract, at=world.clock())


def test_a_party_that_the_contract_lacks_cannot_vouch(world: World) -> None:
    voucher, claims = shown_by(world)
    with pytest.raises(VoucherRefused, match="nobody can vouch for party dune"):
        verify_voucher(
            voucher,
            claims.model_copy(update={"party": "dune"}),
            contract=world.contract,
            at=world.clock(),
        )
