"""DER (X.690) by hand: what the libraries that make certificates will not encode."""

from __future__ import annotations


def tlv(tag: int, *parts: bytes) -> bytes:
    """A value under its tag."""
    content = b"".join(parts)
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8 or 1, "big")
    return bytes((tag, size) if size < 0x80 else (tag, 0x80 | len(octets), *octets)) + content


def integer(value: int) -> bytes:
    """An INTEGER that is not negative."""
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def ia5_string(text: str) -> bytes:
    """An IA5String."""
    return tlv(0x16, text.encode())
