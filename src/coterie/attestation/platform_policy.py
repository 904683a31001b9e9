"""Policies on the platform below the program: its family, configuration and age."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from coterie.attestation.authentic import AuthenticEvidence
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused

OUT_OF_DATE = frozenset({"OutOfDate", "OutOfDateConfigurationNeeded"})
# The features of a platform in a PCK certificate, by the names of dcap.PlatformIdentity.
FEATURES = {
    "smt": "simultaneous multithreading: a sibling thread shares its core's caches",
    "dynamic_platform": "packages added to it after it was registered",
    "cached_keys": "its platform keys kept by Intel's registration service",
}


@dataclass(frozen=True)
class OutOfDateWithin:
    """A platform is not out of date for too long, by the dates of its TCB levels.

    A part that is out of date and has no date is refused (a TDX module's date is not reported).
    """

    days: int
    check_names = ("tcb_date",)

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Makes the check ``tcb_date``."""
        if evidence.tcb.status not in OUT_OF_DATE:
            checks.passed("tcb_date", f"not out of date: {evidence.tcb.status}")
            return
        late = [level for level in evidence.tcb.levels if level.status in OUT_OF_DATE]
        oldest = min(late, key=lambda level: level.date, default=None)
        if oldest is None or oldest.date + timedelta(days=self.days) < evidence.at:
            raise EvidenceRefused(
                "tcb_date",
                "the platform is out of date for longer than is granted",
                expected=f"a TCB level dated no more than {self.days} days before "
                f"{evidence.at.date().isoformat()}",
                seen=f"the {oldest.part}'s level of {oldest.date.date().isoformat()}"
                if oldest
                else "a TDX module whose level has no date",
                remedy="update the platform, or agree on a longer out_of_date_grace_days",
            )
        checks.passed("tcb_date", f"{oldest.part} of {oldest.date.date().isoformat()}")


@dataclass(frozen=True)
class FeatureOff:
    """The PCK certificate says that a feature of the platform is off; silence is refused.

    Attributes:
        feature: One of ``FEATURES``.
    """

    feature: str

    @property
    def check_names(self) -> tuple[str, ...]:
        """``platform_smt``, ``platform_dynamic_platform`` or ``platform_cached_keys``."""
        return (f"platform_{self.feature}",)

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Makes the one check."""
        seen: bool | None = getattr(evidence.platform, self.feature, None)
        if seen is not False:
            raise EvidenceRefused(
                f"platform_{self.feature}",
                f"the platform may have {FEATURES[self.feature]}",
                expected="a PCK certificate that says: off",
                seen="on" if seen else "a certificate that does not say (CA: processor)",
                remedy="configure the platform and register it again, or agree on a contract "
                f"without refuse_{self.feature}",
            )
        checks.passed(f"platform_{self.feature}", "off")


@dataclass(frozen=True)
class PlatformIn:
    """The platform belongs to a listed family or is listed itself.

    Attributes:
        field: ``fmspc`` or ``ppid``; for SNP ``chip_id``.
        accepted: Values in hex.
    """

    field: str
    accepted: tuple[str, ...]

    @property
    def check_names(self) -> tuple[str, ...]:
        """``platform_`` and the field."""
        return (f"platform_{self.field}",)

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Compares the platform with the list."""
        platform = evidence.platform
        seen = platform.family if self.field == "fmspc" else platform.identifier
        if seen not in self.accepted:
            raise EvidenceRefused(
                f"platform_{self.field}",
                "the platform is not on the contract's list",
                expected=" or ".join(self.accepted),
                seen=seen or "a host that hides its chip's id",
                remedy=f"use a listed platform, or list this one under {self.field}",
            )
        checks.passed(f"platform_{self.field}", seen)
