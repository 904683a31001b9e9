"""Evidence in files: a raw quote, or a certificate that carries one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from asn1crypto import pem

from coterie.attestation.policy import Policy, ReportDataIs
from coterie.attestation.verdict import Check
from coterie.contract import Contract, contract_digest
from coterie.errors import EvidenceRefused
from coterie.kinds import Role
from coterie.ratls.certificate import RatlsCertificate, read_certificate
from coterie.ratls.claims import Claims
from coterie.ratls.evidence import InteroperableEvidence

MAX_FILE_BYTES = 1 << 18
# What has passed once a certificate was read and bound to its quote's report data.
CERTIFICATE_CHECKS = tuple(
    Check(name, "passed", "")
    for name in (
        "certificate_encoding",
        "certificate_signature",
        "certificate_validity",
        "pubkey_hash",
    )
)
_PEM = b"-----BEGIN CERTIFICATE-----"
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
    """Reads a file; its first bytes, which differ for all three forms, say what it is."""
    with file.open("rb") as stream:
        data = stream.read(MAX_FILE_BYTES)
    if data.startswith(_PEM):
        try:
            _, _, data = pem.unarmor(data)
        except ValueError as error:
            raise EvidenceRefused(
                "certificate_encoding",
                f"{file} is no certificate in PEM",
                expected="one certificate",
                seen=str(error)[:200],
                remedy="give a raw quote, or a certificate in DER or PEM",
            ) from error
    elif not data.startswith(_DER):
        return StoredEvidence(data, None)
    certificate = read_certificate(data)
    return StoredEvidence(certificate.evidence.quote, certificate)


def binding(
    certificate: RatlsCertificate, agreed: Contract | None, role: Role | None, at: datetime
) -> Policy:
    """What a certificate's quote must carry, after the checks on the certificate itself."""
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
    return ReportDataIs(expected)


def certificate_facts(certificate: RatlsCertificate) -> dict[str, object]:
    """What a certificate says, unjudged."""
    facts: dict[str, object] = {
        "spki_sha256": certificate.spki_sha256.hex(),
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "extension": "interoperable",
    }
    evidence = certificate.evidence
    if not isinstance(evidence, InteroperableEvidence):
        return {**facts, "extension": f"Gramine legacy {evidence.oid}"}
    try:
        claims = Claims.from_cbor(evidence.claims)
    except EvidenceRefused as error:
        return {**facts, "claims": f"not Coterie's: {error.seen}"}
    return {
        **facts,
        "claims": {
            "contract_digest": claims.contract_digest.hex(),
            "node": claims.node,
            "role": claims.role,
            "party": claims.party,
            "incarnation": claims.incarnation,
        },
    }
