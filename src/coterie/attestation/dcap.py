"""The seam to dcap-qvl, which does DCAP's cryptography and matches TCB levels.

It is called after our own checks of framing, roles and revocation. Its refusals are sentences;
they are mapped to names of checks here, and a sentence that is not known stays a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import dcap_qvl

from coterie.attestation.collateral import Collateral
from coterie.attestation.roots import TrustRoot
from coterie.errors import EvidenceRefused

# Sentences of dcap-qvl 0.7 and the check that each one fails, most specific first.
_SENTENCES = (
    ("Signature is invalid for tcb_info", "tcb_info_signature"),
    ("Signature is invalid for qe_identity", "qe_identity_signature"),
    ("Signature is invalid for qe_report", "quoting_enclave_signature"),
    ("QE report hash mismatch", "quoting_enclave_binding"),
    ("ISV enclave report signature is invalid", "quote_signature"),
    ("TDX module", "tdx_module"),
    ("No matching TCB level found", "tcb_level"),
    ("TCB status is invalid", "tcb_level"),
    ("QE ", "quoting_enclave_identity"),
)
CHECKS = (
    "tcb_info_signature",
    "qe_identity_signature",
    "quoting_enclave_signature",
    "quoting_enclave_binding",
    "quoting_enclave_identity",
    "quote_signature",
    "tcb_level",
    "tdx_module",
    "dcap",
)


@dataclass(frozen=True)
class TcbState:
    """State of the platform that made a quote.

    Attributes:
        status: Worst status of platform, quoting enclave and TDX module.
        advisories: Open advisories, sorted.
        ppid: Platform id, as the PCK certificate has it.
    """

    status: str
    advisories: tuple[str, ...]
    ppid: bytes


def verify_quote(quote: bytes, collateral: Collateral, root: TrustRoot, at: datetime) -> TcbState:
    """Verifies signatures and matches TCB levels.

    Args:
        quote: The quote without padding.
        collateral: Its collateral.
        root: The only root that counts.
        at: The moment that counts.

    Raises:
        EvidenceRefused: dcap-qvl refuses; one of ``CHECKS``.
    """
    try:
        report = dcap_qvl.verify_with_root_ca(
            quote, _native(collateral), root.certificate, int(at.timestamp())
        )
        return TcbState(
            str(report.status),
            tuple(sorted(str(advisory) for advisory in report.advisory_ids)),
            bytes(report.ppid),
        )
    except (ValueError, OverflowError) as error:
        sentence = str(error).removeprefix("Verification failed: ")[:300]
        raise _refusal(sentence) from error


def platform_identity(pck_chain_pem: str) -> tuple[bytes, bytes]:
    """FMSPC (6 bytes) and PCE id (2 bytes) of a PCK certificate's SGX extension.

    Raises:
        EvidenceRefused: The extension is missing or malformed (check ``pck_extension``).
    """
    try:
        extension = dcap_qvl.parse_pck_extension_from_pem(pck_chain_pem.encode())
        return bytes(extension.fmspc), bytes(extension.pce_id)
    except ValueError as error:
        raise EvidenceRefused(
            "pck_extension",
            "the PCK certificate does not say which platform it is for",
            expected="the SGX extension 1.2.840.113741.1.13.1",
            seen=str(error)[:200],
            remedy="do not use this platform",
        ) from error


@lru_cache(maxsize=16)
def _native(collateral: Collateral) -> dcap_qvl.QuoteCollateralV3:
    return dcap_qvl.QuoteCollateralV3.from_json(collateral.to_json())


def _refusal(sentence: str) -> EvidenceRefused:
    check = next((name for part, name in _SENTENCES if part in sentence), "dcap")
    return EvidenceRefused(
        check,
        "the quote's signatures or TCB level do not hold",
        expected="what the vendor's signed collateral describes",
        seen=sentence,
        remedy="update the platform's firmware if the TCB level is the reason, else distrust it",
    )
