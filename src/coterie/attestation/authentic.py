"""Evidence that was authenticated, whatever kind of TEE made it: what policies are applied to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from coterie.attestation.collateral import Collateral
from coterie.attestation.dcap import PlatformIdentity, TcbState
from coterie.attestation.quote import Quote
from coterie.attestation.snp.collateral import SnpCollateral
from coterie.attestation.snp.platform import SnpPlatform
from coterie.attestation.snp.quote import SnpQuote
from coterie.attestation.verdict import Check
from coterie.attestation.vtpm.quote import VtpmQuote
from coterie.kinds import TeeKind

AnyQuote = Quote | SnpQuote | VtpmQuote
AnyCollateral = Collateral | SnpCollateral


@dataclass(frozen=True)
class AuthenticEvidence:
    """A quote that a genuine TEE made, and its platform's state.

    Attributes:
        kind: Kind of TEE.
        quote: The parsed quote.
        tcb: State of its platform: status, open advisories, levels. For SNP, which has no statuses,
            the committed TCB in words.
        platform: Which platform it is, and how it is configured.
        evaluation_number: The lower one of TCB info's and QE identity's; 0 for SNP.
        expiry: Time at which the first of chains, CRLs and statements expires.
        at: Time as of which it was verified.
        checks: Every check that was made.
    """

    kind: TeeKind
    quote: AnyQuote
    tcb: TcbState
    platform: PlatformIdentity | SnpPlatform
    evaluation_number: int
    expiry: datetime
    at: datetime
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Vetted:
    """Collateral that is genuine.

    Attributes:
        collateral: The collateral.
        evidence: What was authenticated by it to find that out; None where that was done earlier.
    """

    collateral: AnyCollateral
    evidence: AuthenticEvidence | None = None

    def evidence_of(self, quote: AnyQuote, at: datetime) -> AuthenticEvidence | None:
        """The evidence, if it is this quote, authenticated for this moment."""
        found = self.evidence
        return found if found is not None and found.quote is quote and found.at == at else None
