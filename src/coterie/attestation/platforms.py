"""Finds the collateral that a DCAP quote needs: its kind of TEE, platform family and PCK CA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cryptography import x509
from cryptography.x509.oid import NameOID


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


def ca_of(pck: x509.Certificate) -> Literal["platform", "processor"]:
    """Which of the two PCK CAs issued a certificate, by its issuer's name."""
    issuer = pck.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    processor = any("Processor" in str(name.value) for name in issuer)
    return "processor" if processor else "platform"
