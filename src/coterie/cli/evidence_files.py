"""Reads evidence from files: a quote, or a certificate with one; raw, base64, hex or PEM."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from asn1crypto import pem

from coterie.attestation.challenges import quoted_report_data
from coterie.attestation.policy import Policy, ReportDataIs
from coterie.attestation.recognition import is_vtpm
from coterie.attestation.verdict import Check
from coterie.contract import Contract, contract_digest
from coterie.errors import EvidenceRefused
from coterie.files import read_bounded
from coterie.kinds import Role, TeeKind
from coterie.ratls.certificate import RatlsCertificate, read_certificate
from coterie.ratls.claims import Claims
from coterie.ratls.evidence import InteroperableEvidence

MAX_FILE_BYTES = 1 << 18
# The checks that a certificate has passed once its quote's report data was compared.
CERTIFICATE_CHECKS = tuple(
    Check(name, "passed", "")
    for name in (
        "certificate_encoding",
        "certificate_signature",
        "certificate_validity",
        "pubkey_hash",
    )
)
MAX_CERTIFICATES = 8
_PEM = b"-----BEGIN "
_DER = b"\x30"


@dataclass(frozen=True)
class StoredEvidence:
    """Evidence from a file.

    Attributes:
        quote: The raw quote.
        certificate: The certificate that carried it, if one did.
    """

    quote: bytes
    certificate: RatlsCertificate | None


def read_evidence(file: Path) -> StoredEvidence:
    """Reads evidence for appraisal: a quote, or one certificate that carries it.

    Raises:
        EvidenceRefused: There are several certificates, or a node may not have the certificate.
    """
    parts = read_parts(file)
    if len(parts) > 1:
        raise _unreadable(file, "one certificate", f"{len(parts)} certificates")
    (data,) = parts
    if not data.startswith(_DER):
        return StoredEvidence(data, None)
    certificate = read_certificate(data)
    return StoredEvidence(certificate.evidence.quote, certificate)


def read_parts(file: Path) -> tuple[bytes, ...]:
    """Decodes a file: PEM with one or more certificates, base64, hex, or raw.

    The first bytes of quotes and certificates differ from those of all text forms.

    Returns:
        A quote, or certificates in DER, which begin with 0x30.

    Raises:
        EvidenceRefused: It begins like PEM but is malformed, or is too large.
    """
    data = read_bounded(file, MAX_FILE_BYTES)
    if len(data) > MAX_FILE_BYTES:
        raise _unreadable(file, f"at most {MAX_FILE_BYTES} bytes", "more")
    if data.lstrip().startswith(_PEM):
        return _from_pem(data.lstrip(), file)
    text = b"".join(data.split())
    for decode in (binascii.unhexlify, _from_base64):
        try:
            found = decode(text)
        except ValueError:  # includes binascii.Error
            continue
        # The first bytes are a quote's version or a certificate's, so a raw quote is not taken for
        # text.
        known = found[:2] in {b"\2\0", b"\3\0", b"\4\0", b"\5\0"} or is_vtpm(found)
        if known or found.startswith(_DER):
            return (found,)
    return (data,)


def _from_base64(text: bytes) -> bytes:
    plain = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)


def _from_pem(data: bytes, file: Path) -> tuple[bytes, ...]:
    parts = []
    try:
        for label, _, der in pem.unarmor(data, multiple=True):
            if label != "CERTIFICATE" or not der.startswith(_DER):
                raise _unreadable(file, "certificates", f"a PEM block {label[:60]}")
            parts.append(der)
    except ValueError as error:
        raise _unreadable(file, "certificates in PEM", str(error)[:200]) from error
    if not 1 <= len(parts) <= MAX_CERTIFICATES:
        raise _unreadable(file, f"1 to {MAX_CERTIFICATES} certificates", f"{len(parts)}")
    return tuple(parts)


def _unreadable(file: Path, expected: str, seen: str) -> EvidenceRefused:
    return EvidenceRefused(
        "certificate_encoding",
        f"{file} holds no evidence that can be read",
        expected,
        seen,
        remedy="give a quote, or a certificate in DER or PEM; quotes may be in base64 or hex",
    )


def kind_for(
    certificate: RatlsCertificate | None, agreed: Contract, role: Role, claimed: TeeKind
) -> TeeKind:
    """The kind of TEE that evidence must be from, under a contract.

    It is that of the node which a certificate names; else the role's, or of several kinds the one
    that the evidence claims, listed or not.
    """
    if certificate is not None and isinstance(certificate.evidence, InteroperableEvidence):
        node = Claims.from_cbor(certificate.evidence.claims).node
        if node in agreed.node_names:
            return agreed.kind_of(agreed.node(node))
    listed = tuple(agreed.trust.tables(role)) or (agreed.trust.tee,)
    return listed[0] if len(listed) == 1 else claimed


def binding(
    certificate: RatlsCertificate,
    agreed: Contract | None,
    role: Role | None,
    at: datetime,
    *,
    kind: TeeKind,
) -> Policy:
    """The report data that a certificate's quote must have; checks the certificate first."""
    certificate.check_validity(at, longest=None)
    evidence = certificate.evidence
    expected = evidence.bound_report_data(certificate.spki_der)
    if agreed is not None and isinstance(evidence, InteroperableEvidence):
        claims = Claims.from_cbor(evidence.claims)
        digest = contract_digest(agreed)
        for check, wanted, seen in (
            ("contract_digest", digest.hex(), claims.contract_digest.hex()),
            ("role", str(role), claims.role),
        ):
            if wanted != seen:
                raise EvidenceRefused(
                    check,
                    f"the certificate claims another {check.replace('_', ' ')}",
                    expected=wanted,
                    seen=seen,
                    remedy="judge it by the contract and role that its node was started with",
                )
    if agreed is not None and role is not None:
        expected = quoted_report_data(agreed.trust, role, kind, expected)
    return ReportDataIs(expected)
