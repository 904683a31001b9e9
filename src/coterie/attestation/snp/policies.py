"""What a contract demands of SNP evidence beyond its authenticity.

Reference values are compared by ``policy.MeasurementIn``, under the names that stand here; what has
floors or bits, by the policies below. They are of the report, and need no collateral.
"""

from __future__ import annotations

from dataclasses import dataclass

from coterie.attestation.authentic import AuthenticEvidence
from coterie.attestation.snp.platform import PLATFORM_BITS, SnpPlatform
from coterie.attestation.snp.products import Tcb
from coterie.attestation.snp.quote import SnpQuote
from coterie.attestation.snp.report import Firmware, SnpReport
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused

TCBS = ("committed", "reported", "current", "launch")


def snp_platform(evidence: AuthenticEvidence, check: str) -> SnpPlatform:
    """The platform of SNP evidence.

    Raises:
        EvidenceRefused: It is evidence of another kind (the given check).
    """
    if not isinstance(evidence.platform, SnpPlatform):
        raise _of_another_kind(check, evidence.kind)
    return evidence.platform


def snp_report(evidence: AuthenticEvidence, check: str) -> SnpReport:
    """The report of SNP evidence; raises as `snp_platform` does."""
    quote = evidence.quote.hardware
    if not isinstance(quote, SnpQuote):
        raise _of_another_kind(check, evidence.kind)
    return quote.report


@dataclass(frozen=True)
class GuestSvnFrom:
    """The guest's owner gave it a security version that is high enough."""

    minimum: int
    check_names = ("guest_svn",)

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Makes the check ``guest_svn``."""
        seen = snp_report(evidence, "guest_svn").guest_svn
        if seen < self.minimum:
            raise EvidenceRefused(
                "guest_svn",
                "the guest is an old version of its image",
                expected=f"guest SVN {self.minimum} or higher",
                seen=str(seen),
                remedy="start the new image with its id block",
            )
        checks.passed("guest_svn", str(seen))


@dataclass(frozen=True)
class CloudIn:
    """A key that AMD gave to a cloud provider (VLEK) is a listed provider's; VCEKs pass."""

    accepted: tuple[str, ...]
    check_names = ("csp_id",)

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Makes the check ``csp_id``."""
        seen = snp_platform(evidence, "csp_id").endorsement.csp_id
        if seen is not None and seen not in self.accepted:
            raise EvidenceRefused(
                "csp_id",
                "the platform's key belongs to a cloud provider that is not listed",
                expected=" or ".join(self.accepted) or "no VLEK: no provider is listed",
                seen=seen,
                remedy="list the provider under csp_id, or use a platform of a listed one",
            )
        checks.passed("csp_id", seen or "the chip's own key")


@dataclass(frozen=True)
class TcbFrom:
    """All four TCB versions reach the floor of the platform's product line, part by part.

    A product line without a floor is refused.

    Attributes:
        floors: Floors by product line.
    """

    floors: tuple[tuple[str, Tcb], ...]
    check_names = ("platform_product", *(f"{name}_tcb" for name in TCBS))

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Makes the checks ``platform_product``, ``committed_tcb`` and the other three."""
        platform = snp_platform(evidence, "platform_product")
        floor = dict(self.floors).get(platform.family)
        if floor is None:
            raise EvidenceRefused(
                "platform_product",
                "the platform is of a product line without a floor for its TCB",
                expected=" or ".join(name for name, _ in self.floors) or "none: none is listed",
                seen=platform.family,
                remedy="use a listed product line, or give this one a table under minimum_tcb",
            )
        checks.passed("platform_product", platform.family)
        for name in TCBS:
            seen: Tcb = getattr(platform, name)
            if below := seen.below(floor):
                raise EvidenceRefused(
                    f"{name}_tcb",
                    f"the platform's {name} TCB is below the contract's floor: {', '.join(below)}",
                    expected=f"{floor} or higher",
                    seen=str(seen),
                    remedy="update the platform's firmware"
                    + (" and start the guest again" if name == "launch" else "")
                    + ", or agree on a lower floor",
                )
            checks.passed(f"{name}_tcb", str(seen))


@dataclass(frozen=True)
class FirmwareFrom:
    """The platform does not go back below a version of the SNP firmware."""

    minimum: Firmware
    check_names = ("firmware",)

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Makes the check ``firmware``."""
        seen = snp_report(evidence, "firmware").committed_firmware
        if seen < self.minimum:
            raise EvidenceRefused(
                "firmware",
                "the platform has committed to SNP firmware that is too old",
                expected=f"{self.minimum} or later",
                seen=str(seen),
                remedy="update the platform's firmware, or agree on a lower minimum_firmware",
            )
        checks.passed("firmware", str(seen))


@dataclass(frozen=True)
class PlatformHas:
    """The firmware says that the platform has a property.

    Attributes:
        name: One of ``PLATFORM_BITS``.
    """

    name: str

    @property
    def check_names(self) -> tuple[str, ...]:
        """``platform_`` and the property."""
        return (f"platform_{self.name}",)

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Makes the one check; a report of a version without the bit is refused."""
        check = f"platform_{self.name}"
        info = snp_report(evidence, check).platform_info
        bit, wanted = PLATFORM_BITS[self.name]
        if bool(info & bit) is not wanted:
            raise EvidenceRefused(
                check,
                f"the platform does not say: {self.name.replace('_', ' ')}",
                expected=f"bit {bit:#x} of its information {'set' if wanted else 'clear'}",
                seen=f"{info:#x}",
                remedy="configure the platform so, or agree on a contract that does not demand it",
            )
        checks.passed(check, f"{info:#x}")


def _of_another_kind(check: str, kind: str) -> EvidenceRefused:
    return EvidenceRefused(
        check,
        "the contract demands this of an SNP guest",
        expected="SNP evidence",
        seen=f"evidence of kind {kind}",
        remedy="use the contract that is made for this TEE",
    )
