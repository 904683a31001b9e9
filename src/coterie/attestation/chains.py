"""Certificate chains and revocation lists, with the roles that the verifier library ignores.

DCAP's library only checks that a chain ends at the root; it would accept TCB info signed by a
platform's own PCK key. Here each chain must have an exact shape, and every certificate the name of
its role.
Sources: RFC 5280; Intel SGX PCK Certificate and CRL Profile Specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from coterie.attestation.names import attribute, common_name
from coterie.attestation.pem import PemMalformed, parse_chain
from coterie.attestation.roots import TrustRoot
from coterie.attestation.verdict import CheckList, collateral_refused
from coterie.errors import EvidenceRefused
from coterie.unreadable import UNREADABLE

LONGEST_CHAIN = 4


@dataclass(frozen=True)
class ChainRule:
    """The required shape of a chain.

    Attributes:
        check: First part of its checks' names.
        names: Accepted common names, leaf first, without the root's.
        crl_signer: Whether the leaf is a CA that signs a CRL (otherwise it is not a CA).
    """

    check: str
    names: tuple[tuple[str, ...], ...]
    crl_signer: bool = False


def pck_chain_rule(root: TrustRoot) -> ChainRule:
    """The required shape of the chain in a quote under a root."""
    return ChainRule("pck_chain", ((root.names.pck,), root.names.pck_cas))


def read_chain(text: str, rule: ChainRule) -> tuple[x509.Certificate, ...]:
    """Reads a PEM chain. Its length is checked later, with the roles.

    Raises:
        EvidenceRefused: It is not a plain PEM chain (check ``<rule.check>_format``).
    """
    try:
        return parse_chain(text, LONGEST_CHAIN)
    except PemMalformed as error:
        raise collateral_refused(
            f"{rule.check}_format",
            f"the {_words(rule)} is malformed",
            expected="certificates in PEM, the root last",
            seen=str(error),
        ) from error


def verify_chain(
    chain: tuple[x509.Certificate, ...],
    rule: ChainRule,
    *,
    root: TrustRoot,
    at: datetime,
    checks: CheckList,
) -> None:
    """Verifies a chain: root, roles, signatures, validity; in this order.

    Args:
        chain: Leaf first, root last.
        rule: Its required shape.
        root: The only accepted root.
        at: Time as of which it is verified.
        checks: Collects the passed checks.

    Raises:
        EvidenceRefused: It fails a check, named ``<rule.check>_<root|role|signature|validity>``.
    """
    if not _is_root(chain[-1], root):
        raise EvidenceRefused(
            f"{rule.check}_root",
            f"the {_words(rule)} ends at another root",
            expected=f"the root of {root.vendor}: its name, its key, signed with that key",
            seen=common_name(chain[-1].subject) or "a root without a name",
            remedy="accept evidence of this kind only under a contract whose trust.tee says so",
        )
    checks.passed(f"{rule.check}_root", f"the root of {root.vendor}")
    _verify_role(chain[-1], (root.names.root,), rule, root, is_ca=True)
    for i, (certificate, names) in enumerate(zip(chain, rule.names, strict=False)):
        _verify_role(certificate, names, rule, root, is_ca=i > 0 or rule.crl_signer)
    if len(chain) != len(rule.names) + 1:
        raise _wrong_role(rule, f"{len(rule.names) + 1} certificates", f"{len(chain)}")
    checks.passed(f"{rule.check}_role", common_name(chain[0].subject))
    # The root's own signature was checked with its identity, above.
    if not all(_signature_holds(*pair) for pair in pairwise(chain)):
        raise collateral_refused(
            f"{rule.check}_signature",
            f"a signature in the {_words(rule)} does not hold",
            expected="every certificate signed by the next one (ECDSA P-256, SHA-256)",
            seen=" <- ".join(common_name(cert.subject) for cert in chain),
        )
    checks.passed(f"{rule.check}_signature")
    for certificate in chain:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not start <= at <= end:
            raise collateral_refused(
                f"{rule.check}_validity",
                f"a certificate in the {_words(rule)} is not valid now",
                expected=f"{common_name(certificate.subject)} valid at {at.isoformat()}",
                seen=f"valid from {start.isoformat()} to {end.isoformat()}",
            )
    checks.passed(f"{rule.check}_validity", f"until {chain_end(chain).isoformat()}")


def _is_root(certificate: x509.Certificate, root: TrustRoot) -> bool:
    """Whether a certificate is the trust anchor's, by name and key (RFC 5280, 6.1.1).

    Intel has certified its root's key twice, with different validity, and both certificates occur
    in quotes. Any other certificate of the root must bear the root's own signature.
    """
    if certificate.public_bytes(Encoding.DER) == root.certificate:
        return True
    anchor = _anchor(root.certificate)
    return (
        certificate.subject == certificate.issuer == anchor.subject
        and certificate.public_key() == anchor.public_key()
        and _signature_holds(certificate, certificate)
    )


@lru_cache(maxsize=8)
def _anchor(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


def chain_end(chain: tuple[x509.Certificate, ...]) -> datetime:
    """Time at which the first certificate of a chain expires."""
    return min(certificate.not_valid_after_utc for certificate in chain)


def _verify_role(
    certificate: x509.Certificate,
    names: tuple[str, ...],
    rule: ChainRule,
    root: TrustRoot,
    *,
    is_ca: bool,
) -> None:
    common = common_name(certificate.subject)
    organization = attribute(certificate.subject, NameOID.ORGANIZATION_NAME)
    if common not in names or organization != root.names.organization:
        raise _wrong_role(
            rule, f"{' or '.join(names)}, {root.names.organization}", f"{common}, {organization}"
        )
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise _wrong_role(rule, "basic constraints and key usage", "neither or one") from error
    if constraints.ca is not is_ca:
        raise _wrong_role(rule, f"CA: {is_ca}", f"CA: {constraints.ca}")
    wanted = usage.key_cert_sign and usage.crl_sign if is_ca else usage.digital_signature
    if not wanted:
        raise _wrong_role(
            rule, "certificate and CRL signing" if is_ca else "signing", "another key usage"
        )


def _wrong_role(rule: ChainRule, expected: str, seen: str) -> EvidenceRefused:
    return EvidenceRefused(
        f"{rule.check}_role",
        f"the {_words(rule)} holds a certificate with another role",
        expected,
        seen,
        remedy="do not trust this source of collateral; fetch it from the vendor",
    )


@lru_cache(maxsize=128)
def _signature_holds(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        return False
    if not isinstance(certificate.signature_hash_algorithm, hashes.SHA256):
        return False
    # Refuse other encodings of the signature: its first octet counts unused bits (X.690, 8.6.2.2).
    if not certificate.public_bytes(Encoding.DER).endswith(b"\0" + certificate.signature):
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return False
    except UNREADABLE:
        return False
    return True


def _words(rule: ChainRule) -> str:
    return rule.check.replace("_", " ")
