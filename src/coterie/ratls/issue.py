"""Issues a node's certificate: self-signed, short-lived, with evidence for its key."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from coterie.ratls.certificate import MAX_LIFETIME
from coterie.ratls.evidence import INTEROPERABLE_OID, InteroperableEvidence

# Never resolves (RFC 6761), so only an explicit expectation can match such a name.
DNS_SUFFIX = "coterie.invalid"
_CLOCK_SKEW = timedelta(minutes=5)


def spki_der(key: ec.EllipticCurvePublicKey) -> bytes:
    """The key's DER SubjectPublicKeyInfo."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def dns_name(node: str, key: ec.EllipticCurvePublicKey) -> str:
    """The DNS name of a node's key.

    It also names the key, so that a server can hold its old certificate beside a renewed one and
    select by the name that the client requests (SNI, RFC 6066, 3).
    """
    return f"k{hashlib.sha256(spki_der(key)).hexdigest()[:16]}.{node}.{DNS_SUFFIX}"


def issue_certificate(
    key: ec.EllipticCurvePrivateKey,
    evidence: InteroperableEvidence,
    *,
    node: str,
    party: str,
    at: datetime,
    lifetime: timedelta,
    serial: int,
) -> bytes:
    """Issues a self-signed certificate.

    Args:
        key: The node's key.
        evidence: Evidence whose claims are for this key.
        node: The node's name, into subject and DNS name.
        party: The node's party, into the subject.
        at: The time now, UTC; validity starts a little earlier, since clocks differ.
        lifetime: From start to end of validity.
        serial: Positive serial number of at most 159 bits, never used before; it makes the
            subject unique, since verifiers find trusted certificates by subject.

    Returns:
        The certificate in DER.

    Raises:
        ValueError: The lifetime is not positive or longer than 24 hours.
    """
    if not timedelta(0) < lifetime <= MAX_LIFETIME:
        raise ValueError(f"a certificate may live up to {MAX_LIFETIME}, not {lifetime}")
    start = (at - min(_CLOCK_SKEW, lifetime / 10)).replace(microsecond=0)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, party),
            x509.NameAttribute(NameOID.COMMON_NAME, node),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{serial:040x}"),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_DIGITAL_SIGNATURE, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(dns_name(node, key.public_key()))]),
            critical=False,
        )
        .add_extension(
            x509.UnrecognizedExtension(
                ObjectIdentifier(INTEROPERABLE_OID), evidence.to_extension()
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.DER)


def stray_certificate_pem(at: datetime) -> bytes:
    """A certificate whose private key was discarded; PEM.

    For TLS libraries that need at least one trusted certificate when none should be trusted.

    Args:
        at: The time now, UTC.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at)
        .not_valid_after(at + timedelta(seconds=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


_DIGITAL_SIGNATURE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
