"""Revocation lists (CRLs): reading, verification, and whether they name a certificate.

Source: RFC 5280, section 5. Pure: the time is an argument.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from coterie.attestation.names import common_name
from coterie.attestation.verdict import CheckList, collateral_refused
from coterie.errors import EvidenceRefused
from coterie.unreadable import UNREADABLE


@lru_cache(maxsize=32)
def read_crl(der: bytes, check: str) -> x509.CertificateRevocationList:
    """Reads a DER revocation list.

    Raises:
        EvidenceRefused: It is missing or malformed (check ``<check>_format``).
    """
    try:
        crl = x509.load_der_x509_crl(der)
        known = {x509.CRLNumber.oid, x509.AuthorityKeyIdentifier.oid}
        # asn1crypto parses lazily: read everything now that is used later.
        _ = (crl.issuer, crl.last_update_utc, crl.next_update_utc, crl.signature_hash_algorithm)
        _ = [(revoked.serial_number, revoked.revocation_date_utc) for revoked in crl]
        if not any(ext.critical and ext.oid not in known for ext in crl.extensions):
            return crl
        seen = "an unknown critical extension"
    except UNREADABLE:
        seen = "other bytes" if der else "nothing"
    raise collateral_refused(
        f"{check}_format",
        f"the collateral's {check.replace('_', ' ')} is missing or malformed",
        expected="a certificate revocation list in DER",
        seen=seen,
    )


def verify_crl(
    crl: x509.CertificateRevocationList,
    check: str,
    *,
    issuer: x509.Certificate,
    at: datetime,
    checks: CheckList,
) -> datetime:
    """Verifies the issuer of a revocation list, and that the list is current.

    Returns:
        Time at which its next update is due.

    Raises:
        EvidenceRefused: It fails ``<check>_issuer`` or ``<check>_validity``.
    """
    if crl.issuer != issuer.subject or not _crl_signature_holds(
        crl.public_bytes(Encoding.DER), issuer
    ):
        raise collateral_refused(
            f"{check}_issuer",
            f"the {check.replace('_', ' ')} is not by the CA that it stands for",
            expected=f"issued and signed by {common_name(issuer.subject)}",
            seen=f"issued by {common_name(crl.issuer)}"
            + (", with a signature that does not hold" if crl.issuer == issuer.subject else ""),
        )
    checks.passed(f"{check}_issuer", common_name(issuer.subject))
    end = crl.next_update_utc
    if end is None or not crl.last_update_utc <= at <= end:
        raise collateral_refused(
            f"{check}_validity",
            f"the {check.replace('_', ' ')} is not current",
            expected=f"current at {at.isoformat()}",
            seen=f"from {crl.last_update_utc.isoformat()} to "
            + (end.isoformat() if end else "no end"),
        )
    checks.passed(f"{check}_validity", f"until {end.isoformat()}")
    return end


def verify_not_revoked(
    certificates: tuple[x509.Certificate, ...],
    crl: x509.CertificateRevocationList,
    check: str,
    checks: CheckList,
) -> None:
    """Refuses certificates that their issuer's revocation list names.

    Raises:
        EvidenceRefused: One of them is revoked.
    """
    for certificate in certificates:
        serial = certificate.serial_number
        if crl.get_revoked_certificate_by_serial_number(serial) is not None:
            raise EvidenceRefused(
                check,
                f"the certificate of {common_name(certificate.subject)} is revoked",
                expected="a certificate that its CA stands by",
                seen=f"serial {serial:x} on the revocation list",
                remedy="do not use this platform; its keys may be out",
            )
    checks.passed(check)


@lru_cache(maxsize=32)
def _crl_signature_holds(der: bytes, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return False
    try:
        crl = x509.load_der_x509_crl(der)
        # One encoding of the signature: its first octet counts unused bits (X.690, 8.6.2.2).
        return der.endswith(b"\0" + crl.signature) and crl.is_signature_valid(key)
    except UNREADABLE:
        return False
