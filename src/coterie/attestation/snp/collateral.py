"""AMD's collateral for SNP evidence: the revocation list of a product line's root, as AMD signed it.

Sources of collateral are asked by product line and kind of signing key: AMD publishes one list for
each of both CAs of a product line.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from coterie.attestation.authentic import AnyCollateral, AnyQuote
from coterie.attestation.json_collateral import JsonCollateral
from coterie.attestation.revocation import read_crl
from coterie.attestation.snp.quote import SnpQuote
from coterie.unreadable import UNREADABLE


@dataclass(frozen=True)
class SnpFreshness:
    """When the list was issued, and when it expires."""

    newest: datetime
    expiry: datetime


@dataclass(frozen=True)
class SnpCollateral(JsonCollateral):
    """All that is needed besides the evidence itself.

    Attributes:
        amd_crl: DER CRL of the root (ARK).

    Raises:
        EvidenceRefused: It is missing or out of bounds (check ``collateral_format``).
    """

    BINARY = ("amd_crl",)

    amd_crl: bytes

    def freshness(self) -> SnpFreshness:
        """Reads its dates; no signature is checked.

        Raises:
            EvidenceRefused: The list is malformed.
        """
        crl = read_crl(self.amd_crl, "root_crl")
        end = crl.last_update_utc if crl.next_update_utc is None else crl.next_update_utc
        return SnpFreshness(crl.last_update_utc, end)

    def renewed_by(self, candidate: AnyCollateral) -> AnyCollateral:
        """The newer one of two pieces of genuine collateral for one product line."""
        if not isinstance(candidate, SnpCollateral):
            return candidate
        newer = candidate.freshness().newest > self.freshness().newest
        return candidate if newer else self

    def is_for(self, quote: AnyQuote) -> bool:
        """Whether its list is by the root that a quote names."""
        hardware = quote.hardware
        if not isinstance(hardware, SnpQuote):
            return False
        crl = read_crl(self.amd_crl, "root_crl")
        try:
            root = x509.load_der_x509_certificate(hardware.chain[-1].der)
            return crl.issuer == root.subject
        except UNREADABLE:
            return False
