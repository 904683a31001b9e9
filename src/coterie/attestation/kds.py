"""Collateral and certificates from AMD's key distribution service (KDS), or a cache of it, over https.

The service is not trusted: AMD signs what it delivers. Its address is an operator's option; answers
are bounded, and redirects are refused. It limits how often one asks, so callers keep its answers.

Source: AMD Versioned Chip Endorsement Key Certificate and KDS Interface Specification (57230).
"""

from __future__ import annotations

from datetime import datetime

from coterie.attestation.authentic import AnyQuote
from coterie.attestation.pccs import TIMEOUT_SECONDS, HttpsGet, UrllibHttps, require_https
from coterie.attestation.snp.collateral import SnpCollateral
from coterie.attestation.snp.endorsement import SHORT_ID_BYTES
from coterie.attestation.snp.endorsements import checked_vcek, read_ca_chain
from coterie.attestation.snp.products import PRODUCTS, Product, SnpLine
from coterie.attestation.snp.quote import SnpQuote
from coterie.attestation.snp.report import SnpReport
from coterie.attestation.verdict import collateral_refused
from coterie.errors import EnvironmentUnfit
from coterie.kinds import SigningKey


class KdsCollateral:
    """AMD's key distribution service.

    Args:
        url: Its address, https only.
        http: The transport; TLS with the system's CA certificates unless given.

    Raises:
        EnvironmentUnfit: The address is not https.
    """

    def __init__(self, url: str, *, http: HttpsGet | None = None) -> None:
        self._base = url.rstrip("/")
        require_https(self._base)
        self._http = http or UrllibHttps()

    def collateral_for(self, quote: AnyQuote, at: datetime) -> SnpCollateral:  # noqa: ARG002 - protocol
        """Fetches the current revocation list of the evidence's product line.

        Raises:
            EvidenceRefused: The quote is no SNP evidence (check ``collateral_missing``).
            EnvironmentUnfit: The service cannot be reached or does not have it.
        """
        hardware = quote.hardware
        if not isinstance(hardware, SnpQuote):
            raise collateral_refused(
                "collateral_missing",
                "AMD's service has no collateral of Intel's platforms",
                expected="SNP evidence, or --pccs-url",
                seen="a DCAP quote",
            )
        return self.fetch(hardware.platform())

    def fetch(self, line: SnpLine) -> SnpCollateral:
        """Fetches the current revocation list of a product line and kind of signing key."""
        return SnpCollateral(self._get(f"{line.key}/v1/{line.product.capitalize()}/crl"))

    def check(self) -> None:
        """Checks that the service speaks the protocol, with a resource common to all platforms.

        Raises:
            EnvironmentUnfit: The service cannot be reached, or answers with something else.
        """
        self.ca_chain(PRODUCTS["Milan"], "vcek")

    def ca_chain(self, product: Product, key: SigningKey) -> tuple[bytes, bytes]:
        """Fetches the certificates of a product line's CA and root, DER."""
        path = f"{key}/v1/{product.name}/cert_chain"
        return read_ca_chain(self._get(path), f"{self._base}/{path}")

    def vcek(self, product: Product, report: SnpReport) -> bytes:
        """Fetches the certificate of a chip's own key for the reported TCB, DER."""
        tcb = product.tcb(report.reported_tcb)
        if tcb is None or not any(report.chip_id):
            raise EnvironmentUnfit(
                "the certificate of this guest's VCEK cannot be asked for",
                expected="a report that names the chip and its TCB",
                seen=f"chip {report.chip_id.hex()[:32]}, TCB {report.reported_tcb.hex()}",
                remedy="let the host not hide the chip's id (MASK_CHIP_ID), or give the certificate itself",
            )
        chip = report.chip_id[:SHORT_ID_BYTES] if product.short_id else report.chip_id
        fmc = "" if tcb.fmc is None else f"fmcSPL={tcb.fmc:02}&"
        levels = (
            f"{fmc}blSPL={tcb.bootloader:02}&teeSPL={tcb.tee:02}"
            f"&snpSPL={tcb.snp:02}&ucodeSPL={tcb.microcode:02}"
        )
        path = f"vcek/v1/{product.name}/{chip.hex()}"
        return checked_vcek(self._get(f"{path}?{levels}"), f"{self._base}/{path}")

    def _get(self, path: str) -> bytes:
        return self._http.get(f"{self._base}/{path}", TIMEOUT_SECONDS).body
