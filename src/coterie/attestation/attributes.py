"""Attributes that no contract can allow: debug, launch keys, reserved bits, guest faults.

Each refused bit has its own check. Sources: Intel SDM vol. 3D, 38.7.1 (ATTRIBUTES); Intel TDX
Module Base Architecture Specification, TD_PARAMS ATTRIBUTES.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from coterie.attestation.reports import EnclaveReport, TdReport
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused
from coterie.kinds import OF_TDX, OF_VTPM, TeeKind


@dataclass(frozen=True)
class BitRule:
    """Bits of an attribute word and the value that they must have.

    Attributes:
        check: Name of the check.
        mask: The bits.
        must_be: ``set``: all of them; ``clear``: none of them.
        meaning: What a violation means.
    """

    check: str
    mask: int
    must_be: Literal["set", "clear"]
    meaning: str


def _bits(*positions: int) -> int:
    return sum(1 << position for position in positions)


_WORD = (1 << 64) - 1
_SGX_KNOWN = _bits(0, 1, 2, 4, 5, 6, 7, 10)  # 6: CET, 7: KSS, 10: AEX-notify
_TDX_KNOWN = _bits(0, 28, 30, 31, 63)  # 30: PKS, 31: key locker, 63: performance monitoring
SGX_RULES = (
    BitRule("attributes_debug", _bits(1), "clear", "a debug enclave: its host can read its memory"),
    BitRule("attributes_init", _bits(0), "set", "an enclave that was never initialized"),
    BitRule("attributes_mode64", _bits(2), "set", "a 32-bit enclave"),
    BitRule("attributes_provision_key", _bits(4), "clear", "an enclave with the provisioning key"),
    BitRule("attributes_einittoken_key", _bits(5), "clear", "an enclave with the launch-token key"),
    BitRule(
        "attributes_reserved", _WORD & ~_SGX_KNOWN, "clear", "an enclave with reserved attributes"
    ),
)
TDX_RULES = (
    BitRule("td_debug", _bits(0), "clear", "a debug trust domain: its host can read its memory"),
    BitRule(
        "td_sept_ve_disable",
        _bits(28),
        "set",
        "a trust domain whose host can inject faults on private pages",
    ),
    BitRule(
        "td_reserved",
        _WORD & ~_TDX_KNOWN,
        "clear",
        "a trust domain with reserved or migration attributes",
    ),
)
# Below Azure's guests is a paravisor, whose trust domain handles faults on private pages itself: its
# attributes are zero. A contract lists them, and its measurement.
PARAVISOR_RULES = tuple(rule for rule in TDX_RULES if rule.check != "td_sept_ve_disable")


def rules_of(kind: TeeKind) -> tuple[BitRule, ...]:
    """The rules for one kind of TEE of Intel's."""
    if kind not in OF_TDX:
        return SGX_RULES
    return PARAVISOR_RULES if kind in OF_VTPM else TDX_RULES


def verify_attributes(
    report: EnclaveReport | TdReport, *, kind: TeeKind, checks: CheckList
) -> None:
    """Refuses attributes that no contract can allow.

    Args:
        report: The report.
        kind: The kind of TEE that it is by.
        checks: Takes up every check that passed.

    Raises:
        EvidenceRefused: One rule is broken; the check has the rule's name.
    """
    if isinstance(report, EnclaveReport):
        _apply(rules_of(kind), report.flags, checks)
        return
    _apply(rules_of(kind), report.td_attributes, checks)
    hashes = (report.mrservicetd, report.init_service_td_hash, report.cur_service_td_hash)
    for value in hashes:
        if value is not None and any(value):
            raise EvidenceRefused(
                "td_service",
                "a service trust domain is bound to this one: it could be migrated",
                expected="no hash of service trust domains",
                seen=value.hex(),
                remedy="start the trust domain without service trust domains",
            )
    checks.passed("td_service")


def _apply(rules: tuple[BitRule, ...], word: int, checks: CheckList) -> None:
    for rule in rules:
        if word & rule.mask != (rule.mask if rule.must_be == "set" else 0):
            raise EvidenceRefused(
                rule.check,
                f"the evidence is by {rule.meaning}",
                expected=f"bits {rule.mask:#x} {rule.must_be}",
                seen=f"attributes {word:#018x}",
                remedy="build and start the program as a production enclave or trust domain",
            )
        checks.passed(rule.check, f"attributes {word:#018x}")


def attribute_words(report: EnclaveReport | TdReport) -> dict[str, object]:
    """The attributes, and whether each relevant bit is set, for people; nothing is checked."""
    rules: tuple[BitRule, ...] = TDX_RULES
    shown: dict[str, object] = {}
    if isinstance(report, EnclaveReport):
        rules, word = SGX_RULES, report.flags
        shown["xfrm"] = f"{report.xfrm:#018x}"
    else:
        word = report.td_attributes
    return {
        "flags": f"{word:#018x}",
        **shown,
        **{rule.check.partition("_")[2]: bool(word & rule.mask) for rule in rules},
    }
