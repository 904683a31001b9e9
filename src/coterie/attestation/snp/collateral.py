"""AMD's collateral for SNP evidence: the revocation list of a product line's root, as AMD signed it.

Sources of collateral are asked by product line and kind of signing key: AMD publishes one list for
each of both CAs of a product line.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from coterie.attestation.collateral import JsonCollateral
from coterie.attestation.revocation import read_crl
from coterie.attestation.snp.products import PRODUCTS
from coterie.attestation.snp.quote import SnpQuote
from coterie.errors import EvidenceRefused
from coterie.kinds import SigningKey


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


@dataclass(frozen=True)
class SnpFreshness:
    """When the list was issued, and when it expires."""

    newest: datetime
    expiry: datetime


@dataclass(frozen=True)
class SnpLine:
    """The key by which AMD's collateral is looked up.

    Attributes:
        tee: Always ``snp``.
        product: The product line, lower case.
        key: The kind of signing key.
    """

    product: str
    key: SigningKey
    tee: str = "snp"

    @property
    def name(self) -> str:
        """The name of its collateral's files."""
        return f"{self.tee}-{self.product}-{self.key}"


def line_of(quote: SnpQuote) -> SnpLine:
    """Reads from evidence which collateral it needs; nothing is verified.

    Raises:
        EvidenceRefused: Its CA is of no product line that is known (check ``vek_chain_role``).
    """
    name = quote.chain[1].common_name
    product = next((product for product in PRODUCTS if name.endswith(f"-{product}")), None)
    if product is None:
        raise EvidenceRefused(
            "vek_chain_role",
            "the CA of the SNP signing key names no product line that is known",
            expected=" or ".join(PRODUCTS),
            seen=name or "a CA without a name",
            remedy="update Coterie, or do not use this platform",
        )
    return SnpLine(product.lower(), quote.report.signing_key)


def snp_freshness(collateral: SnpCollateral) -> SnpFreshness:
    """Reads the dates of collateral; no signature is checked.

    Raises:
        EvidenceRefused: The list is malformed.
    """
    crl = read_crl(collateral.amd_crl, "root_crl")
    end = crl.last_update_utc if crl.next_update_utc is None else crl.next_update_utc
    return SnpFreshness(crl.last_update_utc, end)


def newest_snp(held: SnpCollateral, candidate: SnpCollateral) -> SnpCollateral:
    """The newer one of two pieces of genuine collateral for one product line."""
    newer = snp_freshness(candidate).newest > snp_freshness(held).newest
    return candidate if newer else held
