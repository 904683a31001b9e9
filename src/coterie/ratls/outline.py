"""Measures the parts of a certificate from a few lengths, before it is parsed.

The cost of a general parser grows with the number of a certificate's parts, which a stranger
chooses. So this module reads only the lengths (X.690, 8.1.3) up to the list of extensions and past
each extension, at most ``MOST_EXTENSIONS``.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST_EXTENSIONS = 16
_OCTET_STRING, _SEQUENCE, _EXTENSIONS = 0x04, 0x30, 0xA3  # RFC 5280, 4.1
_BOOLEAN = b"\x01"
_MOST_FIELDS = 10  # of a TBSCertificate


class OutlineBroken(ValueError):
    """The bytes do not have a certificate's structure; the message says why."""


def bytes_beside(der: bytes, oids: Sequence[bytes]) -> int:
    """Number of a certificate's bytes outside of the content of some extensions.

    Args:
        der: The certificate.
        oids: The extensions' object identifiers, encoded.

    Raises:
        OutlineBroken: Its lengths do not fit together, or it has too many extensions.
    """
    beside = len(der)
    for start, end in _extensions(der):
        for oid in oids:
            if der.startswith(oid, start):
                beside -= _octets(der, start + len(oid), end)
    return beside


def _octets(der: bytes, at: int, end: int) -> int:
    """Length of the octet string at the end of an extension, into which parsers do not look."""
    if der.startswith(_BOOLEAN, at):
        _, at = _bounds(der, at, end)
    start, stop = _enter(der, at, end, _OCTET_STRING)
    if stop != end:
        raise OutlineBroken("an extension with more than a value")
    return stop - start


def _extensions(der: bytes) -> list[tuple[int, int]]:
    """Start and end of every extension's content."""
    body, _ = _enter(der, 0, len(der), _SEQUENCE)
    at, end = _enter(der, body, len(der), _SEQUENCE)
    for _ in range(_MOST_FIELDS):
        if at == end:
            return []
        if der[at] == _EXTENSIONS:
            at, end = _enter(der, at, end, _EXTENSIONS)
            at, end = _enter(der, at, end, _SEQUENCE)
            break
        _, at = _bounds(der, at, end)
    else:
        raise OutlineBroken("more fields than a certificate has")
    found: list[tuple[int, int]] = []
    while at < end:
        if len(found) == MOST_EXTENSIONS:
            raise OutlineBroken(f"more than {MOST_EXTENSIONS} extensions")
        found.append(_enter(der, at, end, _SEQUENCE))
        at = found[-1][1]
    return found


def _enter(der: bytes, at: int, limit: int, tag: int) -> tuple[int, int]:
    """Start and end of the content of the element at a position, which must have this tag."""
    bounds = _bounds(der, at, limit)
    if der[at] != tag:
        raise OutlineBroken(f"tag {der[at]:#04x} in place of {tag:#04x}")
    return bounds


def _bounds(der: bytes, at: int, limit: int) -> tuple[int, int]:
    """Start and end of the content of the element at a position."""
    if at + 2 > limit:
        raise OutlineBroken("it is cut short")
    length, start = der[at + 1], at + 2
    if length >= 0x80:
        width = length & 0x7F
        if not 1 <= width <= 3:
            raise OutlineBroken("a length that no certificate has")
        length, start = int.from_bytes(der[start : start + width], "big"), start + width
    if start + length > limit:
        raise OutlineBroken("it is cut short")
    return start, start + length
