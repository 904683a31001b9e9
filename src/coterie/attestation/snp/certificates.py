"""Reads AMD's certificates, strictly, and verifies the chain from a signing key to its root.

All of AMD's certificates bear RSASSA-PSS signatures with SHA-384 and 48 bytes of salt by RSA keys of
4096 bits. Certificates of signing keys have the serial number 0, which ``cryptography`` refuses to
read in future releases: so asn1crypto reads them, and ``cryptography`` only verifies.

Source: AMD Versioned Chip Endorsement Key Certificate and KDS Interface Specification (57230).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from itertools import pairwise

from asn1crypto import x509 as asn1
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from coterie.attestation.der import tlv
from coterie.attestation.snp.products import PRODUCTS, Product
from coterie.attestation.snp.roots import AmdRoots
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused
from coterie.kinds import SigningKey
from coterie.unreadable import UNREADABLE_LAZILY

MAX_CERTIFICATE_BYTES = 4096
CHECKS = ("vek_chain_root", "vek_chain_role", "vek_chain_signature", "vek_chain_validity")
# AlgorithmIdentifier of RSASSA-PSS with SHA-384, MGF1 with SHA-384, salt 48, trailer 1 (RFC 4055),
# as AMD encodes it.
PSS_SHA384 = bytes.fromhex(
    "304606092a864886f70d01010a3039a00f300d06096086480165030402020500"
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130a303020101"
)
# The same without its last field, which has its default: so AMD writes it in certificates since 2025.
PSS_SHA384_SHORT = bytes.fromhex(
    "304106092a864886f70d01010a3034a00f300d06096086480165030402020500"
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130"
)
_ALGORITHMS = (PSS_SHA384, PSS_SHA384_SHORT)
PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48)
_RSA_BITS = 4096
_BASIC_CONSTRAINTS, _KEY_USAGE = "2.5.29.19", "2.5.29.15"
_NAMES: Mapping[SigningKey, tuple[str, str]] = {
    "vcek": ("SEV-VCEK", "SEV-"),
    "vlek": ("SEV-VLEK", "SEV-VLEK-"),
}

_refused = partial(EvidenceRefused, remedy="fetch the certificates from AMD again, or distrust it")


@dataclass(frozen=True)
class AmdCertificate:
    """A certificate with checked encoding; nothing of it is verified yet.

    Attributes:
        der: The certificate.
        subject: DER of its subject.
        issuer: DER of its issuer.
        common_name: The subject's common name; empty unless it has exactly one.
        organization: The subject's organization, likewise.
        serial_number: Its serial number.
        not_before: Start of its validity.
        not_after: End of its validity.
        spki: DER SubjectPublicKeyInfo.
        extensions: OIDs and values.
        ca: Whether basic constraints say that it is an authority.
        usages: Key usages; empty if there are none.
        signed: What its signature covers.
        signature: The signature.
    """

    der: bytes
    subject: bytes
    issuer: bytes
    common_name: str
    organization: str
    serial_number: int
    not_before: datetime
    not_after: datetime
    spki: bytes
    extensions: tuple[tuple[str, bytes], ...]
    ca: bool
    usages: frozenset[str]
    signed: bytes
    signature: bytes

    @property
    def spki_sha256(self) -> bytes:
        """SHA-256 of its public key, 32 bytes."""
        return hashlib.sha256(self.spki).digest()


@lru_cache(maxsize=64)
def read_certificate(der: bytes) -> AmdCertificate:
    """Reads one certificate.

    Raises:
        EvidenceRefused: It is no certificate in DER of the form that AMD gives (``quote_format``).
    """
    try:
        return _read(der)
    except UNREADABLE_LAZILY as error:
        raise _refused(
            "quote_format",
            "a certificate of the SNP evidence is malformed",
            expected="X.509 in DER, signed by RSASSA-PSS with SHA-384, as AMD gives it",
            seen=str(error)[:200],
        ) from error


def _read(der: bytes) -> AmdCertificate:
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise ValueError(f"{len(der)} bytes, more than {MAX_CERTIFICATE_BYTES}")
    whole = asn1.Certificate.load(der, strict=True)
    body = whole["tbs_certificate"]
    signed: bytes = body.dump()
    signature: bytes = whole["signature_value"].native
    # No signature covers what surrounds the body, so there must be one encoding of it.
    algorithm = body["signature"].dump()
    outside = algorithm + tlv(0x03, b"\0" + signature)
    if algorithm not in _ALGORITHMS or der != tlv(0x30, signed + outside):
        raise ValueError("another signature algorithm, or another encoding")
    extensions: dict[str, bytes] = {}
    for one in body["extensions"]:
        oid: str = one["extn_id"].dotted
        known = oid in {_BASIC_CONSTRAINTS, _KEY_USAGE}
        if oid in extensions or (one["critical"].native and not known):
            raise ValueError(f"the extension {oid} twice, or critical and unknown")
        extensions[oid] = bytes(one["extn_value"].contents)
    constraints, usage = whole.basic_constraints_value, whole.key_usage_value
    validity = body["validity"]
    return AmdCertificate(
        der=der,
        subject=body["subject"].dump(),
        issuer=body["issuer"].dump(),
        common_name=_name(body["subject"], "common_name"),
        organization=_name(body["subject"], "organization_name"),
        serial_number=int(body["serial_number"].native),
        not_before=_moment(validity["not_before"].native),
        not_after=_moment(validity["not_after"].native),
        spki=body["subject_public_key_info"].dump(),
        extensions=tuple(extensions.items()),
        ca=constraints is not None and bool(constraints["ca"].native),
        usages=frozenset(usage.native if usage is not None else ()),
        signed=signed,
        signature=signature,
    )


def _moment(value: object) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError("a validity without a time zone")
    return value


def _name(name: asn1.Name, kind: str) -> str:
    value: object = name.native.get(kind)
    return value[:128] if isinstance(value, str) else ""


Chain = tuple[AmdCertificate, AmdCertificate, AmdCertificate]


def verify_chain(
    chain: Chain, key: SigningKey, *, roots: AmdRoots, at: datetime, checks: CheckList
) -> Product:
    """Verifies the chain of a signing key: root, roles, signatures, validity; in this order.

    Args:
        chain: The signing key's certificate, that of its CA (ASK or ASVK), the root's (ARK).
        key: The kind of signing key that must be at its beginning.
        roots: The only accepted roots.
        at: Time as of which it is verified.
        checks: Collects the passed checks.

    Returns:
        The product line of its root.

    Raises:
        EvidenceRefused: It fails one of ``CHECKS``.
    """
    root = chain[2]
    pinned = root.spki_sha256
    product = next((PRODUCTS[name] for name, spki in roots.keys.items() if spki == pinned), None)
    if product is None:
        raise EvidenceRefused(
            "vek_chain_root",
            "the chain of the SNP signing key ends at another root",
            expected=f"the key of a root of {roots.vendor}: {', '.join(roots.keys)}",
            seen=f"{root.common_name or 'a root without a name'}, key {pinned.hex()}",
            remedy="accept evidence of this kind only under a contract whose trust.tee says so",
        )
    checks.passed("vek_chain_root", f"the root of {roots.vendor} for {product.name}")
    leaf, ca = _NAMES[key]
    wanted = (leaf, f"{ca}{product.name}", f"ARK-{product.name}")
    for certificate, name in zip(chain, wanted, strict=True):
        _verify_role(certificate, f"{roots.prefix}{name}", roots, is_ca=certificate is not chain[0])
    checks.passed("vek_chain_role", chain[0].common_name)
    if not all(_holds(*pair) for pair in (*pairwise(chain), (root, root))):
        raise _refused(
            "vek_chain_signature",
            "a signature in the chain of the SNP signing key does not hold",
            expected="every certificate signed by the next one (RSASSA-PSS, SHA-384, 4096 bits)",
            seen=" <- ".join(one.common_name for one in chain),
        )
    checks.passed("vek_chain_signature")
    for one in chain:
        if not one.not_before <= at <= one.not_after:
            raise _refused(
                "vek_chain_validity",
                "a certificate of the SNP signing key is not valid now",
                expected=f"{one.common_name} valid at {at.isoformat()}",
                seen=f"valid from {one.not_before.isoformat()} to {one.not_after.isoformat()}",
            )
    checks.passed("vek_chain_validity", f"until {chain_end(chain).isoformat()}")
    return product


def chain_end(chain: Chain) -> datetime:
    """Time at which the first certificate of a chain expires."""
    return min(one.not_after for one in chain)


def _verify_role(one: AmdCertificate, name: str, roots: AmdRoots, *, is_ca: bool) -> None:
    usages = {"key_cert_sign"} if is_ca else set()
    if (
        one.common_name != name
        or one.organization != roots.organization
        or one.ca is not is_ca
        or not usages <= one.usages
    ):
        raise _refused(
            "vek_chain_role",
            "the chain of the SNP signing key holds a certificate with another role",
            expected=f"{name}, {roots.organization}, {'an' if is_ca else 'no'} authority",
            seen=f"{one.common_name}, {one.organization}, {'an' if one.ca else 'no'} authority",
        )


@lru_cache(maxsize=64)
def _holds(certificate: AmdCertificate, issuer: AmdCertificate) -> bool:
    if certificate.issuer != issuer.subject:
        return False
    try:
        key = load_der_public_key(issuer.spki)
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size != _RSA_BITS:
            return False
        key.verify(certificate.signature, certificate.signed, PSS, hashes.SHA384())
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True
