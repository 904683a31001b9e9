"""DER (X.690) by hand: what has to be encoded as others have encoded it."""

from __future__ import annotations


def tlv(tag: int, *parts: bytes) -> bytes:
    """A value under its tag."""
    content = b"".join(parts)
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8 or 1, "big")
    return bytes((tag, size) if size < 0x80 else (tag, 0x80 | len(octets), *octets)) + content
