"""Attestation: quotes, the vendor's statements on platforms, and what a contract accepts.

A relying party gets one of two things from an :class:`Appraiser`: a :class:`Verdict` that lists
every check, or an ``EvidenceRefused`` that names the failing one. Parsing and appraisal are pure;
devices, networks, files and clocks are at the edges (``tee/``, ``pccs``, ``collateral_source``,
``clock``). Terms are those of RFC 9334 (RATS).
"""

from coterie.attestation.appraiser import Appraisal, Appraiser
from coterie.attestation.collateral import Collateral
from coterie.attestation.collateral_source import (
    CachedCollateral,
    CollateralSource,
    DirectoryCollateral,
    SimulatedCollateral,
)
from coterie.attestation.quote import Quote, parse_quote
from coterie.attestation.verdict import Check, Verdict

__all__ = [
    "Appraisal",
    "Appraiser",
    "CachedCollateral",
    "Check",
    "Collateral",
    "CollateralSource",
    "DirectoryCollateral",
    "Quote",
    "SimulatedCollateral",
    "Verdict",
    "parse_quote",
]
