"""Forged evidence of virtual TPMs: a row is one property of the simulated machine that is not honest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from coterie.attestation.appraiser import Appraisal, assess
from coterie.attestation.authentic import AnyCollateral
from coterie.attestation.policy import Policy
from coterie.attestation.tee.by_kind import root_for
from coterie.attestation.tee.simulated.azure import SimulatedVm
from coterie.kinds import TeeKind

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ISSUED = AT - timedelta(days=1)
PCRS = (4, 7, 11)
VALUES = {4: b"\4" * 32, 7: b"\7" * 32, 11: b"\x11" * 32}
SNP = SimulatedVm(pcrs=VALUES)
TDX = SimulatedVm(tdx=True, pcrs=VALUES)
DATA = bytes(range(64))


@dataclass(frozen=True)
class Row:
    """One forgery.

    Attributes:
        check: The check that must refuse it.
        why: What is forged.
        vm: The machine.
        kind: Kind of TEE that the relying party demands; the machine's by default.
        quote: Changes the finished evidence.
        collateral: Changes the collateral.
        policies: What is demanded besides.
        pcrs: The PCRs that are quoted.
    """

    check: str
    why: str
    vm: SimulatedVm = SNP
    kind: TeeKind | None = None
    quote: Callable[[bytes], bytes] = lambda quote: quote
    collateral: Callable[[AnyCollateral], AnyCollateral] = lambda collateral: collateral
    policies: tuple[Policy, ...] = ()
    pcrs: tuple[int, ...] = PCRS

    def assess(self) -> Appraisal:
        """Judges the evidence under the honest simulation's roots."""
        kind = self.kind or ("simulated-azure-tdx" if self.vm.tdx else "simulated-azure-snp")
        vendor = self.vm.pki if self.vm.tdx else self.vm.amd
        return assess(
            self.quote(self.vm.evidence(DATA, self.pcrs)),
            self.collateral(vendor.issue(ISSUED)),
            kind=kind,
            root=root_for(kind),
            policies=self.policies,
            at=AT,
        )
