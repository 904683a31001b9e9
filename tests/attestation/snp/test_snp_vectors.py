"""A real report by a Milan, with AMD's own certificates: genuine, and every bit of it counts.

No revocation list of AMD's comes with it: what needs one is shown with the simulated vendor.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coterie.attestation.appraiser import assess
from coterie.attestation.evidence import check_names, parse_evidence, screen
from coterie.attestation.snp.authenticity import OF_THE_QUOTE, screen_snp
from coterie.attestation.snp.certificates import read_certificate
from coterie.attestation.snp.products import PRODUCTS, Tcb
from coterie.attestation.snp.quote import SnpQuote, encode_snp_quote
from coterie.attestation.snp.roots import AMD_ROOTS
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused
from tests.attestation.conftest import Sampled
from tests.attestation.snp.forgeries import HONEST, ISSUED
from tests.conftest import REPOSITORY

VECTORS = REPOSITORY.parent / "shared" / "attestation-vectors-cloud"
AT = datetime(2026, 3, 1, tzinfo=UTC)


def folder() -> Path:
    """The folder of real evidence; skips where it is absent."""
    if not VECTORS.is_dir():
        pytest.skip(f"real evidence is not here: {VECTORS}")
    return VECTORS


def certificates(text: str) -> list[bytes]:
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----(.*?)-----END", text, re.DOTALL)
    return [base64.b64decode(block) for block in blocks]


def chain_of(product: str) -> tuple[bytes, bytes, bytes]:
    """AMD's ASK, ARK and ASVK of a product line."""
    text = (folder() / "amd" / f"{product.lower()}_ask_ark_asvk.pem").read_text()
    ask, ark, asvk = certificates(text)
    return ask, ark, asvk


def evidence() -> bytes:
    ask, ark, _ = chain_of("Milan")
    parts = folder() / "snp_milan_vcek"
    vcek = (parts / "vcek.der").read_bytes()
    return encode_snp_quote((parts / "report.bin").read_bytes(), "vcek", (vcek, ask, ark))


def screened(data: bytes) -> tuple[SnpQuote, CheckList]:
    checks = CheckList()
    found = screen(data, kind="snp", root=AMD_ROOTS, at=AT, checks=checks).quote
    assert isinstance(found, SnpQuote)
    return found, checks


def test_the_real_report_is_genuine() -> None:
    (said,) = (
        entry
        for entry in json.loads((folder() / "manifest.json").read_text())["vectors"]
        if entry["name"] == "snp_milan_vcek"
    )
    found, checks = screened(evidence())
    assert tuple(check.name for check in checks.checks) == (
        *("quote_format", "tee_kind"),
        *OF_THE_QUOTE,
    )
    report, shown = found.report, dict(found.measurements)
    assert shown["launch_measurement"] == said["measurement"]
    assert shown["guest_policy"] == f"{int(said['policy'], 16):016x}"
    assert (report.version, report.vmpl) == (said["version"], said["vmpl"])
    assert shown["guest_svn"] == str(said["guest_svn"])
    assert report.report_data.hex() == said["report_data"]
    assert report.reported_tcb.hex() == said["reported_tcb_le"]
    platform = screen_snp(found, roots=AMD_ROOTS, at=AT, checks=CheckList())
    assert platform.family == "Milan"
    assert platform.reported == Tcb(3, 0, 8, 115)
    assert platform.current == Tcb(3, 0, 8, 206)
    assert found.kind == "snp"


def test_without_amds_list_it_is_refused() -> None:
    """A list by the simulated vendor is none of AMD's."""
    outcome = assess(
        evidence(), HONEST.issue(ISSUED), kind="snp", root=AMD_ROOTS, policies=(), at=AT
    )
    assert outcome.refusal is not None
    assert outcome.refusal.failed_check == "root_crl_issuer"
    assert {check.name for check in outcome.checks} == set(check_names("snp"))


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_roots_are_amds(product: str) -> None:
    """The keys in the source are those of AMD's own certificates, which sign ASK and ASVK."""
    ask, ark, asvk = (read_certificate(der) for der in chain_of(product))
    assert ark.spki_sha256 == AMD_ROOTS.keys[product]
    assert ark.common_name == f"ARK-{product}"
    assert (ask.common_name, asvk.common_name) == (f"SEV-{product}", f"SEV-VLEK-{product}")
    assert ask.issuer == asvk.issuer == ark.subject


@pytest.mark.parametrize("product", ["Genoa", "Turin"])
def test_a_chain_of_another_product_line_is_refused(product: str) -> None:
    ask, ark, _ = chain_of(product)
    parts = folder() / "snp_milan_vcek"
    data = encode_snp_quote(
        (parts / "report.bin").read_bytes(), "vcek", ((parts / "vcek.der").read_bytes(), ask, ark)
    )
    with pytest.raises(EvidenceRefused) as refusal:
        screened(data)
    assert refusal.value.failed_check == "vek_chain_signature"


def test_the_ca_of_vleks_is_refused_over_a_vcek() -> None:
    _, ark, asvk = chain_of("Milan")
    parts = folder() / "snp_milan_vcek"
    data = encode_snp_quote(
        (parts / "report.bin").read_bytes(), "vcek", ((parts / "vcek.der").read_bytes(), asvk, ark)
    )
    with pytest.raises(EvidenceRefused) as refusal:
        screened(data)
    assert refusal.value.failed_check == "vek_chain_role"


def test_the_azure_report_is_genuine_below_its_vtpm() -> None:
    """Azure's guests show the same report inside of the HCL report, from byte 32 on."""
    parts = folder() / "azure_snp_vtpm"
    report = (parts / "hcl-report.bin").read_bytes()[32 : 32 + 1184]
    vcek, ask, ark = certificates((parts / "vcek.pem").read_text())
    found, _ = screened(encode_snp_quote(report, "vcek", (vcek, ask, ark)))
    platform = found.platform()
    assert (platform.product, platform.key) == ("milan", "vcek")


def test_a_certificate_of_long_ago_proves_nothing() -> None:
    with pytest.raises(EvidenceRefused) as refusal:
        screen(
            evidence(),
            kind="snp",
            root=AMD_ROOTS,
            at=datetime(2031, 1, 1, tzinfo=UTC),
            checks=CheckList(),
        )
    assert refusal.value.failed_check == "vek_chain_validity"


@pytest.mark.sampled
def test_every_bit_of_the_real_evidence_counts(sampled: Sampled) -> None:
    data = evidence()
    screened(data)
    accepted = []
    every = ((byte, bit) for byte in range(len(data)) for bit in range(8))
    for byte, bit in sampled(every, 97):
        changed = bytearray(data)
        changed[byte] ^= 1 << bit
        try:
            screened(bytes(changed))
        except EvidenceRefused:
            continue
        accepted.append((byte, bit))
    assert accepted == []


def test_the_same_evidence_is_read_again() -> None:
    quote = parse_evidence(evidence())
    assert isinstance(quote, SnpQuote)
    assert replace(quote) == parse_evidence(quote.canonical)
