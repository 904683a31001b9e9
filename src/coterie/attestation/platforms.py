"""Finds the collateral that a quote needs: its kind of TEE, platform family and PCK CA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cryptography.x509.oid import NameOID

from coterie.attestation import dcap
from coterie.attestation.authentic import AnyQuote
from coterie.attestation.quote import TEE_TDX
from coterie.attestation.snp.collateral import SnpLine, line_of
from coterie.attestation.snp.quote import SnpQuote
from coterie.attestation.vtpm.quote import hardware_of


@dataclass(frozen=True)
class Platform:
    """The key by which collateral of DCAP is looked up.

    Attributes:
        tee: ``sgx`` or ``tdx``: selects TCB info and QE identity.
        fmspc: Platform family, 12 lower-case hex digits.
        ca: ``platform`` or ``processor``: selects the PCK CRL.
    """

    tee: Literal["sgx", "tdx"]
    fmspc: str
    ca: Literal["platform", "processor"]

    @property
    def name(self) -> str:
        """The name of its collateral's files."""
        return f"{self.tee}-{self.fmspc}-{self.ca}"


AnyPlatform = Platform | SnpLine


def platform_of(quote: AnyQuote) -> AnyPlatform:
    """Reads from a quote which collateral it needs; nothing is verified.

    Raises:
        EvidenceRefused: The PCK certificate does not name its platform (check ``pck_extension``), or
            that of an SNP signing key's CA no product line (``vek_chain_role``).
    """
    hardware = hardware_of(quote)
    if isinstance(hardware, SnpQuote):
        return line_of(hardware)
    fmspc = dcap.platform_identity(hardware.pck_chain_pem).fmspc
    issuer = hardware.pck_chain[0].issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    processor = any("Processor" in str(name.value) for name in issuer)
    return Platform(
        tee="tdx" if hardware.tee_type == TEE_TDX else "sgx",
        fmspc=fmspc.hex(),
        ca="processor" if processor else "platform",
    )
