"""Evidence of every kind, behind one seam: parsed, screened and authenticated by its kind.

What a kind of TEE has of its own stands in ``dcap_evidence`` and ``screening`` (SGX and TDX), in
``snp/`` (SEV-SNP) and in ``vtpm/`` (what a virtual TPM says above one of these). Whatever comes is
read as what it claims to be, and the first check after its framing is that this is the demanded kind,
under that kind's root.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cryptography.x509.oid import NameOID

from coterie.attestation.authentic import AnyCollateral, AnyQuote, AuthenticEvidence
from coterie.attestation.collateral import Collateral, read_json
from coterie.attestation.dcap_evidence import authenticate_dcap, dcap_check_names
from coterie.attestation.quote import TEE_TDX, Quote, parse_quote
from coterie.attestation.roots import SIMULATED_NAMES, TrustRoot
from coterie.attestation.screening import Screened, screen_dcap
from coterie.attestation.snp import authenticity as snp
from coterie.attestation.snp.authenticity import ScreenedSnp
from coterie.attestation.snp.collateral import SnpCollateral
from coterie.attestation.snp.quote import SnpQuote, is_snp, parse_snp_quote
from coterie.attestation.snp.roots import SIMULATED_PREFIX, AmdRoots
from coterie.attestation.verdict import CheckList, collateral_refused
from coterie.attestation.vtpm import authenticity as vtpm
from coterie.attestation.vtpm.authenticity import ScreenedVtpm
from coterie.attestation.vtpm.quote import VtpmQuote, hardware_of, is_vtpm, parse_vtpm_quote
from coterie.errors import EvidenceRefused
from coterie.kinds import OF_SNP, OF_VTPM, TeeKind

AnyRoot = TrustRoot | AmdRoots
AnyScreened = Screened | ScreenedSnp | ScreenedVtpm
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


def parse_evidence(data: bytes) -> AnyQuote:
    """Parses evidence of any kind.

    Args:
        data: A DCAP quote, SNP evidence, or that of a virtual TPM.

    Raises:
        EvidenceRefused: The bytes are none of these (check ``quote_format``), or a part of a virtual
            TPM's is malformed (``runtime_data_format``, ``tpm_key``, ``tpm_quote_format``).
    """
    if isinstance(data, bytes) and is_vtpm(data):
        return parse_vtpm_quote(data)
    if isinstance(data, bytes) and is_snp(data):
        return parse_snp_quote(data)
    return parse_quote(data)


def read_collateral(text: str | bytes) -> AnyCollateral:
    """Reads the JSON form of collateral of any kind.

    Raises:
        EvidenceRefused: The text is not such an object (check ``collateral_format``).
    """
    fields = read_json(text)
    return (SnpCollateral if "amd_crl" in fields else Collateral).of_fields(fields)


def kind_of(quote: AnyQuote) -> TeeKind:
    """The kind of TEE that a quote claims to be from; nothing of it is proved."""
    hardware, above = hardware_of(quote), isinstance(quote, VtpmQuote)
    if isinstance(hardware, SnpQuote):
        simulated = hardware.chain[-1].common_name.startswith(SIMULATED_PREFIX)
        if above:
            return "simulated-azure-snp" if simulated else "azure-snp"
        return "simulated-snp" if simulated else "snp"
    names = hardware.pck_chain[-1].subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    simulated = [name.value for name in names] == [SIMULATED_NAMES.root]
    if above:
        return "simulated-azure-tdx" if simulated else "azure-tdx"
    if hardware.tee_type == TEE_TDX:
        return "tdx"
    return "simulated" if simulated else "sgx"


def check_names(kind: TeeKind) -> tuple[str, ...]:
    """Names of all checks that :func:`authenticate` makes for one kind of TEE, in order."""
    below = snp.CHECKS if kind in OF_SNP else dcap_check_names(kind)
    if kind in OF_VTPM:
        return ("quote_format", *vtpm.FORMATS, "tee_kind", *below, *vtpm.CHECKS)
    return ("quote_format", "tee_kind", *below)


def screen(
    data: bytes, *, kind: TeeKind, root: AnyRoot, at: datetime, checks: CheckList
) -> AnyScreened:
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
    quote = parse_evidence(data)
    _verify_kind(quote, kind, checks)
    screened: AnyScreened
    hardware = hardware_of(quote)
    if isinstance(hardware, SnpQuote):
        screened = snp.screen_snp(hardware, roots=_roots_of_amd(root), at=at, checks=checks)
    else:
        intel = _root_of_intel(root)
        screened = screen_dcap(hardware, kind=kind, root=intel, at=at, checks=checks)
    if isinstance(quote, VtpmQuote):
        vtpm.verify_tpm(quote, checks)
        return ScreenedVtpm(quote)
    return screened


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
    hardware = hardware_of(quote)
    below = _authenticate(hardware, collateral, kind=kind, root=root, at=at, checks=checks)
    if not isinstance(quote, VtpmQuote):
        return below
    vtpm.verify_tpm(quote, checks)
    return replace(below, quote=quote, checks=checks.checks)


def _authenticate(
    hardware: Quote | SnpQuote,
    collateral: AnyCollateral,
    *,
    kind: TeeKind,
    root: AnyRoot,
    at: datetime,
    checks: CheckList,
) -> AuthenticEvidence:
    if isinstance(hardware, SnpQuote):
        if not isinstance(collateral, SnpCollateral):
            raise _other_vendors("AMD's", "Intel's")
        roots = _roots_of_amd(root)
        return snp.authenticate_snp(
            hardware, collateral, kind=kind, roots=roots, at=at, checks=checks
        )
    if not isinstance(collateral, Collateral):
        raise _other_vendors("Intel's", "AMD's")
    intel = _root_of_intel(root)
    return authenticate_dcap(hardware, collateral, kind=kind, root=intel, at=at, checks=checks)


def _verify_kind(quote: AnyQuote, kind: TeeKind, checks: CheckList) -> None:
    checks.passed("quote_format", f"version {quote.version}, {len(quote.canonical)} bytes")
    for name in vtpm.FORMATS if isinstance(quote, VtpmQuote) else ():
        checks.passed(name)
    seen = kind_of(quote)
    if seen != kind:
        raise EvidenceRefused(
            "tee_kind",
            f"the evidence is {_DESCRIPTIONS[seen]}",
            expected=_DESCRIPTIONS[kind],
            seen=_DESCRIPTIONS[seen],
            remedy="simulated and real never mix: check the kind that the contract gives the node, and the node's TEE",
        )
    checks.passed("tee_kind", kind)


def _roots_of_amd(root: AnyRoot) -> AmdRoots:
    if not isinstance(root, AmdRoots):
        raise TypeError("a DCAP root for SNP evidence: a defect of the caller")
    return root


def _root_of_intel(root: AnyRoot) -> TrustRoot:
    if not isinstance(root, TrustRoot):
        raise TypeError("SNP roots for a DCAP quote: a defect of the caller")
    return root


def _other_vendors(expected: str, seen: str) -> EvidenceRefused:
    return collateral_refused(
        "collateral_format", "the collateral is another vendor's", expected, seen
    )
