"""The policies of a relying party: small, composable, each with named checks.

Policies apply to authentic evidence (``evidence.py`` checks that). Nothing is accepted by default:
an empty list accepts nothing.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from coterie.attestation.authentic import AnyQuote, AuthenticEvidence
from coterie.attestation.verdict import CheckList, collateral_refused
from coterie.errors import EvidenceRefused


class Quoted(Protocol):
    """The evidence that some policies need, before all of it was authenticated with collateral."""

    @property
    def quote(self) -> AnyQuote:
        """The quote."""
        ...


class Policy(Protocol):
    """One requirement of a relying party."""

    @property
    def check_names(self) -> tuple[str, ...]:
        """Names of the checks that it makes, in order."""
        ...

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Verifies evidence and records each check that passes.

        Raises:
            EvidenceRefused: A check failed.
        """
        ...


@dataclass(frozen=True)
class TcbStatusIn:
    """The platform's TCB status is listed."""

    accepted: tuple[str, ...]
    check_names = ("tcb_status",)

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Makes the check ``tcb_status``."""
        if evidence.tcb.status not in self.accepted:
            raise EvidenceRefused(
                "tcb_status",
                f"the platform's TCB status is {evidence.tcb.status}",
                expected=" or ".join(self.accepted) or "no status at all: none is listed",
                seen=evidence.tcb.status
                + (f" ({', '.join(evidence.tcb.advisories)})" if evidence.tcb.advisories else ""),
                remedy="update the platform, or list the status in accepted_tcb_statuses",
            )
        checks.passed("tcb_status", evidence.tcb.status)


@dataclass(frozen=True)
class AdvisoriesWithin:
    """Every open advisory is listed."""

    accepted: tuple[str, ...]
    check_names = ("advisories",)

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Makes the check ``advisories``."""
        if unlisted := sorted(set(evidence.tcb.advisories) - set(self.accepted)):
            raise EvidenceRefused(
                "advisories",
                "the platform is open to advisories that are not accepted",
                expected=", ".join(self.accepted) or "no open advisory",
                seen=", ".join(unlisted),
                remedy="update the platform, or list the advisories in accepted_advisories",
            )
        checks.passed("advisories", ", ".join(evidence.tcb.advisories) or "none open")


@dataclass(frozen=True)
class InForce:
    """The contract has not ended."""

    end: datetime
    check_names = ("contract_expiry",)

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Makes the check ``contract_expiry``."""
        if evidence.at > self.end:
            raise EvidenceRefused(
                "contract_expiry",
                f"the contract ended at {self.end.isoformat()}",
                expected=f"a moment until {self.end.isoformat()} (trust.not_after)",
                seen=evidence.at.isoformat(),
                remedy="agree on a new contract and let all parties sign it",
            )
        checks.passed("contract_expiry", self.end.isoformat())


@dataclass(frozen=True)
class AdvisoriesWithout:
    """No refused advisory is open, while any other may be; weaker than a list of accepted ones."""

    refused: tuple[str, ...]
    check_names = ("advisories",)

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Makes the check ``advisories``."""
        if found := sorted(set(evidence.tcb.advisories) & set(self.refused)):
            raise EvidenceRefused(
                "advisories",
                "the platform is open to advisories that are refused",
                expected=f"none of {', '.join(self.refused)}",
                seen=", ".join(found),
                remedy="update the platform, or agree on a contract that does not refuse them",
            )
        checks.passed("advisories", ", ".join(evidence.tcb.advisories) or "none open")


@dataclass(frozen=True)
class MinimumEvaluation:
    """The collateral is from a TCB recovery that is recent enough."""

    minimum: int
    check_names = ("evaluation_number",)

    def verify(self, evidence: AuthenticEvidence, checks: CheckList) -> None:
        """Makes the check ``evaluation_number``."""
        if evidence.evaluation_number < self.minimum:
            raise collateral_refused(
                "evaluation_number",
                "the collateral is rolled back to an old TCB recovery",
                expected=f"evaluation number {self.minimum} or higher",
                seen=str(evidence.evaluation_number),
            )
        checks.passed("evaluation_number", str(evidence.evaluation_number))


@dataclass(frozen=True)
class MeasurementIn:
    """One register of the report has a listed value.

    Attributes:
        check: Name of check and register: ``mrenclave``, ``mrsigner``, ``mrtd``, ``rtmr0`` to
            ``rtmr3``, ``td_attributes``, ``xfam``; for SNP ``launch_measurement``,
            ``guest_policy``, ``vmpl``, ``family_id``, ``image_id``, ``id_key_digest``,
            ``author_key_digest``, ``host_data``, ``signing_key``; for a virtual TPM ``pcr0`` to
            ``pcr23``, ``secure_boot``, ``console``.
        accepted: Values in hex.
        own: Whether the one accepted value is this installation's (``measurement = "own"``).
    """

    check: str
    accepted: tuple[str, ...]
    own: bool = False

    @property
    def check_names(self) -> tuple[str, ...]:
        """The register's name."""
        return (self.check,)

    def verify(self, evidence: Quoted, checks: CheckList) -> None:
        """Compares the register with the list."""
        seen = dict(evidence.quote.measurements).get(self.check)
        if seen is None or seen not in self.accepted:
            raise EvidenceRefused(
                self.check,
                f"the peer's {self.check} is not a reference value",
                expected=" or ".join(self.accepted) or "nothing: no value is listed",
                seen=seen or f"a TEE without {self.check}",
                remedy="run the same release of Coterie on both sides, also to verify what one has recorded"
                if self.own
                else "build the agreed program again, or agree on a contract that lists the value",
            )
        checks.passed(self.check, seen)


@dataclass(frozen=True)
class ProductOf:
    """The signer's product, at a security version that is high enough."""

    isv_prod_id: int
    minimum_isv_svn: int
    check_names = ("isv_prod_id", "isv_svn")

    def verify(self, evidence: Quoted, checks: CheckList) -> None:
        """Makes the checks ``isv_prod_id`` and ``isv_svn``."""
        seen = dict(evidence.quote.measurements)  # only enclaves have these two
        product, svn = seen.get("isv_prod_id"), seen.get("isv_svn")
        if product != str(self.isv_prod_id):
            raise EvidenceRefused(
                "isv_prod_id",
                "the enclave is another product of its signer",
                expected=f"ISV_PROD_ID {self.isv_prod_id}",
                seen=str(product),
                remedy="start the agreed program",
            )
        checks.passed("isv_prod_id", str(product))
        if svn is None or int(svn) < self.minimum_isv_svn:
            raise EvidenceRefused(
                "isv_svn",
                "the enclave is an old version of its product",
                expected=f"ISV_SVN {self.minimum_isv_svn} or higher",
                seen=str(svn),
                remedy="update the program",
            )
        checks.passed("isv_svn", str(svn))


@dataclass(frozen=True)
class ReportDataIs:
    """The report carries exactly these 64 bytes."""

    expected: bytes
    check_names = ("report_data",)

    def verify(self, evidence: Quoted, checks: CheckList) -> None:
        """Makes the check ``report_data``."""
        seen = evidence.quote.report_data
        if not hmac.compare_digest(seen, self.expected):
            raise EvidenceRefused(
                "report_data",
                "the quote was made for something else",
                expected=self.expected.hex(),
                seen=seen.hex(),
                remedy="the peer must quote the key and claims that it presents",
            )
        checks.passed("report_data", seen.hex())


# Policies that need only the quote.
OF_THE_QUOTE = (MeasurementIn, ProductOf, ReportDataIs)
