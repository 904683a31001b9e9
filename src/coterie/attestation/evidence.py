"""Evidence of every kind, behind one seam: parsed, screened and authenticated by its kind.

What a kind of TEE has of its own stands in ``dcap_reader`` (SGX and TDX), in ``snp/`` (SEV-SNP) and in
``vtpm/`` (what a virtual TPM says above one of these); ``readers`` loads it. Whatever comes is told by
its first bytes, and read as what it claims to be if that is a kind that counts here. The first check
after its framing is that this is the demanded kind, under that kind's root.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import get_args

from coterie.attestation.authentic import (
    AnyCollateral,
    AnyQuote,
    AnyRoot,
    AuthenticEvidence,
    Screened,
)
from coterie.attestation.json_collateral import read_json
from coterie.attestation.readers import reader_of
from coterie.attestation.recognition import Family, claimed_family, family_of
from coterie.attestation.verdict import CheckList, collateral_refused
from coterie.errors import EvidenceRefused
from coterie.kinds import OF_SNP, TeeKind

EVERY_KIND: frozenset[TeeKind] = frozenset(get_args(TeeKind))
_DESCRIPTIONS: dict[TeeKind, str] = {
    "simulated": "from a simulated TEE: it proves nothing",
    "simulated-snp": "from a simulated SNP guest: it proves nothing",
    "sgx": "from SGX",
    "tdx": "from TDX",
    "snp": "from SEV-SNP",
    "azure-snp": "from an Azure guest above SEV-SNP",
    "azure-tdx": "from an Azure guest above TDX",
    "simulated-azure-snp": "from a simulated Azure guest above SNP: it proves nothing",
    "simulated-azure-tdx": "from a simulated Azure guest above TDX: it proves nothing",
}
_CLAIMS: dict[Family, str] = {
    "dcap": "from SGX or TDX",
    "snp": "from SEV-SNP",
    "vtpm-snp": "from an Azure guest above SEV-SNP",
    "vtpm-dcap": "from an Azure guest above TDX",
}


def parse_evidence(data: bytes, kinds: Collection[TeeKind] = EVERY_KIND) -> AnyQuote:
    """Parses evidence.

    Args:
        data: A DCAP quote, SNP evidence, or that of a virtual TPM.
        kinds: The kinds that count here. What begins like evidence of other families is not read.

    Raises:
        EvidenceRefused: The bytes begin like evidence of a family that none of the kinds is of (check
            ``tee_kind``); or they are no evidence (``quote_format``), or a part of a virtual TPM's
            is malformed (``runtime_data_format``, ``tpm_key``, ``tpm_quote_format``).
    """
    families = sorted({family_of(kind) for kind in kinds})
    claimed = claimed_family(data)
    if claimed is not None and claimed not in families:
        raise _other_kind(kinds, f"{_CLAIMS[claimed]}, real or simulated")
    return reader_of(claimed or families[0]).parse(data)


def read_collateral(text: str | bytes, kinds: Collection[TeeKind] = EVERY_KIND) -> AnyCollateral:
    """Reads the JSON form of collateral.

    Args:
        text: The JSON form.
        kinds: The kinds that count here; collateral of a vendor of none of them is not read.

    Raises:
        EvidenceRefused: The text is not such an object (check ``collateral_format``).
    """
    fields = read_json(text)
    amds = "amd_crl" in fields
    if not any((kind in OF_SNP) is amds for kind in kinds):
        vendors = ("Intel's", "AMD's") if amds else ("AMD's", "Intel's")
        raise collateral_refused(
            "collateral_format", "the collateral is another vendor's", *vendors
        )
    if amds:
        from coterie.attestation.snp.collateral import SnpCollateral

        return SnpCollateral.of_fields(fields)
    from coterie.attestation.collateral import Collateral

    return Collateral.of_fields(fields)


def check_names(kind: TeeKind) -> tuple[str, ...]:
    """Names of all checks that :func:`authenticate` makes for one kind of TEE, in order."""
    reader = reader_of(family_of(kind))
    return (*reader.FORMATS, "tee_kind", *reader.check_names(kind))


def screen(
    data: bytes, *, kind: TeeKind, root: AnyRoot, at: datetime, checks: CheckList
) -> Screened:
    """Makes all checks of a quote that need no collateral.

    Args:
        data: The quote as it came.
        kind: The one kind of TEE that is accepted.
        root: The one root that is accepted.
        at: The moment that counts, with a time zone.
        checks: Takes up every check that passed.

    Raises:
        EvidenceRefused: A check failed; it has the name that ``authenticate`` gives it.
    """
    quote = parse_evidence(data, (kind,))
    _verify_kind(quote, kind, checks)
    reader_of(family_of(kind)).screen(quote, kind=kind, root=root, at=at, checks=checks)
    return Screened(quote)


def authenticate(
    quote: AnyQuote,
    collateral: AnyCollateral,
    *,
    kind: TeeKind,
    root: AnyRoot,
    at: datetime,
    checks: CheckList,
) -> AuthenticEvidence:
    """Authenticates a quote.

    Args:
        quote: The quote.
        collateral: Collateral for its platform.
        kind: The one kind of TEE that is accepted.
        root: The one root that is accepted.
        at: The moment that counts, with a time zone.
        checks: Takes up every check that passed.

    Raises:
        EvidenceRefused: A check failed.
        ValueError: ``at`` has no time zone: a defect of the caller.
    """
    if at.tzinfo is None:
        raise ValueError("the moment of an appraisal needs a time zone")
    _verify_kind(quote, kind, checks)
    reader = reader_of(family_of(kind))
    return reader.authenticate(quote, collateral, kind=kind, root=root, at=at, checks=checks)


def _verify_kind(quote: AnyQuote, kind: TeeKind, checks: CheckList) -> None:
    first, *others = reader_of(family_of(quote.kind)).FORMATS
    checks.passed(first, f"version {quote.version}, {len(quote.canonical)} bytes")
    for name in others:
        checks.passed(name)
    if quote.kind != kind:
        raise _other_kind((kind,), _DESCRIPTIONS[quote.kind])
    checks.passed("tee_kind", kind)


def _other_kind(kinds: Collection[TeeKind], seen: str) -> EvidenceRefused:
    return EvidenceRefused(
        "tee_kind",
        f"the evidence is {seen}",
        expected=" or ".join(_DESCRIPTIONS[kind] for kind in sorted(kinds)),
        seen=seen,
        remedy="simulated and real never mix: check the kind that the contract gives the node, and the node's TEE",
    )
