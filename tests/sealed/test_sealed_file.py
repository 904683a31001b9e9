"""Sealed files: what went in comes out, or nothing does."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from coterie.errors import SealBroken
from coterie.sealed.sealed_file import CHUNK_BYTES, HEADER_BYTES, TAG_BYTES, Seal, seal, unseal

UNDER = Seal(bytes(range(32)), b"set" + bytes(29), "train.shard")
SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES


def sealed(plain: bytes, under: Seal = UNDER) -> bytes:
    target = io.BytesIO()
    seal(io.BytesIO(plain), len(plain), target, under)
    return target.getvalue()


def opened(octets: bytes, under: Seal = UNDER) -> bytes:
    return bytes(unseal(io.BytesIO(octets), len(octets), under))


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_a_file_of_any_size_comes_back(size: int) -> None:
    plain = bytes(range(256)) * (size // 256 + 1)
    plain = plain[:size]
    chunks = max(1, -(-size // CHUNK_BYTES))
    octets = sealed(plain)
    assert len(octets) == HEADER_BYTES + size + chunks * TAG_BYTES
    assert opened(octets) == plain


@given(st.binary(max_size=4000))
def test_any_content_comes_back(plain: bytes) -> None:
    assert opened(sealed(plain)) == plain


def test_the_same_file_is_never_sealed_to_the_same_bytes() -> None:
    first, second = sealed(b"rows"), sealed(b"rows")
    assert first[HEADER_BYTES:] != second[HEADER_BYTES:]


def test_what_is_opened_cannot_be_written_to() -> None:
    octets = sealed(b"rows")
    assert unseal(io.BytesIO(octets), len(octets), UNDER).readonly


def by_hand(plain: bytes, header: bytes, under: Seal = UNDER) -> bytes:
    """The format as the module's docstring gives it, written a second time."""
    info = b"coterie sealed file 1\0" + under.set_id + under.name.encode()
    cipher = AESGCM(HKDF(SHA256(), 32, header[64:96], info).derive(under.key))
    count = max(1, -(-len(plain) // CHUNK_BYTES))
    return header + b"".join(
        cipher.encrypt(
            index.to_bytes(12, "big"),
            plain[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES],
            header + struct.pack("<QQ", index, count),
        )
        for index in range(count)
    )


@pytest.mark.parametrize("size", [0, 5, 2 * CHUNK_BYTES + 5])
def test_the_format_is_the_documented_one(size: int) -> None:
    """Both ends compute it alike, so what was left out would not show between them."""
    plain = (bytes(range(251)) * (size // 251 + 1))[:size]
    octets = sealed(plain)
    header = octets[:HEADER_BYTES]
    assert header[:8] == b"COTSEAL1"
    assert struct.unpack_from("<QQ", header, 8) == (CHUNK_BYTES, size)
    assert header[24:32] == bytes(8)
    assert header[32:64] == UNDER.set_id
    assert octets == by_hand(plain, header)
    assert opened(by_hand(plain, header[:64] + bytes(32))) == plain


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, b"COTSEAL2"), (8, struct.pack("<Q", CHUNK_BYTES // 2)), (24, b"\1"), (31, b"\1")],
)
def test_a_header_of_another_format_is_refused_though_its_tags_hold(
    place: int, value: bytes
) -> None:
    header = bytearray(sealed(b"rows")[:HEADER_BYTES])
    header[place : place + len(value)] = value
    with pytest.raises(SealBroken) as refusal:
        opened(by_hand(b"rows", bytes(header)))
    assert refusal.value.seen == "another header"


def test_a_file_that_grows_while_it_is_read_is_refused() -> None:
    octets = sealed(b"rows")
    with pytest.raises(SealBroken) as refusal:
        unseal(io.BytesIO(octets + b"x"), len(octets), UNDER)
    assert (refusal.value.expected, refusal.value.seen) == ("1 chunks", "more")


SMALL = sealed(b"a short file, with a secret in it")


@given(st.integers(0, len(SMALL) - 1), st.integers(0, 7))
def test_any_altered_bit_is_refused(place: int, bit: int) -> None:
    octets = bytearray(SMALL)
    octets[place] ^= 1 << bit
    with pytest.raises(SealBroken, match=r"the sealed file train\.shard cannot be opened"):
        opened(bytes(octets))


@given(st.integers(0, len(SMALL) - 1))
def test_a_file_that_was_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(SealBroken):
        opened(SMALL[:length])


THREE = sealed(bytes(CHUNK_BYTES) + b"\1" * CHUNK_BYTES + b"\2" * CHUNK_BYTES)
HEAD, CHUNKS = (
    THREE[:HEADER_BYTES],
    [
        THREE[HEADER_BYTES + i * SEALED_CHUNK : HEADER_BYTES + (i + 1) * SEALED_CHUNK]
        for i in range(3)
    ],
)


def with_size(chunks: int) -> bytes:
    """The header with the size of so many chunks."""
    return HEAD[:16] + (chunks * CHUNK_BYTES).to_bytes(8, "little") + HEAD[24:]


@pytest.mark.parametrize(
    ("octets", "seen"),
    [
        pytest.param(HEAD + CHUNKS[1] + CHUNKS[0] + CHUNKS[2], "another chunk 0", id="swapped"),
        pytest.param(HEAD + CHUNKS[0] + CHUNKS[0] + CHUNKS[2], "another chunk 1", id="repeated"),
        pytest.param(HEAD + CHUNKS[0] + CHUNKS[1], "bytes", id="last one missing"),
        pytest.param(
            with_size(2) + CHUNKS[0] + CHUNKS[1], "another chunk 0", id="missing, header adjusted"
        ),
        pytest.param(HEAD + b"".join(CHUNKS) + CHUNKS[2], "bytes", id="one too many"),
        pytest.param(HEAD + b"".join(CHUNKS) + b"x", "bytes", id="a byte too many"),
        pytest.param(b"COTSEAL2" + THREE[8:], "another header", id="another format"),
        pytest.param(b"", "0 bytes", id="empty"),
    ],
)
def test_chunks_cannot_be_rearranged(octets: bytes, seen: str) -> None:
    with pytest.raises(SealBroken) as refusal:
        opened(octets)
    assert seen in refusal.value.seen
    assert "copy it again" in refusal.value.remedy


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda under: replace(under, key=bytes(32)), "another chunk 0"),
        (lambda under: replace(under, name="test.shard"), "another chunk 0"),
        (lambda under: replace(under, set_id=bytes(32)), f"set {UNDER.set_id.hex()}"),
    ],
    ids=["key", "name", "set"],
)
def test_a_file_opens_under_its_own_seal_only(change: Callable[[Seal], Seal], seen: str) -> None:
    with pytest.raises(SealBroken) as refusal:
        opened(SMALL, change(UNDER))
    assert seen in refusal.value.seen


@pytest.mark.parametrize(("size", "seen"), [(3, "more"), (5, "fewer")])
def test_a_file_that_changes_while_it_is_sealed_is_noticed(size: int, seen: str) -> None:
    with pytest.raises(SealBroken) as refusal:
        seal(io.BytesIO(b"rows"), size, io.BytesIO(), UNDER)
    assert (refusal.value.expected, refusal.value.seen) == (f"{size} bytes to seal", seen)


def test_a_seal_does_not_show_its_key() -> None:
    assert UNDER.key.hex() not in repr(UNDER)
    assert repr(UNDER.key) not in repr(UNDER)


def test_a_file_that_is_sealed_under_another_key_says_under_which() -> None:
    other = replace(UNDER, set_id=b"other" + bytes(27))
    with pytest.raises(SealBroken) as refusal:
        opened(sealed(b"rows", other))
    assert other.set_id.hex()[:16] in refusal.value.remedy
    assert "give that one" in refusal.value.remedy
    assert "again" not in refusal.value.remedy
