"""The platform and the guest's policy, by rules that no contract can loosen.

Source: AMD SEV Secure Nested Paging Firmware ABI Specification (56860), guest policy, PLATFORM_INFO,
TCB versions.
"""

from __future__ import annotations

from dataclasses import dataclass

from coterie.attestation.snp.endorsement import Endorsement
from coterie.attestation.snp.products import Tcb
from coterie.attestation.snp.report import SnpReport
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused

GUEST_CHECKS = ("policy_debug", "policy_migration_agent", "policy_abi", "author_key")
PLATFORM_CHECKS = ("tcb_layout", "tcb_order", "firmware_order")
DEBUG, MIGRATION_AGENT = 1 << 19, 1 << 18
NO_AGENT = b"\xff" * 32
POLICY_BITS = {
    "smt allowed": 1 << 16,
    "migration agent allowed": MIGRATION_AGENT,
    "debug allowed": DEBUG,
    "single socket": 1 << 20,
    "cxl allowed": 1 << 21,
    "aes 256 xts": 1 << 22,
    "rapl disabled": 1 << 23,
    "ciphertext hiding": 1 << 24,
    "page swap disabled": 1 << 25,
}
# What a contract may demand of PLATFORM_INFO: the bit, and whether it must be set.
PLATFORM_BITS = {
    "smt_disabled": (1 << 0, False),
    "tsme_enabled": (1 << 1, True),
    "ecc_enabled": (1 << 2, True),
    "rapl_disabled": (1 << 3, True),
    "ciphertext_hiding": (1 << 4, True),
    "alias_check_complete": (1 << 5, True),
    "iommu_write_safe": (1 << 6, True),
}


@dataclass(frozen=True)
class SnpPlatform:
    """The platform that made a report, with its TCB versions read by the product's layout.

    Attributes:
        endorsement: What AMD has certified of it.
        chip_id: The chip, 64 bytes; zero if the host hides it.
        current: The TCB that runs.
        committed: The TCB below which it does not go back.
        reported: The TCB that the signing key stands for.
        launch: The TCB that ran when the guest was launched.
    """

    endorsement: Endorsement
    chip_id: bytes
    current: Tcb
    committed: Tcb
    reported: Tcb
    launch: Tcb

    @property
    def family(self) -> str:
        """The product line."""
        return self.endorsement.product.name

    @property
    def identifier(self) -> str:
        """The chip, hex; empty if the host hides it."""
        return self.chip_id.hex() if any(self.chip_id) else ""


def verify_guest(report: SnpReport, checks: CheckList) -> None:
    """Refuses guests that no contract can allow.

    Raises:
        EvidenceRefused: It fails one of ``GUEST_CHECKS``.
    """
    policy = f"policy {report.policy:#x}"
    if report.policy & DEBUG:
        raise _guest(
            "policy_debug", "its host can read its memory", "a policy without debug", policy
        )
    checks.passed("policy_debug", policy)
    if report.policy & MIGRATION_AGENT or report.report_id_ma != NO_AGENT:
        raise _guest(
            "policy_migration_agent",
            "a migration agent could move it",
            "a policy without migration agents, and none",
            f"{policy}, agent {report.report_id_ma.hex()}",
        )
    checks.passed("policy_migration_agent")
    if report.committed_firmware.abi < report.policy_abi:
        raise _guest(
            "policy_abi",
            "the firmware is older than its policy allows",
            "ABI {}.{} or later".format(*report.policy_abi),
            f"committed firmware {report.committed_firmware}",
        )
    checks.passed("policy_abi", "{}.{}".format(*report.policy_abi))
    if report.author_key_en is not any(report.author_key_digest):
        raise _guest(
            "author_key",
            "it says both that its id key has an author and that it has none",
            "a digest of the author's key exactly where there is such a key",
            f"author key {report.author_key_en}, digest {report.author_key_digest.hex()}",
        )
    checks.passed("author_key")


def verify_platform(report: SnpReport, endorsement: Endorsement, checks: CheckList) -> SnpPlatform:
    """Reads the TCB versions, and refuses a platform that contradicts itself.

    Raises:
        EvidenceRefused: It fails one of ``PLATFORM_CHECKS``.
    """
    product = endorsement.product
    tcbs: list[Tcb] = []
    for raw in (report.current_tcb, report.committed_tcb, report.reported_tcb, report.launch_tcb):
        tcb = product.tcb(raw)
        if tcb is None:
            raise _platform(
                "tcb_layout",
                "has bytes in its TCB versions that are reserved",
                f"zero in the reserved bytes of {product.name}",
                raw.hex(),
            )
        tcbs.append(tcb)
    checks.passed("tcb_layout", product.name)
    current, committed, reported, launch = tcbs
    for name, lower, higher in (
        ("reported above committed", reported, committed),
        ("committed above current", committed, current),
    ):
        if parts := higher.below(lower):
            raise _platform(
                "tcb_order",
                "reports TCB versions that contradict each other",
                "reported <= committed <= current",
                f"{name}: {', '.join(parts)}",
            )
    checks.passed("tcb_order")
    running, kept = report.current_firmware, report.committed_firmware
    if running < kept:
        raise _platform(
            "firmware_order",
            "runs older firmware than it has committed to",
            f"{kept} or later",
            str(running),
        )
    checks.passed("firmware_order", f"{running}, committed {kept}")
    return SnpPlatform(endorsement, report.chip_id, current, committed, reported, launch)


def policy_words(policy: int) -> str:
    """A guest's policy, in words for people."""
    names = [name for name, bit in POLICY_BITS.items() if policy & bit]
    return f"{policy:#x}: {', '.join(names) or 'nothing set'}"


def _guest(check: str, what: str, expected: str, seen: str) -> EvidenceRefused:
    return EvidenceRefused(
        check,
        f"the evidence is by an SNP guest: {what}",
        expected,
        seen,
        remedy="start the guest with a policy for production",
    )


def _platform(check: str, what: str, expected: str, seen: str) -> EvidenceRefused:
    return EvidenceRefused(
        check,
        f"the SNP platform {what}",
        expected,
        seen,
        remedy="do not use this platform: genuine firmware does not report this",
    )
