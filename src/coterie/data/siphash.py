"""SipHash-2-4 over many byte strings at once, in numpy.

Aumasson and Bernstein, *SipHash: a fast short-input PRF* (2012), section 2. The strings are spans
of one buffer; every span of a call is hashed with the same 128-bit key. TensorFlow's
``tf.strings.to_hash_bucket_strong`` is the same function followed by a modulo, so an exported
graph can repeat it; most languages have a SipHash-2-4 library.
"""

from __future__ import annotations

import numpy as np

from coterie.arrays import ByteArray, Int64Array, UInt64Array

PADDING = 8
"""Bytes that must follow the last span in its buffer: words are loaded whole, then masked."""

# Spans that are hashed together: four state vectors of this length fit in a core's cache.
_CHUNK = 8192
_INITIAL = tuple(
    int.from_bytes(word, "big") for word in (b"somepseu", b"dorandom", b"lygenera", b"tedbytes")
)
_TAIL_MASKS = np.array([(1 << (8 * n)) - 1 for n in range(8)], np.uint64)


def siphash24(
    buffer: ByteArray, starts: Int64Array, lengths: Int64Array, key: bytes
) -> UInt64Array:
    """Hashes spans of a buffer.

    Args:
        buffer: Bytes, ``PADDING`` of them beyond the last span.
        starts: First byte of each span, shape (spans,).
        lengths: Bytes of each span, shape (spans,).
        key: 16 bytes.

    Returns:
        One 64-bit hash per span, shape (spans,): the value whose little-endian bytes are the
        paper's output.
    """
    words = np.ndarray((buffer.size - PADDING + 1,), "<u8", buffer=buffer.data, strides=(1,))
    hashes = np.empty(starts.size, np.uint64)
    longest_first = np.argsort(-lengths, kind="stable")
    for first in range(0, starts.size, _CHUNK):
        some = longest_first[first : first + _CHUNK]
        hashes[some] = _hash_together(words, starts[some], lengths[some], key)
    return hashes


def _hash_together(
    words: UInt64Array, starts: Int64Array, lengths: Int64Array, key: bytes
) -> UInt64Array:
    """Hashes spans sorted longest first, so that spans with another block come first."""
    halves = (int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little"))
    v0, v1, v2, v3 = (
        np.full(starts.size, word ^ halves[i % 2], np.uint64) for i, word in enumerate(_INITIAL)
    )
    state, scratch = (v0, v1, v2, v3), np.empty(starts.size, np.uint64)
    blocks = lengths >> 3
    for block in range(int(blocks[0])):
        active = int(np.searchsorted(-blocks, -block))
        word = words[starts[:active] + 8 * block]
        some = (v0[:active], v1[:active], v2[:active], v3[:active])
        some[3][:] ^= word
        _rounds(some, scratch[:active], 2)
        some[0][:] ^= word
    word = words[starts + 8 * blocks] & _TAIL_MASKS[lengths & 7]
    word |= lengths.astype(np.uint64) << np.uint64(56)
    v3 ^= word
    _rounds(state, scratch, 2)
    v0 ^= word
    v2 ^= np.uint64(0xFF)
    _rounds(state, scratch, 4)
    return v0 ^ v1 ^ v2 ^ v3


def _rounds(
    state: tuple[UInt64Array, UInt64Array, UInt64Array, UInt64Array],
    scratch: UInt64Array,
    count: int,
) -> None:
    v0, v1, v2, v3 = state
    for _ in range(count):
        _mix(v0, v1, 13, scratch)
        _rotate(v0, 32, scratch)
        _mix(v2, v3, 16, scratch)
        _mix(v0, v3, 21, scratch)
        _mix(v2, v1, 17, scratch)
        _rotate(v2, 32, scratch)


def _mix(total: UInt64Array, other: UInt64Array, bits: int, scratch: UInt64Array) -> None:
    """``total += other; other = rotate(other) ^ total``, in place."""
    total += other
    _rotate(other, bits, scratch)
    other ^= total


def _rotate(vector: UInt64Array, bits: int, scratch: UInt64Array) -> None:
    np.right_shift(vector, np.uint64(64 - bits), out=scratch)
    np.left_shift(vector, np.uint64(bits), out=vector)
    vector |= scratch
