"""Claims: one encoding, strictly read; report data as the specification says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import get_args

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.errors import EvidenceRefused
from coterie.kinds import Role
from coterie.ratls import cbor
from coterie.ratls.claims import (
    MAX_CLAIMS_BYTES,
    Claims,
    foreign_pubkey_hash,
    report_data,
)

ROLES: tuple[Role, ...] = get_args(Role)
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
claims = st.builds(
    Claims,
    pubkey_hash=st.binary(min_size=32, max_size=32),
    contract_digest=st.binary(min_size=32, max_size=32),
    node=names,
    role=st.sampled_from(ROLES),
    party=names,
    incarnation=st.integers(0, 2**64 - 1),
)
EXAMPLE = Claims(
    pubkey_hash=b"k" * 32,
    contract_digest=b"c" * 32,
    node="acme-worker",
    role="worker",
    party="acme",
    incarnation=7,
)


def fields() -> dict[str, cbor.CborValue]:
    return cbor.decode_map(EXAMPLE.to_cbor(), max_bytes=MAX_CLAIMS_BYTES, max_items=64)


@given(claims)
def test_what_is_encoded_is_decoded_again(original: Claims) -> None:
    buffer = original.to_cbor()

    assert Claims.from_cbor(buffer) == original
    assert foreign_pubkey_hash(buffer) == original.pubkey_hash


@given(claims)
def test_every_value_is_a_byte_string_as_the_specification_demands(original: Claims) -> None:
    value = cbor.decode_map(original.to_cbor(), max_bytes=MAX_CLAIMS_BYTES, max_items=64)

    assert all(isinstance(item, bytes) for item in value.values())
    assert value["pubkey-hash"] == cbor2.dumps([1, original.pubkey_hash])


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(EvidenceRefused):
        Claims.from_cbor(data)


@given(claims, st.data())
def test_no_two_buffers_mean_the_same(original: Claims, data: st.DataObject) -> None:
    buffer = bytearray(original.to_cbor())
    at = data.draw(st.integers(0, len(buffer) - 1))
    buffer[at] ^= data.draw(st.integers(1, 255))
    try:
        other = Claims.from_cbor(bytes(buffer))
    except EvidenceRefused:
        return
    assert other != original


@pytest.mark.parametrize(
    ("name", "value", "failed_check"),
    [
        ("pubkey-hash", cbor.encode([7, bytes(48)]), "pubkey_hash_algorithm"),
        ("pubkey-hash", cbor.encode([8, bytes(64)]), "pubkey_hash_algorithm"),
        ("pubkey-hash", cbor.encode([0, bytes(32)]), "pubkey_hash_algorithm"),
        ("pubkey-hash", cbor.encode([True, bytes(32)]), "claims_encoding"),
        ("pubkey-hash", cbor.encode([1, bytes(31)]), "claims_encoding"),
        ("pubkey-hash", cbor.encode([1, bytes(32), 0]), "claims_encoding"),
        ("pubkey-hash", b"\x82\x18\x01\x58\x20" + bytes(32), "claims_encoding"),
        ("pubkey-hash", cbor.encode([1, bytes(32)]) + b"\0", "claims_encoding"),
        ("pubkey-hash", [1, bytes(32)], "claims_encoding"),
        ("coterie-contract", bytes(31), "claims_encoding"),
        ("coterie-node", b"", "claims_encoding"),
        ("coterie-node", b"a" * 64, "claims_encoding"),
        ("coterie-node", "caf\u00e9".encode(), "claims_encoding"),
        ("coterie-node", b"acme\x1b[2J", "claims_encoding"),
        ("coterie-party", b"acme\nps0 attested eve", "claims_encoding"),
        ("coterie-role", b"boss", "claims_encoding"),
        ("coterie-incarnation", bytes(7), "claims_encoding"),
        ("coterie-incarnation", 7, "claims_encoding"),
        ("nonce", b"n", "claims_encoding"),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: cbor.CborValue, failed_check: str) -> None:
    with pytest.raises(EvidenceRefused) as caught:
        Claims.from_cbor(cbor.encode({**fields(), name: value}))

    assert caught.value.failed_check == failed_check


@pytest.mark.parametrize("read", [Claims.from_cbor, foreign_pubkey_hash])
def test_names_of_claims_that_nobody_knows_are_printable(
    read: Callable[[bytes], object],
) -> None:
    value = {name: item for name, item in fields().items() if name != "pubkey-hash"}
    with pytest.raises(EvidenceRefused) as caught:
        read(cbor.encode({**value, "\x1b[2J\nps0 attested eve": b"x"}))
    assert "?[2J?ps0 attested eve" in caught.value.seen
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", sorted(fields()))
def test_a_missing_claim_is_refused(name: str) -> None:
    value = fields()
    del value[name]

    with pytest.raises(EvidenceRefused) as caught:
        Claims.from_cbor(cbor.encode(value))

    expected = "pubkey_hash" if name == "pubkey-hash" else "claims_encoding"
    assert caught.value.failed_check == expected


def test_a_claim_that_comes_twice_is_refused() -> None:
    entry = cbor.encode("pubkey-hash") + cbor.encode(cbor.encode([1, bytes(32)]))

    for buffer in (b"\xa2" + entry + entry, b"\xa7" + EXAMPLE.to_cbor()[1:] + entry):
        with pytest.raises(EvidenceRefused) as caught:
            foreign_pubkey_hash(buffer)
        assert caught.value.failed_check == "claims_encoding"


@pytest.mark.parametrize(
    "buffer",
    [
        b"\xbf\xff",
        b"\x9b" + b"\xff" * 8,
        b"\x5b\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\x81" * 5000,
        b"\x81" * 100,
        b"\xd8\x1c\x81\xd8\x1d\x00",
        b"\xc5\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x03",
        b"\xd8\x23\x65(a+)+",
        b"\xa1\x01\x02",
        b"\xf9\x7e\x00",
        b"\xf7",
    ],
)
def test_hostile_encodings_are_refused_cheaply(buffer: bytes) -> None:
    with pytest.raises(EvidenceRefused) as caught:
        Claims.from_cbor(buffer)

    assert caught.value.failed_check == "claims_encoding"


def test_report_data_is_the_hash_and_zeros() -> None:
    assert report_data(b"claims") == hashlib.sha256(b"claims").digest() + bytes(32)


def test_claims_in_another_order_are_another_producers() -> None:
    """One statement of ours has one encoding; others' buffers are read for their key alone."""
    entries = [cbor.encode(name) + cbor.encode(value) for name, value in fields().items()]
    buffer = b"\xa6" + b"".join(reversed(entries))
    assert foreign_pubkey_hash(buffer) == EXAMPLE.pubkey_hash

    with pytest.raises(EvidenceRefused) as caught:
        Claims.from_cbor(buffer)

    assert caught.value.failed_check == "claims_encoding"
    assert "not canonical" in caught.value.seen
