"""PEM certificate chains, read strictly: one spelling per chain, nothing between or after.

Text that no signature covers must not be a place to hide things, and two verifiers must not read
two different chains from it. So a chain is accepted only if encoding it anew gives the same text.
"""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

_BEGIN, _END = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
_LINE = 64


class PemMalformed(ValueError):
    """The text is no canonical chain; the message says why."""


@lru_cache(maxsize=64)
def parse_chain(text: str, longest: int) -> tuple[x509.Certificate, ...]:
    """Reads a chain of one to ``longest`` certificates.

    Args:
        text: PEM with 64 characters per line and bare line feeds (RFC 7468, strict form); the last
            line feed may be missing.
        longest: Most certificates.

    Raises:
        PemMalformed: Anything else.
    """
    blocks = (text if text.endswith("\n") else text + "\n").split(_END)
    if blocks.pop() != "":
        raise PemMalformed("text after the certificates" if blocks else "no certificate")
    if len(blocks) > longest:
        raise PemMalformed(f"{len(blocks)} certificates, more than {longest}")
    chain = []
    for block in blocks:
        begin, body = block[: len(_BEGIN)], block[len(_BEGIN) :]
        if begin != _BEGIN:
            raise PemMalformed("text before a certificate")
        try:
            der = base64.b64decode(body.replace("\n", ""), validate=True)
        except (binascii.Error, ValueError) as error:
            raise PemMalformed("a certificate that is no base64") from error
        if encode(der) != block + _END:
            raise PemMalformed("a certificate in non-canonical PEM")
        chain.append(_parse_wholly(der))
    return tuple(chain)


@lru_cache(maxsize=128)
def _parse_wholly(der: bytes) -> x509.Certificate:
    """Parses every field that is read later, since the library parses when it is asked."""
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
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
        UserWarning,  # the library warns of odd names and numbers; some callers make it raise
    ) as error:
        raise PemMalformed("a certificate that is no valid DER") from error
    if certificate.serial_number <= 0:
        raise PemMalformed("a certificate without a positive serial number")
    return certificate


def encode(der: bytes) -> str:
    """One certificate in canonical PEM."""
    text = base64.b64encode(der).decode()
    lines = "".join(f"{text[i : i + _LINE]}\n" for i in range(0, len(text), _LINE))
    return _BEGIN + lines + _END
