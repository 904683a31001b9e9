"""Parses certificates that carry evidence, from DER only.

asn1crypto does the parsing, since Gramine's certificates have an ECDSA AlgorithmIdentifier with a
NULL parameter, which stricter parsers refuse. PEM is never detected by its text, because a quote
contains PEM. Nothing in a certificate is trusted until `coterie.ratls.verify` has checked it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from asn1crypto import x509 as asn1
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from coterie.errors import EvidenceRefused
from coterie.ratls.evidence import (
    EVIDENCE_OIDS,
    INTEROPERABLE_OID,
    LEGACY_OIDS,
    MAX_EXTENSION_BYTES,
    Evidence,
    read_evidence,
)
from coterie.ratls.outline import OutlineBroken, bytes_beside
from coterie.unreadable import UNREADABLE

MAX_BESIDE_BYTES = 2048
MAX_CERTIFICATE_BYTES = MAX_EXTENSION_BYTES + MAX_BESIDE_BYTES
MAX_LIFETIME = timedelta(hours=24)

_CURVES = ("secp256r1", "secp384r1")
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
# Key usage, alternative names, basic constraints, extended key usage.
_KNOWN_CRITICAL = frozenset({"2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.37"})
# Other producers also write key identifiers, which are ignored.
_KNOWN = _KNOWN_CRITICAL | {"2.5.29.14", "2.5.29.35", INTEROPERABLE_OID, *LEGACY_OIDS}


@dataclass(frozen=True)
class RatlsCertificate:
    """A well-formed certificate that was not verified yet.

    Attributes:
        der: The certificate.
        spki_der: Its DER SubjectPublicKeyInfo.
        evidence: The quote, and the claims if it has them.
        not_before: Start of its validity, UTC.
        not_after: End of its validity, UTC, inclusive.
        dns_names: Its subject alternative DNS names.
    """

    der: bytes
    spki_der: bytes
    evidence: Evidence
    not_before: datetime
    not_after: datetime
    dns_names: tuple[str, ...]

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the certificate, 32 bytes."""
        return hashlib.sha256(self.der).digest()

    @property
    def spki_sha256(self) -> bytes:
        """SHA-256 of the public key's DER SubjectPublicKeyInfo, 32 bytes."""
        return hashlib.sha256(self.spki_der).digest()

    def check_validity(self, at: datetime, *, longest: timedelta | None = MAX_LIFETIME) -> None:
        """Checks the period of validity (RFC 5280, 4.1.2.5).

        Args:
            at: Time as of which to verify, UTC.
            longest: Longest accepted lifetime; None for certificates of other producers, whose
                freshness is ensured in another way.

        Raises:
            EvidenceRefused: ``certificate_validity`` or ``certificate_lifetime``.
        """
        if not self.not_before <= at <= self.not_after:
            raise EvidenceRefused(
                "certificate_validity",
                "the certificate is not valid at this time",
                expected=f"from {self.not_before.isoformat()} to {self.not_after.isoformat()}",
                seen=at.isoformat(),
                remedy="set both machines' clocks; an expired node renews its certificate itself",
            )
        if longest is not None and self.not_after - self.not_before > longest:
            raise EvidenceRefused(
                "certificate_lifetime",
                "the certificate is made to live too long",
                expected=f"at most {longest}",
                seen=str(self.not_after - self.not_before),
                remedy="evidence must be fresh: let the node make short-lived certificates",
            )


