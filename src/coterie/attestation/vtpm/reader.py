"""Evidence of guests that a virtual TPM measures, above that of the hardware's own family."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from coterie.attestation.authentic import AnyCollateral, AnyQuote, AnyRoot, AuthenticEvidence
from coterie.attestation.policy import Policy
from coterie.attestation.readers import Reader, reader_of
from coterie.attestation.verdict import CheckList
from coterie.attestation.vtpm import authenticity
from coterie.attestation.vtpm.contracted import vtpm_policies_of
from coterie.attestation.vtpm.quote import VtpmQuote, parse_vtpm_quote
from coterie.contract.trust import RoleTrust
from coterie.kinds import OF_SNP, TeeKind

FORMATS = ("quote_format", *authenticity.FORMATS)


def parse(data: bytes) -> VtpmQuote:
    """Parses evidence; see `parse_vtpm_quote`."""
    return parse_vtpm_quote(data)


def check_names(kind: TeeKind) -> tuple[str, ...]:
    """Names of the checks of authenticity: the hardware's, then the TPM's."""
    return (*_below(kind).check_names(kind), *authenticity.CHECKS)


def screen(
    quote: AnyQuote, *, kind: TeeKind, root: AnyRoot, at: datetime, checks: CheckList
) -> None:
    """Makes the checks without collateral."""
    ours = _ours(quote)
    _below(kind).screen(ours.hardware, kind=kind, root=root, at=at, checks=checks)
    authenticity.verify_tpm(ours, checks)


def authenticate(
    quote: AnyQuote,
    collateral: AnyCollateral,
    *,
    kind: TeeKind,
    root: AnyRoot,
    at: datetime,
    checks: CheckList,
) -> AuthenticEvidence:
    """Makes all checks."""
    ours = _ours(quote)
    below = _below(kind).authenticate(
        ours.hardware, collateral, kind=kind, root=root, at=at, checks=checks
    )
    authenticity.verify_tpm(ours, checks)
    return replace(below, quote=ours, checks=checks.checks)


def policies(table: RoleTrust, kind: TeeKind, own_measurement: bytes | None) -> tuple[Policy, ...]:
    """The policies of a role's table: the program is measured by the TPM, the paravisor by the hardware."""
    paravisor = table.model_copy(update={"measurement": None})
    return (
        *_below(kind).policies(paravisor, kind, None),
        *vtpm_policies_of(table, own_measurement),
    )


def _below(kind: TeeKind) -> Reader:
    return reader_of("snp" if kind in OF_SNP else "dcap")


def _ours(quote: AnyQuote) -> VtpmQuote:
    if not isinstance(quote, VtpmQuote):
        raise TypeError("evidence of a virtual TPM is needed: a defect of the caller")
    return quote
