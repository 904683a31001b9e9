"""DER (X.690) by hand: what the libraries that make certificates will not encode."""

from __future__ import annotations

from coterie.attestation.der import tlv


def integer(value: int) -> bytes:
    """An INTEGER that is not negative."""
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def ia5_string(text: str) -> bytes:
    """An IA5String."""
    return tlv(0x16, text.encode())