def read_certificate(der: bytes) -> RatlsCertificate:
    """Reads one self-signed certificate with evidence.

    Args:
        der: The certificate in DER, nothing before or after it.

    Raises:
        EvidenceRefused: ``certificate_encoding``, ``certificate_extensions``, ``certificate_ca``,
            ``certificate_key``, ``certificate_signature``, ``evidence_extension`` or
            ``evidence_encoding``.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise _refused("encoding", f"at most {MAX_CERTIFICATE_BYTES} bytes", f"{len(der)} bytes")
    try:
        beside = bytes_beside(der, EVIDENCE_OIDS)
    except OutlineBroken as error:
        raise _refused("encoding", "one X.509 v3 certificate in DER", str(error)) from error
    # The cost of parsing grows with the size beside the evidence, whose content is read as bytes.
    if beside > MAX_BESIDE_BYTES:
        raise _refused(
            "encoding", f"at most {MAX_BESIDE_BYTES} bytes beside the evidence", f"{beside} bytes"
        )
    try:
        return _read(der)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise _refused("encoding", "one X.509 v3 certificate in DER", str(error)[:200]) from error
    except RecursionError as error:
        raise _refused("encoding", "one X.509 v3 certificate in DER", "nested too deep") from error


def _read(der: bytes) -> RatlsCertificate:
    certificate = asn1.Certificate.load(der, strict=True)
    body = certificate["tbs_certificate"]
    if body["version"].native != "v3":
        raise _refused("encoding", "version 3", str(body["version"].native))
    extensions = _extensions(body)
    spki_der: bytes = body["subject_public_key_info"].dump()
    key = _public_key(spki_der)
    _check_signature(certificate, key)
    evidence = read_evidence(extensions)
    validity = body["validity"]
    names = certificate.subject_alt_name_value
    return RatlsCertificate(
        der=der,
        spki_der=spki_der,
        evidence=evidence,
        not_before=_utc(validity["not_before"].native),
        not_after=_utc(validity["not_after"].native),
        dns_names=tuple(str(name.native) for name in names or () if name.name == "dns_name"),
    )


def _extensions(body: asn1.TbsCertificate) -> dict[str, bytes]:
    values: dict[str, bytes] = {}
    for extension in body["extensions"]:
        oid: str = extension["extn_id"].dotted
        if oid in values:
            raise _refused("extensions", "each extension once", f"{oid} twice")
        if oid not in (_KNOWN_CRITICAL if extension["critical"].native else _KNOWN):
            raise _refused("extensions", "only known extensions", oid)
        if oid == "2.5.29.19" and extension["extn_value"].parsed["ca"].native:
            raise _refused("ca", "a node's certificate", "a certification authority's")
        values[oid] = extension["extn_value"].contents
    return values


def _public_key(spki_der: bytes) -> ec.EllipticCurvePublicKey:
    expected = "an ECDSA key on P-256 or P-384"
    try:
        key = serialization.load_der_public_key(spki_der)
    except UNREADABLE as error:
        raise _refused("key", expected, "no usable public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _refused("key", expected, type(key).__name__)
    again = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if again != spki_der:
        # Otherwise one key could have two hashes, one in the TLS library and one here.
        raise _refused("key", "a DER SubjectPublicKeyInfo in its one usual form", "another form")
    return key


def _check_signature(certificate: asn1.Certificate, key: ec.EllipticCurvePublicKey) -> None:
    body = certificate["tbs_certificate"]
    outer, inner = certificate["signature_algorithm"], body["signature"]
    if outer.dump() != inner.dump():
        raise _refused("signature", "one signature algorithm", "two that differ")
    if outer.signature_algo != "ecdsa" or outer.hash_algo not in _HASHES:
        raise _refused(
            "signature", "ECDSA with SHA-256, SHA-384 or SHA-512", outer.native["algorithm"]
        )
    if outer["parameters"].native is not None:
        raise _refused("signature", "no algorithm parameters, or NULL", "others")
    # The first octet counts unused bits (X.690, 8.6.2.2); a signature has whole bytes.
    if certificate["signature_value"].contents[:1] != b"\0":
        raise _refused("signature", "a signature of whole octets", "unused bits")
    try:
        key.verify(
            certificate["signature_value"].native, body.dump(), ec.ECDSA(_HASHES[outer.hash_algo])
        )
    except InvalidSignature as error:
        raise _refused("signature", "signed with its own key", "another signature") from error


def _utc(value: object) -> datetime:
    if not isinstance(value, datetime) or value.utcoffset() != timedelta(0):
        raise _refused("encoding", "validity in UTC", str(value))
    return value


def _refused(check: str, expected: str, seen: str) -> EvidenceRefused:
    return EvidenceRefused(
        f"certificate_{check}",
        "the peer's certificate is not one that a node may have",
        expected,
        seen,
        remedy="nodes make their certificates themselves: start the peer with `coterie node`",
    )
