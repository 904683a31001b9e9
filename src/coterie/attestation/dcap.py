"""The interface to dcap-qvl, which does DCAP's cryptography and matches TCB levels.

It is called after our own checks of framing, roles and revocation. Its refusals are sentences,
which are mapped to names of checks here. An unknown sentence is also a refusal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import dcap_qvl

from coterie.attestation.authentic import TcbLevel, TcbState
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
    ("the current TDX TCB", "tdx_module"),
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


def verify_quote(quote: bytes, collateral: Collateral, root: TrustRoot, at: datetime) -> TcbState:
    """Verifies signatures and matches TCB levels.

    Args:
        quote: The quote without padding.
        collateral: Its collateral.
        root: The only accepted root.
        at: Time as of which it is verified.

    Raises:
        EvidenceRefused: dcap-qvl refuses; one of ``CHECKS``.
    """
    try:
        moment = int(at.timestamp())
        claims = dcap_qvl.QuoteVerifier(root.certificate).verify_with_policy(
            quote,
            _native(collateral),
            moment,
            # All policies are applied in policy.py.
            dcap_qvl.QuotePolicy.claims_only(moment),
        )
        return _state(json.loads(claims.to_json()))
    except (ValueError, OverflowError) as error:
        sentence = str(error).removeprefix("Verification failed: ")[:300]
        raise _refusal(sentence) from error


def _state(claims: dict[str, dict[str, object]]) -> TcbState:
    """Reads the claims; refuses the form of an untested version of dcap-qvl.

    Raises:
        ValueError: They are not as dcap-qvl 0.7 writes them.
    """
    try:
        tcb = claims["tcb"]
        return TcbState(
            _text(tcb["status"]),
            _texts(tcb["advisory_ids"]),
            tuple(
                _level(part, claims[key]["tcb_level"])
                for part, key in (("platform", "platform"), ("quoting enclave", "qe"))
            ),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"claims of another form: {error!r}") from error


def _level(part: str, level: object) -> TcbLevel:
    if not isinstance(level, dict):
        raise TypeError(f"the level of the {part} is no object")
    date = datetime.fromisoformat(_text(level["tcbDate"]))
    if date.tzinfo is None:
        raise ValueError(f"the level of the {part} has a date without a zone")
    return TcbLevel(part, _text(level["tcbStatus"]), date)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"a list expected, not {type(value).__name__}")
    return tuple(sorted(_text(item) for item in value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, not {type(value).__name__}")
    return value


@dataclass(frozen=True)
class PlatformIdentity:
    """The platform's properties in a PCK certificate.

    Attributes:
        fmspc: Platform family, 6 bytes.
        ppid: The platform, 16 bytes.
        pce_id: Provisioning enclave, 2 bytes.
        smt: Whether simultaneous multithreading is on; None if the certificate does not say.
        dynamic_platform: Whether packages can be added to it; None likewise.
        cached_keys: Whether Intel's registration service keeps its keys; None likewise.
    """

    fmspc: bytes
    ppid: bytes
    pce_id: bytes
    smt: bool | None
    dynamic_platform: bool | None
    cached_keys: bool | None

    @property
    def family(self) -> str:
        """The platform family, hex."""
        return self.fmspc.hex()

    @property
    def identifier(self) -> str:
        """The platform, hex."""
        return self.ppid.hex()


def platform_identity(pck_chain_pem: str) -> PlatformIdentity:
    """Reads a PCK certificate's SGX extension.

    Args:
        pck_chain_pem: Canonical PEM, the PCK certificate first.

    Raises:
        EvidenceRefused: The extension is missing or malformed (check ``pck_extension``).
    """
    try:
        extension = dcap_qvl.parse_pck_extension_from_pem(pck_chain_pem.encode())
        dynamic, cached, smt = (_flag(extension, number) for number in (1, 2, 3))
        return PlatformIdentity(
            bytes(extension.fmspc),
            bytes(extension.ppid),
            bytes(extension.pce_id),
            smt=smt,
            dynamic_platform=dynamic,
            cached_keys=cached,
        )
    except ValueError as error:
        raise EvidenceRefused(
            "pck_extension",
            "the PCK certificate does not say which platform it is for",
            expected="the SGX extension 1.2.840.113741.1.13.1",
            seen=str(error)[:200],
            remedy="do not use this platform",
        ) from error


def _flag(extension: dcap_qvl.PckExtension, number: int) -> bool | None:
    """A flag of the extension's configuration (SGX PCK Certificate Profile, 1.3.5)."""
    value = extension.get_value(f"1.2.840.113741.1.13.1.7.{number}")
    # DER has exactly two encodings of a boolean; any other counts as absent.
    return {b"\xff": True, b"\0": False}.get(bytes(value)) if value is not None else None


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
