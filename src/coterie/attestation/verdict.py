"""Named checks, and the verdict, which a relying party gets if all of them passed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

from coterie.errors import EvidenceRefused
from coterie.kinds import SIMULATED, TeeKind

Outcome = Literal["passed", "failed", "not_run"]

collateral_refused = partial(
    EvidenceRefused, remedy="fetch the collateral again: coterie attest fetch"
)
"""The error of a check that newer collateral may pass."""


@dataclass(frozen=True)
class Check:
    """One check and its outcome.

    Attributes:
        name: Stable name; an ``EvidenceRefused`` carries it as ``failed_check``.
        outcome: ``passed``, ``failed`` or ``not_run`` (an earlier check failed).
        detail: The observed value.
    """

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Verdict:
    """Accepted evidence.

    Attributes:
        tee: Kind of TEE that made it.
        tcb_status: Worst TCB status of platform, quoting enclave and TDX module; for SNP the committed
            TCB in words.
        advisories: Open advisories of that state.
        measurements: Names and values (hex or decimal) of its measurements.
        fmspc: Platform family: FMSPC in hex, or SNP's product line.
        ppid: The platform: PPID or SNP's chip id, hex; empty if the host hides the chip's.
        evaluation_number: TCB evaluation data number of the collateral; 0 for SNP.
        checks: Every check that was made, in order.
        expiry: Time at which the collateral, and with it the verdict, expires.
    """

    tee: TeeKind
    tcb_status: str
    advisories: tuple[str, ...]
    measurements: tuple[tuple[str, str], ...]
    fmspc: str
    ppid: str
    evaluation_number: int
    checks: tuple[Check, ...]
    expiry: datetime

    @property
    def simulated(self) -> bool:
        """Whether the evidence proves nothing."""
        return self.tee in SIMULATED


class CheckList:
    """Collects checks as they are made; made for one appraisal.

    Args:
        made: Checks that were made before.
    """

    def __init__(self, made: tuple[Check, ...] = ()) -> None:
        self._checks = list(made)

    def passed(self, name: str, detail: str = "") -> None:
        """Records a check that passed."""
        self._checks.append(Check(name, "passed", detail))

    def failed(self, error: EvidenceRefused) -> None:
        """Records the check that an error names."""
        detail = "; ".join(
            f"{label} {text}"
            for label, text in (("expected", error.expected), ("seen", error.seen))
            if text
        )
        self._checks.append(Check(error.failed_check, "failed", detail))

    def not_run(self, name: str) -> None:
        """Records a check that an earlier failure made pointless."""
        self._checks.append(Check(name, "not_run", ""))

    @property
    def checks(self) -> tuple[Check, ...]:
        """The recorded checks, in order."""
        return tuple(self._checks)
