"""Forged SNP evidence: a row is one property of the simulated AMD or of a guest that is not honest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from coterie.attestation.appraiser import Appraisal, assess
from coterie.attestation.policy import Policy
from coterie.attestation.snp.collateral import SnpCollateral
from coterie.attestation.snp.products import Tcb
from coterie.attestation.tee.by_kind import simulated_snp_roots
from coterie.attestation.tee.simulated.snp_vendor import CHIP, GuestFields, SimulatedAmd
from coterie.kinds import TeeKind

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ISSUED = AT - timedelta(days=1)
HONEST = SimulatedAmd()
VLEK = SimulatedAmd(key="vlek")
TURIN = SimulatedAmd(
    product="Turin", tcb=Tcb(1, 1, 4, 71, fmc=1), chip_id=CHIP[:8].ljust(64, b"\0")
)
GUEST = GuestFields(b"\x33" * 48)


@dataclass(frozen=True)
class Row:
    """One forgery.

    Attributes:
        check: The check that must refuse it.
        why: What is forged.
        kind: Kind of TEE that the relying party demands.
        vendor: The vendor and its platform.
        guest: What the report says of the guest.
        quote: Changes the finished evidence.
        collateral: Changes the collateral.
        policies: What is demanded besides.
        at: The moment that counts.
    """

    check: str
    why: str
    kind: TeeKind = "simulated-snp"
    vendor: SimulatedAmd = HONEST
    guest: GuestFields = GUEST
    quote: Callable[[bytes], bytes] = lambda quote: quote
    collateral: Callable[[SnpCollateral], SnpCollateral] = lambda collateral: collateral
    policies: tuple[Policy, ...] = ()
    at: datetime = field(default=AT)

    def assess(self) -> Appraisal:
        """Judges the evidence under the honest simulation's roots."""
        return assess(
            self.quote(self.vendor.evidence(self.guest)),
            self.collateral(self.vendor.issue(ISSUED)),
            kind=self.kind,
            root=simulated_snp_roots(),
            policies=self.policies,
            at=self.at,
        )
