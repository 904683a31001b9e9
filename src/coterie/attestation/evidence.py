"""Evidence of every kind, behind one seam: parsed, screened and authenticated by its kind.

What a kind of TEE has of its own stands in ``dcap_evidence`` and ``screening`` (SGX and TDX) and in
``snp/`` (SEV-SNP). Whatever comes is read as what it claims to be, and the first check after its
framing is that this is the demanded kind, under that kind's root.
"""

from __future__ import annotations

from datetime import datetime

from cryptography.x509.oid import NameOID

from coterie.attestation.authentic import AnyCollateral, AnyQuote, AuthenticEvidence
from coterie.attestation.collateral import Collateral, read_json
from coterie.attestation.dcap_evidence import authenticate_dcap, dcap_check_names
from coterie.attestation.quote import TEE_TDX, parse_quote
from coterie.attestation.roots import SIMULATED_NAMES, TrustRoot
from coterie.attestation.screening import Screened, screen_dcap
from coterie.attestation.snp import authenticity as snp
from coterie.attestation.snp.authenticity import ScreenedSnp
from coterie.attestation.snp.collateral import SnpCollateral
from coterie.attestation.snp.quote import SnpQuote, is_snp, parse_snp_quote
from coterie.attestation.snp.roots import SIMULATED_PREFIX, AmdRoots
from coterie.attestation.verdict import CheckList, collateral_refused
from coterie.errors import EvidenceRefused
from coterie.kinds import TeeKind

AnyRoot = TrustRoot | AmdRoots
AnyScreened = Screened | ScreenedSnp
_DESCRIPTIONS: dict[TeeKind, str] = {
    "simulated": "from a simulated TEE: it proves nothing",
    "simulated-snp": "from a simulated SNP guest: it proves nothing",
    "sgx": "from SGX",
    "tdx": "from TDX",
    "snp": "from SEV-SNP",
}


def parse_evidence(data: bytes) -> AnyQuote:
    """Parses evidence of any kind.

    Args:
        data: A DCAP quote, or SNP evidence.

    Raises:
        EvidenceRefused: The bytes are neither (check ``quote_format``).
    """
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
    if isinstance(quote, SnpQuote):
        simulated = quote.chain[-1].common_name.startswith(SIMULATED_PREFIX)
        return "simulated-snp" if simulated else "snp"
    if quote.tee_type == TEE_TDX:
        return "tdx"
    names = quote.pck_chain[-1].subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    simulated = [name.value for name in names] == [SIMULATED_NAMES.root]
    return "simulated" if simulated else "sgx"


def check_names(kind: TeeKind) -> tuple[str, ...]:
    """Names of all checks that :func:`authenticate` makes for one kind of TEE, in order."""
    of_snp = kind in {"snp", "simulated-snp"}
    return ("quote_format", "tee_kind", *(snp.CHECKS if of_snp else dcap_check_names(kind)))


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
    if isinstance(quote, SnpQuote):
        return snp.screen_snp(quote, roots=_roots_of_amd(root), at=at, checks=checks)
    return screen_dcap(quote, root=_root_of_intel(root), at=at, checks=checks)


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
    if isinstance(quote, SnpQuote):
        if not isinstance(collateral, SnpCollateral):
            raise _other_vendors("AMD's", "Intel's")
        roots = _roots_of_amd(root)
        return snp.authenticate_snp(quote, collateral, kind=kind, roots=roots, at=at, checks=checks)
    if not isinstance(collateral, Collateral):
        raise _other_vendors("Intel's", "AMD's")
    return authenticate_dcap(
        quote, collateral, kind=kind, root=_root_of_intel(root), at=at, checks=checks
    )


def _verify_kind(quote: AnyQuote, kind: TeeKind, checks: CheckList) -> None:
    checks.passed("quote_format", f"version {quote.version}, {len(quote.canonical)} bytes")
    seen = kind_of(quote)
    if seen != kind:
        raise EvidenceRefused(
            "tee_kind",
            f"the evidence is {_DESCRIPTIONS[seen]}",
            expected=_DESCRIPTIONS[kind],
            seen=_DESCRIPTIONS[seen],
            remedy="simulated and real never mix: check the contract's trust.tee and the node's TEE",
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
