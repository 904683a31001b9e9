"""Strict parser of PEM certificate chains: no text between or after, one interpretation per chain.

No signature covers this text. It must not hide other content, and two verifiers must not read
different chains from it. So a chain is accepted only if encoding its certificates again, with its
own line width and line ends, gives the same text. Later readers get the canonical text
(:func:`canonical_chain`), never the received one.
"""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache

from cryptography import x509

from coterie.unreadable import UNREADABLE

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_WIDTH = 64


class PemMalformed(ValueError):
    """The text is not a chain in plain PEM; the message says why."""


@lru_cache(maxsize=64)
def parse_chain(text: str, longest: int) -> tuple[x509.Certificate, ...]:
    """Reads a chain of one to ``longest`` certificates.

    Args:
        text: PEM (RFC 7468). Lines may have any width, the same throughout a certificate but for
            its last line, and end in LF or CRLF, the same throughout the text; the last line's
            end may be missing.
        longest: Most certificates.

    Raises:
        PemMalformed: Anything else.
    """
    return tuple(_parse_wholly(der) for der in decode_chain(text, longest))


def canonical_chain(text: str, longest: int) -> str:
    """The same chain in canonical PEM: 64 characters per line, bare line feeds (RFC 7468, strict form).

    Raises:
        PemMalformed: As :func:`parse_chain`, but for what is in the certificates.
    """
    return "".join(encode(der) for der in decode_chain(text, longest))


def decode_chain(text: str, longest: int) -> list[bytes]:
    """The certificates of a chain in DER, unparsed.

    Raises:
        PemMalformed: As :func:`parse_chain`, but for what is in the certificates.
    """
    ending = "\r\n" if "\r\n" in text else "\n"
    begin, end = f"{_BEGIN}{ending}", f"{_END}{ending}"
    blocks = (text if text.endswith(ending) else text + ending).split(end)
    if blocks.pop() != "":
        raise PemMalformed("text after the certificates" if blocks else "no certificate")
    if len(blocks) > longest:
        raise PemMalformed(f"{len(blocks)} certificates, more than {longest}")
    chain = []
    for block in blocks:
        if not block.startswith(begin):
            raise PemMalformed("text before a certificate")
        lines = block.removeprefix(begin).split(ending)
        try:
            der = base64.b64decode("".join(lines), validate=True)
        except (binascii.Error, ValueError) as error:
            raise PemMalformed("a certificate that is no base64") from error
        if _spelled(der, len(lines[0]), ending) != block + end:
            raise PemMalformed("a certificate whose lines are not of one width")
        chain.append(der)
    return chain


@lru_cache(maxsize=128)
def _parse_wholly(der: bytes) -> x509.Certificate:
    """Parses every field that is used later, since asn1crypto parses lazily."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = (
            certificate.subject,
            certificate.issuer,
            certificate.extensions,
            certificate.public_key(),
            certificate.serial_number,
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
            certificate.signature_hash_algorithm,
        )
    except UNREADABLE as error:
        raise PemMalformed("a certificate that is no valid DER") from error
    if certificate.serial_number <= 0:
        raise PemMalformed("a certificate without a positive serial number")
    return certificate


def encode(der: bytes) -> str:
    """One certificate in canonical PEM."""
    return _spelled(der, _WIDTH, "\n")


def _spelled(der: bytes, width: int, ending: str) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[i : i + width] for i in range(0, len(text), max(width, 1))]
    return ending.join((_BEGIN, *lines, _END, ""))
