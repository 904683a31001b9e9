"""Evidence of any kind, as what follows its kind's own code sees it: quotes, collateral, and what was authenticated.

Each kind's quotes and collateral are records of their own. Code that serves all kinds knows them by
the protocols here, so that it loads none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from coterie.attestation.verdict import Check
from coterie.kinds import TeeKind


class AnyPlatform(Protocol):
    """The key by which a platform's collateral is looked up; it can be hashed."""

    @property
    def name(self) -> str:
        """The name of its collateral's files."""
        ...


class AnyIdentity(Protocol):
    """Which platform made a quote."""

    @property
    def family(self) -> str:
        """The platform family: FMSPC in hex, or SNP's product line."""
        ...

    @property
    def identifier(self) -> str:
        """The platform, hex; empty if its host hides it."""
        ...


class AnyRoot(Protocol):
    """The roots of one vendor."""

    @property
    def vendor(self) -> str:
        """The vendor's name, for people."""
        ...

    @property
    def simulated(self) -> bool:
        """Whether they prove nothing."""
        ...


class AnyQuote(Protocol):
    """A quote with checked framing; nothing in it is verified."""

    @property
    def version(self) -> int:
        """Version of its form."""
        ...

    @property
    def kind(self) -> TeeKind:
        """The kind of TEE that it claims to be from."""
        ...

    @property
    def report_data(self) -> bytes:
        """What the program says, 64 bytes."""
        ...

    @property
    def canonical(self) -> bytes:
        """The form that is verified, stored and sent on."""
        ...

    @property
    def measurements(self) -> tuple[tuple[str, str], ...]:
        """Names and values (hex; numbers decimal) of what it says of the program."""
        ...

    @property
    def hardware(self) -> AnyQuote:
        """The evidence of the hardware: of a guest with a virtual TPM, what is below it; else itself."""
        ...

    def platform(self) -> AnyPlatform:
        """Reads which collateral it needs.

        Raises:
            EvidenceRefused: It does not say that.
        """
        ...


class AnyFreshness(Protocol):
    """The dates of collateral."""

    @property
    def newest(self) -> datetime:
        """The newest issue date; an honest clock cannot be earlier."""
        ...

    @property
    def expiry(self) -> datetime:
        """Time at which the first part expires."""
        ...


class AnyCollateral(Protocol):
    """Collateral of any vendor; nothing in it is verified."""

    def to_json(self) -> str:
        """The JSON form."""
        ...

    def freshness(self) -> AnyFreshness:
        """Reads its dates; no signature is checked.

        Raises:
            EvidenceRefused: A part is malformed.
        """
        ...

    def renewed_by(self, candidate: AnyCollateral) -> AnyCollateral:
        """The newer parts of this and of other genuine collateral for the same platform.

        Args:
            candidate: Its signatures must have been checked: a forged date of issue would replace
                genuine parts. Another vendor's replaces this.

        Raises:
            EvidenceRefused: A part is malformed.
        """
        ...

    def is_for(self, quote: AnyQuote) -> bool:
        """Whether it names the platform family, or the root, of a quote.

        Raises:
            EvidenceRefused: The collateral or the quote is malformed.
        """
        ...


@dataclass(frozen=True)
class TcbLevel:
    """The TCB level that one part of the platform has reached.

    Attributes:
        part: ``platform`` or ``quoting enclave``.
        status: Its status.
        date: The level's date; vulnerabilities that became known later are not fixed by it.
    """

    part: str
    status: str
    date: datetime


@dataclass(frozen=True)
class TcbState:
    """TCB state of the platform that made a quote.

    Attributes:
        status: Worst status of platform, quoting enclave and TDX module.
        advisories: Open advisories, sorted.
        levels: Levels of platform and quoting enclave; dcap-qvl does not report a TDX module's.
    """

    status: str
    advisories: tuple[str, ...]
    levels: tuple[TcbLevel, ...]


@dataclass(frozen=True)
class Screened:
    """A quote that a genuine TEE made, whatever the state of its platform.

    Attributes:
        quote: The quote.
    """

    quote: AnyQuote


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
    platform: AnyIdentity
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
