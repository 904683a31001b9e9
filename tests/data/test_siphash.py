"""SipHash-2-4 equals the paper's function and TensorFlow's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.data.hashing import hash_strings, tensorflow_key
from coterie.data.siphash import PADDING, siphash24
from coterie.models.backend import configure_tensorflow

KEY = bytes(range(16))


def hash_bytes(messages: list[bytes], key: bytes) -> list[int]:
    lengths = np.array([len(message) for message in messages], np.int64)
    buffer = np.frombuffer(b"".join(messages) + bytes(PADDING), np.uint8)
    return [int(h) for h in siphash24(buffer, np.cumsum(lengths) - lengths, lengths, key)]


def one_by_one(message: bytes, key: bytes) -> int:
    """The paper's pseudocode, on Python integers."""
    mask = 2**64 - 1

    def rotate(x: int, bits: int) -> int:
        return ((x << bits) | (x >> (64 - bits))) & mask

    def rounds(v: list[int], count: int) -> None:
        for _ in range(count):
            v[0] = (v[0] + v[1]) & mask
            v[2] = (v[2] + v[3]) & mask
            v[1], v[3] = rotate(v[1], 13) ^ v[0], rotate(v[3], 16) ^ v[2]
            v[0] = rotate(v[0], 32)
            v[2] = (v[2] + v[1]) & mask
            v[0] = (v[0] + v[3]) & mask
            v[1], v[3] = rotate(v[1], 17) ^ v[2], rotate(v[3], 21) ^ v[0]
            v[2] = rotate(v[2], 32)

    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D]
    v += [k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    padded = message + bytes(7 - len(message) % 8) + bytes([len(message) % 256])
    for i in range(0, len(padded), 8):
        word = int.from_bytes(padded[i : i + 8], "little")
        v[3] ^= word
        rounds(v, 2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


@pytest.mark.parametrize(
    ("length", "expected"),
    # The paper's appendix A (length 15) and the authors' reference vectors.
    [(0, 0x726FDB47DD0E0E31), (8, 0x93F5F5799A932462), (15, 0xA129CA6149BE45E5)],
)
def test_published_vectors(length: int, expected: int) -> None:
    assert hash_bytes([bytes(range(length))], KEY) == [expected]


@given(st.lists(st.binary(max_size=40), min_size=1), st.binary(min_size=16, max_size=16))
def test_any_mix_of_lengths_equals_the_pseudocode(messages: list[bytes], key: bytes) -> None:
    assert hash_bytes(messages, key) == [one_by_one(message, key) for message in messages]


def test_lengths_beyond_one_byte_and_many_spans() -> None:
    messages = [b"x" * 300, *(str(i).encode() for i in range(20_000))]
    hashes = hash_bytes(messages, KEY)
    for i in (0, 1, 8191, 8192, 8193, 20_000):
        assert hashes[i] == one_by_one(messages[i], KEY)


@pytest.mark.tensorflow
def test_tensorflow_repeats_it() -> None:
    configure_tensorflow(1)  # its settings hold for the whole process
    tensorflow = pytest.importorskip("tensorflow")
    key = bytes(range(240, 256))
    cells = ["", "a", "05db9164", "ünïcode ids", "x" * 100]
    buckets = tensorflow.strings.to_hash_bucket_strong(cells, 9_999, list(tensorflow_key(key)))
    assert buckets.numpy().tolist() == (hash_strings(cells, key) % np.uint64(9_999)).tolist()
