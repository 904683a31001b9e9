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
from coterie.ratls.voucher import PartyKeyVouchers, Voucher, sign_voucher, verify_voucher

if TYPE_CHECKING:
    from tests.ratls.conftest import World

CLAIMS = Claims(b"k" * 32, b"c" * 32, "acme-worker", "worker", "acme", 7)
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
