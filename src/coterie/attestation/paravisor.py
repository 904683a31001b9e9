"""The TCB state of the trust domain of a paravisor, which dcap-qvl refuses for its attributes.

dcap-qvl accepts no trust domain without SEPT_VE_DISABLE, and Azure's paravisor runs without it. That
objection hides whatever dcap-qvl would say after it, and the state that it found. So everything that
its other sentences stand for is checked here once more, from the same signed statements, and dcap-qvl
may have no other objection than this one. Tests compare both on trust domains that it accepts.

Source: Intel PCS API v4, "Get TCB Info" and "Get Quoting Enclave Identity".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import dcap_qvl

from coterie.attestation import dcap
from coterie.attestation.authentic import TcbLevel, TcbState
from coterie.attestation.chains import LONGEST_CHAIN
from coterie.attestation.collateral import Collateral
from coterie.attestation.pem import parse_chain
from coterie.attestation.quote import Quote
from coterie.attestation.quote_signatures import signed_p256, verify_quote_signatures
from coterie.attestation.reports import EnclaveReport, TdReport
from coterie.attestation.roots import TrustRoot
from coterie.attestation.statements import moment_of, octets_of, typed
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused

_OBJECTION = "SEPT_VE_DISABLE is not enabled"
_REVOKED = "Revoked"
# The state of a platform, and the state if its quoting enclave or TDX module is out of date.
_LATE = {
    "UpToDate": "OutOfDate",
    "SWHardeningNeeded": "OutOfDate",
    "ConfigurationNeeded": "OutOfDateConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded": "OutOfDateConfigurationNeeded",
    "OutOfDate": "OutOfDate",
    "OutOfDateConfigurationNeeded": "OutOfDateConfigurationNeeded",
}
_OUT_OF_DATE = ("OutOfDate", "OutOfDateConfigurationNeeded")
_OF_PARTS = ("UpToDate", "OutOfDate")
_COMPONENTS = 16
_QE_DEBUG = 1 << 1
_Json = dict[str, object]


def verify_paravisor(
    quote: Quote, collateral: Collateral, root: TrustRoot, at: datetime
) -> TcbState:
    """Verifies a quote whose chains, revocation and statements were verified, as `dcap.verify_quote` does.

    Raises:
        EvidenceRefused: One of ``dcap.CHECKS``.
    """
    try:
        return dcap.verify_quote(quote.canonical, collateral, root, at)
    except EvidenceRefused as error:
        if error.seen != _OBJECTION:
            raise
    return state_of(quote, collateral)


def state_of(quote: Quote, collateral: Collateral) -> TcbState:
    """Verifies all signatures below the chains, and finds the state of the platform.

    Raises:
        EvidenceRefused: One of ``dcap.CHECKS``.
    """
    for check, chain, text, signature in (
        (
            "tcb_info_signature",
            collateral.tcb_info_issuer_chain,
            collateral.tcb_info,
            collateral.tcb_info_signature,
        ),
        (
            "qe_identity_signature",
            collateral.qe_identity_issuer_chain,
            collateral.qe_identity,
            collateral.qe_identity_signature,
        ),
    ):
        signer = parse_chain(chain, LONGEST_CHAIN)[0]
        if not signed_p256(signer.public_key(), signature, text.encode()):
            raise _refused(check, "a statement that the TCB signer has signed", "another signature")
    verify_quote_signatures(quote, CheckList())
    report = quote.report
    if not isinstance(report, TdReport):
        raise _refused("dcap", "a trust domain", "an enclave")
    with _reading():
        info, identity = (json.loads(one) for one in (collateral.tcb_info, collateral.qe_identity))
        enclave = _enclave(_object(identity), quote.qe_report)
        _verify_module(_object(info), report)
        platform = _platform(_object(info), report.tee_tcb_svn, quote.pck_chain_pem)
        whole = platform.with_part(enclave)
        status = whole.status
        if report.tee_tcb_svn_2 is not None:  # the TDX module was updated under a running guest
            now = _platform(_object(info), report.tee_tcb_svn_2, quote.pck_chain_pem)
            status = _relaunched(status, now.with_part(enclave).status)
    levels = (
        TcbLevel("platform", platform.status, platform.date),
        TcbLevel("quoting enclave", enclave.status, enclave.date),
    )
    return TcbState(status, tuple(sorted(set(whole.advisories))), levels)


def _relaunched(launched: str, current: str) -> str:
    """The state of a platform by what it was when the guest was launched, and by what it is now."""
    if launched not in _OUT_OF_DATE or current in _OUT_OF_DATE:
        return launched
    needed = any("Configuration" in one for one in (launched, current))
    return "TDRelaunchAdvisedConfigurationNeeded" if needed else "TDRelaunchAdvised"


@dataclass(frozen=True)
class _Level:
    """The level that a part has reached."""

    status: str
    advisories: tuple[str, ...]
    date: datetime

    def with_part(self, part: _Level) -> _Level:
        """The level of a platform together with that of its module or quoting enclave."""
        status = _LATE[self.status] if part.status == "OutOfDate" else self.status
        advisories = (*self.advisories, *part.advisories)
        return _Level(status, advisories, min(self.date, part.date))


def _platform(info: _Json, td: bytes, pck_chain: str) -> _Level:
    """The level of a platform with some version of the TDX module.

    Args:
        info: The TCB info.
        td: The module's versions.
        pck_chain: Canonical PEM.
    """
    certified = dcap_qvl.parse_pck_extension_from_pem(pck_chain.encode())
    cpu, pce = bytes(certified.cpu_svn), certified.pce_svn
    # A module's identity stands for the first two components, where modules have identities.
    judged = 2 if td[1] else 0

    def order(level: _Json) -> tuple[bytes, int, bytes]:
        tcb = _object(level["tcb"])
        sgx, tdx = (_svns(tcb[f"{name}tcbcomponents"]) for name in ("sgx", "tdx"))
        return sgx, typed(tcb["pcesvn"], int), tdx

    def reached(level: _Json) -> bool:
        sgx, least, tdx = order(level)
        return _reaches(cpu, sgx) and pce >= least and _reaches(td[judged:], tdx[judged:])

    levels = sorted(_objects(info["tcbLevels"]), key=order, reverse=True)
    seen = f"CPU {cpu.hex()}, PCE {pce}, TDX {td.hex()}"
    platform = _first(levels, reached, tuple(_LATE), "tcb_level", seen)
    identity = _identity(info, td[1])
    if identity is None:
        return platform
    return platform.with_part(_by_isv_svn(identity, td[0], "tdx_module"))


def _enclave(identity: _Json, report: EnclaveReport) -> _Level:
    check = "quoting_enclave_identity"
    attributes = report.flags.to_bytes(8, "little") + report.xfrm.to_bytes(8, "little")
    same = (
        octets_of(identity["mrsigner"], 32) == report.mrsigner
        and identity["isvprodid"] == report.isv_prod_id
        and _agree(identity, "miscselect", report.misc_select.to_bytes(4, "little"))
        and _agree(identity, "attributes", attributes)
    )
    if not same or report.flags & _QE_DEBUG:
        raise _refused(check, "Intel's quoting enclave, without debug", "another enclave")
    return _by_isv_svn(identity, report.isv_svn, check)


def _identity(info: _Json, version: int) -> _Json | None:
    """What describes the TDX modules of a version; None for the version that has no identity."""
    identities = _objects(info.get("tdxModuleIdentities", []))
    if not version or not identities:
        return None
    wanted = f"TDX_{version:02X}"
    found = next((one for one in identities if str(one["id"]).upper() == wanted), None)
    if found is None:
        raise _refused("tdx_module", f"a described module {wanted}", "no identity of it")
    return found


def _verify_module(info: _Json, report: TdReport) -> None:
    """Verifies that Intel has signed the TDX module."""
    described = _identity(info, report.tee_tcb_svn[1]) or _object(info["tdxModule"])
    attributes = report.seam_attributes.to_bytes(8, "little")
    mask = octets_of(described["attributesMask"], 8)
    outside = any(seen & ~covered for seen, covered in zip(attributes, mask, strict=True))
    if (
        octets_of(described["mrsigner"], 48) != report.mrsignerseam
        or outside
        or not _agree(described, "attributes", attributes)
    ):
        raise _refused("tdx_module", "Intel's TDX module", report.mrsignerseam.hex())


def _by_isv_svn(described: _Json, svn: int, check: str) -> _Level:
    def reached(level: _Json) -> bool:
        return svn >= typed(_object(level["tcb"])["isvsvn"], int)

    levels = _objects(described["tcbLevels"])
    return _first(levels, reached, _OF_PARTS, check, f"ISV_SVN {svn}")


def _first(
    levels: Sequence[_Json],
    reached: Callable[[_Json], bool],
    statuses: tuple[str, ...],
    check: str,
    seen: str,
) -> _Level:
    """The first level that is reached; without one, or with another status, it is refused."""
    found = next((level for level in levels if reached(level)), None)
    if found is None:
        raise _refused(check, "a platform that reaches some TCB level", seen)
    status = typed(found["tcbStatus"], str)
    if status not in statuses:
        check = "tcb_level" if status == _REVOKED else check
        raise _refused(check, f"a TCB level of status {' or '.join(statuses)}", status[:64])
    advisories = tuple(typed(one, str) for one in _list(found.get("advisoryIDs", [])))
    return _Level(status, advisories, moment_of(found["tcbDate"]))


def _reaches(svns: bytes, least: bytes) -> bool:
    return all(seen >= wanted for seen, wanted in zip(svns, least, strict=True))


def _agree(described: _Json, name: str, seen: bytes) -> bool:
    """Whether bytes are as described under a mask."""
    value, mask = (octets_of(described[key], len(seen)) for key in (name, f"{name}Mask"))
    return all(a & m == b & m for a, b, m in zip(value, seen, mask, strict=True))


def _svns(components: object) -> bytes:
    svns = bytes(typed(one["svn"], int) for one in _objects(components))
    if len(svns) != _COMPONENTS:
        raise ValueError(f"{len(svns)} components")
    return svns


def _objects(value: object) -> list[_Json]:
    return [_object(one) for one in _list(value)]


def _object(value: object) -> _Json:
    if not isinstance(value, dict):
        raise TypeError("an object expected")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("a list expected")
    return value


@contextmanager
def _reading() -> Iterator[None]:
    """Refuses a statement of another form, though the vendor has signed it."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise _refused("dcap", "statements of PCS API v4", f"{error!r}"[:200]) from error


def _refused(check: str, expected: str, seen: str) -> EvidenceRefused:
    return EvidenceRefused(
        check,
        "the quote's signatures or TCB level do not hold",
        expected=expected,
        seen=seen,
        remedy="update the platform's firmware if the TCB level is the reason, else distrust it",
    )
