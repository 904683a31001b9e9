"""Evidence is told by its first bytes; what is of a family that does not count here is not read."""

from __future__ import annotations

import json

import pytest

from coterie.attestation.evidence import parse_evidence, read_collateral
from coterie.attestation.recognition import Family, claimed_family, family_of
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, TdFields, sgx_quote, tdx_quote
from coterie.errors import EvidenceRefused
from coterie.kinds import TeeKind
from tests.attestation.vtpm.forgeries import DATA, ISSUED, PCRS, SNP, TDX

SGX = sgx_quote(SimulatedPki(), EnclaveFields(mrenclave=bytes(32)))
TD = tdx_quote(SimulatedPki(tee="TDX"), TdFields(mrtd=bytes(48)).encode())
EVIDENCE: dict[Family, bytes] = {
    "dcap": SGX,
    "snp": SNP.hardware,
    "vtpm-snp": SNP.evidence(DATA, PCRS),
    "vtpm-dcap": TDX.evidence(DATA, PCRS),
}
CLAIMS: dict[Family, str] = {
    "dcap": "from SGX or TDX, real or simulated",
    "snp": "from SEV-SNP, real or simulated",
    "vtpm-snp": "from an Azure guest above SEV-SNP, real or simulated",
    "vtpm-dcap": "from an Azure guest above TDX, real or simulated",
}
# A kind of each family, and how a refusal says what it expected.
KINDS: dict[Family, tuple[TeeKind, str]] = {
    "dcap": ("sgx", "from SGX"),
    "snp": ("snp", "from SEV-SNP"),
    "vtpm-snp": ("azure-snp", "from an Azure guest above SEV-SNP"),
    "vtpm-dcap": ("azure-tdx", "from an Azure guest above TDX"),
}


@pytest.mark.parametrize("family", EVIDENCE)
def test_evidence_is_told_by_its_first_bytes(family: Family) -> None:
    assert claimed_family(EVIDENCE[family]) == family
    assert claimed_family(EVIDENCE[family][:128]) == family
    assert family_of(parse_evidence(EVIDENCE[family]).kind) == family


def test_a_quote_of_tdx_is_of_the_family_of_sgx() -> None:
    assert claimed_family(TD) == "dcap"
    assert family_of("tdx") == family_of("sgx") == family_of("simulated") == "dcap"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\3",
        b"\1\0\2\0" + bytes(100),
        b"\3\0\0\0",
        b"COTVTPM\2" + bytes(99),
        b"COTVTPM\1" + bytes(70),
    ],
)
def test_what_begins_like_no_evidence_is_of_no_family(data: bytes) -> None:
    assert claimed_family(data) is None


@pytest.mark.parametrize("demanded", KINDS)
@pytest.mark.parametrize("seen", EVIDENCE)
def test_evidence_of_another_family_is_refused_unread(demanded: Family, seen: Family) -> None:
    if demanded == seen:
        return
    kind, expected = KINDS[demanded]
    # Only its beginning is evidence: whoever parsed it would find it malformed.
    with pytest.raises(EvidenceRefused) as refusal:
        parse_evidence(EVIDENCE[seen][:128] + b"\xff" * 64, (kind,))
    assert refusal.value.failed_check == "tee_kind"
    assert refusal.value.what == f"the evidence is {CLAIMS[seen]}"
    assert (refusal.value.expected, refusal.value.seen) == (expected, CLAIMS[seen])


def test_a_refusal_names_all_kinds_that_count() -> None:
    with pytest.raises(EvidenceRefused) as refusal:
        parse_evidence(SNP.hardware, ("tdx", "sgx"))
    assert refusal.value.expected == "from SGX or from TDX"


@pytest.mark.parametrize("family", KINDS)
def test_what_is_no_evidence_is_malformed_for_every_kind(family: Family) -> None:
    with pytest.raises(EvidenceRefused) as refusal:
        parse_evidence(b"\1\0\2\0" + bytes(2000), (KINDS[family][0],))
    assert refusal.value.failed_check == "quote_format"


@pytest.mark.parametrize(
    ("kind", "text", "expected", "seen"),
    [
        ("sgx", SNP.amd.issue(ISSUED).to_json(), "Intel's", "AMD's"),
        ("azure-snp", TDX.pki.issue(ISSUED).to_json(), "AMD's", "Intel's"),
    ],
)
def test_collateral_of_a_vendor_of_no_listed_kind_is_refused(
    kind: TeeKind, text: str, expected: str, seen: str
) -> None:
    assert read_collateral(text).to_json() == text
    for one in (text, json.dumps({"amd_crl": "no hex"}) if seen == "AMD's" else "{}"):
        with pytest.raises(EvidenceRefused) as refusal:
            read_collateral(one, (kind,))
        assert refusal.value.failed_check == "collateral_format"
        assert (refusal.value.expected, refusal.value.seen) == (expected, seen)
