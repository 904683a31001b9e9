"""Names of certificates' subjects and issuers (RFC 5280), as all kinds of evidence read them."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID


def common_name(name: x509.Name) -> str:
    """The common name that occurs once in a name, at most 128 characters; else empty."""
    return attribute(name, NameOID.COMMON_NAME)


def attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    """The attribute that occurs once in a name, at most 128 characters; else empty."""
    values = name.get_attributes_for_oid(oid)
    return str(values[0].value)[:128] if len(values) == 1 else ""
