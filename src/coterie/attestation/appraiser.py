"""Appraisal: evidence + policy + collateral -> verdict. Pure; the time is an argument.

A relying party gets one of two things: a verdict that lists every check, or a refusal that names
the failing one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from coterie.attestation.authentic import (
    AnyCollateral,
    AnyQuote,
    AnyRoot,
    AuthenticEvidence,
    Screened,
    Vetted,
)
from coterie.attestation.challenges import quoted_report_data
from coterie.attestation.evidence import authenticate, check_names, parse_evidence, screen
from coterie.attestation.policy import OF_THE_QUOTE, InForce, Policy, ReportDataIs
from coterie.attestation.readers import reader_of
from coterie.attestation.recognition import family_of
from coterie.attestation.tee.by_kind import root_for
from coterie.attestation.verdict import Check, CheckList, Verdict
from coterie.contract.expiry import moment
from coterie.contract.token_trust import TokenTrust
from coterie.contract.trust import RoleTrust, TrustSection
from coterie.errors import EvidenceRefused
from coterie.kinds import Role, TeeKind


@dataclass(frozen=True)
class Appraisal:
    """The outcome of an appraisal.

    Attributes:
        verdict: The verdict, if the evidence is accepted.
        refusal: The error, if it is not.
        checks: Every check: passed, failed, or not run after the failure.
        evidence: The authenticated evidence, even if a policy then refused it.
        quote: The quote of a genuine TEE, even if it was refused before collateral was looked up.
    """

    verdict: Verdict | None
    refusal: EvidenceRefused | None
    checks: tuple[Check, ...]
    evidence: AuthenticEvidence | None = None
    quote: AnyQuote | None = None


class Appraiser:
    """Appraises peers by a contract's ``[trust]`` section.

    Args:
        trust: The contract's section.
        own_measurement: This node's own measurement (32 bytes), for ``measurement = "own"``.
        endorsements: Launch endorsements by measurement, for roles whose table demands one.
        heard: Called with the outcome of every appraisal, check by check.
    """

    def __init__(
        self,
        trust: TrustSection,
        *,
        own_measurement: bytes | None,
        endorsements: Mapping[bytes, bytes] | None = None,
        heard: Callable[[Appraisal], None] = lambda _: None,
    ) -> None:
        self._trust = trust
        self._own = own_measurement
        self._endorsements = endorsements or {}
        self._heard = heard

    def heard_by(self, heard: Callable[[Appraisal], None]) -> Appraiser:
        """An appraiser with the same rules that reports every outcome to ``heard``."""
        return Appraiser(
            self._trust, own_measurement=self._own, endorsements=self._endorsements, heard=heard
        )

    def appraise(
        self,
        quote: AnyQuote,
        *,
        report_data: bytes,
        role: Role,
        kind: TeeKind,
        collateral: Vetted,
        at: datetime,
    ) -> Verdict:
        """Appraises a peer's quote.

        Args:
            quote: The quote, as :meth:`screen` parsed it.
            report_data: The 64 bytes that it must carry.
            role: Role that the peer claims.
            kind: The kind of TEE that the contract gives the peer.
            collateral: Collateral for its platform. If it was vetted by this very quote, the
                quote is not authenticated once more.
            at: The moment that counts, with a time zone.

        Raises:
            EvidenceRefused: A check failed.
        """
        outcome = self.assess(
            quote,
            report_data=report_data,
            role=role,
            kind=kind,
            collateral=collateral.collateral,
            at=at,
            evidence=collateral.evidence_of(quote, at),
        )
        self._heard(outcome)
        if outcome.verdict is None:
            assert outcome.refusal is not None
            raise outcome.refusal
        return outcome.verdict

    def screen(
        self, data: bytes, *, report_data: bytes, role: Role, kind: TeeKind, at: datetime
    ) -> AnyQuote:
        """Parses a peer's quote, and makes the checks of :meth:`appraise` that need no collateral.

        Args:
            data: The quote as it came.
            report_data: The 64 bytes that it must carry.
            role: Role that the peer claims.
            kind: The kind of TEE that the contract gives the peer.
            at: The moment that counts, with a time zone.

        Returns:
            The quote. From here on it travels in this form.

        Raises:
            EvidenceRefused: A check failed.
        """
        checks = CheckList()
        policies: tuple[Policy, ...] = ()
        screened: Screened | None = None
        try:
            policies = (*self.policies(role, kind), self._bound(report_data, role, kind))
            screened = screen(data, kind=kind, root=root_for(kind), at=at, checks=checks)
            for policy in policies:
                if isinstance(policy, OF_THE_QUOTE):
                    policy.verify(screened, checks)
        except EvidenceRefused as error:
            checks.failed(error)
            found = screened.quote if screened else None
            rest = _with_the_rest(checks, kind, policies)
            self._heard(Appraisal(None, error, rest, quote=found))
            raise
        return screened.quote

    def assess(
        self,
        quote: bytes | AnyQuote,
        *,
        report_data: bytes | None,
        role: Role,
        kind: TeeKind,
        collateral: AnyCollateral,
        at: datetime,
        evidence: AuthenticEvidence | None = None,
    ) -> Appraisal:
        """Like :meth:`appraise`, but returns the outcome of every check instead of raising.

        Args:
            quote: The quote.
            report_data: The 64 bytes that it must carry; None to leave that open (a tool that
                looks at a stored quote cannot know them).
            role: Role that the peer claims.
            kind: The kind of TEE that the contract gives the peer.
            collateral: Collateral for its platform.
            at: The moment that counts, with a time zone.
            evidence: This quote, where it has been authenticated by this collateral already.
        """
        try:
            policies = self.policies(role, kind)
        except EvidenceRefused as error:
            checks = CheckList()
            checks.failed(error)
            return Appraisal(None, error, checks.checks)
        if report_data is not None:
            policies = (*policies, self._bound(report_data, role, kind))
        end = self._trust.not_after
        if end is not None:
            policies = (InForce(moment(end)), *policies)
        outcome = assess(
            quote,
            collateral,
            kind=kind,
            root=root_for(kind),
            policies=policies,
            at=at,
            evidence=evidence,
        )
        if end is None or outcome.verdict is None:
            return outcome
        # Pins expire with the verdict, and must not outlive the contract.
        verdict = replace(outcome.verdict, expiry=min(outcome.verdict.expiry, moment(end)))
        return replace(outcome, verdict=verdict)

    def _bound(self, report_data: bytes, role: Role, kind: TeeKind) -> ReportDataIs:
        """The policy that a quote is about what a node binds.

        Args:
            report_data: The 64 bytes that the node binds.
            role: Its role.
            kind: Its kind of TEE: a launcher may make its quotes, of a hash of them.
        """
        return ReportDataIs(quoted_report_data(self._trust, role, kind, report_data))

    def tokens(self, role: Role, kind: TeeKind) -> tuple[TokenTrust, ...]:
        """The tokens that the contract demands of nodes, beside what their quotes must say."""
        return self._trust.tokens_of(role, kind)

    def policies(self, role: Role, kind: TeeKind) -> tuple[Policy, ...]:
        """The policies of the contract for one role in one kind of TEE.

        Raises:
            EvidenceRefused: The contract trusts no node in this role (check ``role``), or none in
                this kind of TEE (check ``tee_kind``).
        """
        tables = self._trust.tables(role)
        if not tables:
            raise EvidenceRefused(
                "role",
                f"the contract has no reference values for the role {role}",
                expected=f"a table trust.roles.{role}",
                seen="none",
                remedy="agree on a contract that lists what this role may run",
            )
        table = tables.get(kind)
        if table is None:
            raise EvidenceRefused(
                "tee_kind",
                f"no reference values are listed for the role {role} in this kind of TEE",
                expected=" or ".join(tables),
                seen=kind,
                remedy="list the kind in what this side demands of the role, or run the node in another",
            )
        policies = reader_of(family_of(kind)).policies(table, kind, self._own)
        return (*policies, *_endorsed(table, self._endorsements))


def _endorsed(table: RoleTrust, endorsements: Mapping[bytes, bytes]) -> tuple[Policy, ...]:
    if table.endorsement is None:
        return ()
    from coterie.attestation.endorsed.policy import EndorsedBy  # nobody else loads it

    return (EndorsedBy(table.endorsement, endorsements),)


def contracted_appraiser(
    trust: TrustSection, *, own_measurement: bytes | None, folder: Path | None = None
) -> Appraiser:
    """An appraiser with the launch endorsements that its contract demands, as far as there are any.

    Args:
        trust: The contract's section.
        own_measurement: This node's own measurement, for ``measurement = "own"``.
        folder: Directory of collateral, which may hold launch endorsements.

    Raises:
        EnvironmentUnfit: A launch endorsement cannot be read.
    """
    endorsements: dict[bytes, bytes] = {}
    if trust.endorsed:
        from coterie.attestation.endorsed.documents import launch_endorsements

        endorsements = launch_endorsements(trust, own_measurement=own_measurement, folder=folder)
    return Appraiser(trust, own_measurement=own_measurement, endorsements=endorsements)


def assess(
    quote: bytes | AnyQuote,
    collateral: AnyCollateral,
    *,
    kind: TeeKind,
    root: AnyRoot,
    policies: Sequence[Policy],
    at: datetime,
    evidence: AuthenticEvidence | None = None,
) -> Appraisal:
    """Authenticates a quote and applies policies.

    Args:
        quote: The quote; a tool gives the bytes that it has read.
        collateral: Collateral for its platform.
        kind: The one kind of TEE that is accepted.
        root: The one root that is accepted.
        policies: Requirements besides authenticity.
        at: The moment that counts, with a time zone.
        evidence: This quote, where it has been authenticated by this collateral, at this moment, already.
    """
    checks = CheckList() if evidence is None else CheckList(evidence.checks)
    try:
        if evidence is None:
            parsed = parse_evidence(quote, (kind,)) if isinstance(quote, bytes) else quote
            evidence = authenticate(parsed, collateral, kind=kind, root=root, at=at, checks=checks)
        assert evidence.kind == kind
        for policy in policies:
            policy.verify(evidence, checks)
    except EvidenceRefused as error:
        checks.failed(error)
        rest = _with_the_rest(checks, kind, policies)
        return Appraisal(None, error, rest, evidence, evidence.quote if evidence else None)
    verdict = Verdict(
        tee=kind,
        tcb_status=evidence.tcb.status,
        advisories=evidence.tcb.advisories,
        measurements=evidence.quote.measurements,
        fmspc=evidence.platform.family,
        ppid=evidence.platform.identifier,
        evaluation_number=evidence.evaluation_number,
        checks=checks.checks,
        expiry=evidence.expiry,
    )
    return Appraisal(verdict, None, verdict.checks, evidence, evidence.quote)


def _with_the_rest(
    checks: CheckList, kind: TeeKind, policies: Sequence[Policy]
) -> tuple[Check, ...]:
    made = {check.name for check in checks.checks}
    names = (*check_names(kind), *(name for policy in policies for name in policy.check_names))
    for name in dict.fromkeys(names):
        if name not in made:
            checks.not_run(name)
    return checks.checks
