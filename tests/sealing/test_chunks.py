"""Sealed files: what went in comes out, or nothing does."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.errors import SealBroken
from coterie.sealing.chunks import CHUNK_BYTES, HEADER_BYTES, TAG_BYTES, Seal, seal, unseal

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
    assert "seal the data anew" in refusal.value.remedy


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


@pytest.mark.parametrize("size", [3, 5])
def test_a_file_that_changes_while_it_is_sealed_is_noticed(size: int) -> None:
    with pytest.raises(SealBroken):
        seal(io.BytesIO(b"rows"), size, io.BytesIO(), UNDER)


def test_a_seal_does_not_show_its_key() -> None:
    assert UNDER.key.hex() not in repr(UNDER)
    assert repr(UNDER.key) not in repr(UNDER)
