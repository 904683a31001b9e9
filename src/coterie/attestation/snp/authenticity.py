"""Authenticates SNP evidence: with the chain that it brings, then with AMD's revocation list.

The rules, in order; the first broken rule names the refusal:

1. the evidence is framed strictly and is of the demanded kind of TEE;
2. the guest's policy allows neither debugging nor migration agents;
3. the signing key's chain has its root, roles, signatures and validity;
4. its certificate is for the product line, TCB and chip that the report names;
5. the report bears the signing key's signature;
6. the TCB versions fit together;
7. the root's revocation list is present, by that root, current, and names no certificate of an
   authority. AMD cannot revoke single signing keys, all of which have the serial number 0: a higher
   TCB takes the place of a leaked key's.

All but the last need no collateral. Time is an argument.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from coterie.attestation.authentic import AuthenticEvidence, TcbState
from coterie.attestation.revocation import read_crl, verify_crl, verify_not_revoked
from coterie.attestation.snp import certificates, endorsement, platform
from coterie.attestation.snp.collateral import SnpCollateral
from coterie.attestation.snp.platform import SnpPlatform
from coterie.attestation.snp.quote import SnpQuote
from coterie.attestation.snp.roots import AmdRoots
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused
from coterie.kinds import TeeKind
from coterie.unreadable import UNREADABLE

REVOCATIONS = ("root_revocation", "vek_ca_revocation")
OF_THE_QUOTE = (
    *platform.GUEST_CHECKS,
    *certificates.CHECKS,
    *endorsement.CHECKS,
    "quote_signature",
    *platform.PLATFORM_CHECKS,
)
CHECKS = (*OF_THE_QUOTE, "root_crl_format", "root_crl_issuer", "root_crl_validity", *REVOCATIONS)


def screen_snp(quote: SnpQuote, *, roots: AmdRoots, at: datetime, checks: CheckList) -> SnpPlatform:
    """Makes all checks of SNP evidence that need no collateral; rules 2 to 6.

    Returns:
        The platform that made it, whatever AMD says now of its keys.

    Raises:
        EvidenceRefused: It fails one of ``OF_THE_QUOTE``.
    """
    report = quote.report
    platform.verify_guest(report, checks)
    product = certificates.verify_chain(
        quote.chain, report.signing_key, roots=roots, at=at, checks=checks
    )
    leaf = quote.chain[0]
    endorsed = endorsement.verify_endorsement(leaf, report, product, checks)
    if not _signed(leaf.spki, report.signature, report.signed):
        raise EvidenceRefused(
            "quote_signature",
            "the SNP report's signature does not hold",
            expected=f"the report, signed by the key of {leaf.common_name} (ECDSA P-384, SHA-384)",
            seen="another signature, or one over other bytes",
            remedy="no genuine platform makes such a report: find out who answers there",
        )
    checks.passed("quote_signature")
    return platform.verify_platform(report, endorsed, checks)


def authenticate_snp(
    quote: SnpQuote,
    collateral: SnpCollateral,
    *,
    kind: TeeKind,
    roots: AmdRoots,
    at: datetime,
    checks: CheckList,
) -> AuthenticEvidence:
    """Authenticates SNP evidence of the demanded kind; rules 2 to 7.

    Raises:
        EvidenceRefused: It fails one of ``CHECKS``.
    """
    made_by = screen_snp(quote, roots=roots, at=at, checks=checks)
    ca, root = (_authority(one.der) for one in quote.chain[1:])
    crl = read_crl(collateral.amd_crl, "root_crl")
    checks.passed("root_crl_format")
    end = verify_crl(crl, "root_crl", issuer=root, at=at, checks=checks)
    verify_not_revoked((root,), crl, "root_revocation", checks)
    verify_not_revoked((ca,), crl, "vek_ca_revocation", checks)
    return AuthenticEvidence(
        kind=kind,
        quote=quote,
        # AMD publishes no status of TCBs, nor advisories of single ones: the contract has floors.
        tcb=TcbState(str(made_by.committed), (), ()),
        platform=made_by,
        evaluation_number=0,
        expiry=min(end, certificates.chain_end(quote.chain)),
        at=at,
        checks=checks.checks,
    )


@lru_cache(maxsize=16)
def _authority(der: bytes) -> x509.Certificate:
    """The certificate of an authority, whose chain was verified, for the code of revocation lists."""
    try:
        return x509.load_der_x509_certificate(der)
    except UNREADABLE as error:
        raise EvidenceRefused(
            "vek_chain_role",
            "a certificate of an authority of the SNP signing key cannot be read",
            expected="X.509 (RFC 5280)",
            seen=str(error)[:200],
            remedy="do not use this platform",
        ) from error


def _signed(spki: bytes, signature: tuple[int, int], content: bytes) -> bool:
    try:
        key = load_der_public_key(spki)
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
            key.curve, ec.SECP384R1
        ):
            return False
        key.verify(encode_dss_signature(*signature), content, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        return False
    except UNREADABLE:
        return False
    return True
