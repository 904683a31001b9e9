"""Whether collateral is for a quote's platform family; nothing is verified."""

from __future__ import annotations

from cryptography import x509

from coterie.attestation.authentic import AnyCollateral, AnyQuote
from coterie.attestation.platforms import Platform, platform_of
from coterie.attestation.revocation import read_crl
from coterie.attestation.snp.collateral import SnpCollateral
from coterie.attestation.snp.quote import SnpQuote
from coterie.attestation.statements import parse_statement
from coterie.attestation.vtpm.quote import hardware_of


def is_for(collateral: AnyCollateral, quote: AnyQuote) -> bool:
    """Whether collateral names the platform family, or the root, of a quote.

    Raises:
        EvidenceRefused: The collateral or the quote is malformed.
    """
    hardware = hardware_of(quote)
    if isinstance(hardware, SnpQuote):
        if not isinstance(collateral, SnpCollateral):
            return False
        crl = read_crl(collateral.amd_crl, "root_crl")
        return crl.issuer == x509.load_der_x509_certificate(hardware.chain[-1].der).subject
    platform = platform_of(quote)
    if isinstance(collateral, SnpCollateral) or not isinstance(platform, Platform):
        return False
    info = parse_statement(collateral.tcb_info, "tcb_info")
    # A family may run enclaves and trust domains, each with TCB info of its own.
    return (info.identity.lower(), info.fmspc.hex()) == (platform.tee, platform.fmspc)
