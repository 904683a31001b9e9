"""AMD's key distribution service, by its transport: which resources are asked for, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import pytest

from coterie.attestation.collateral_options import collateral_from_options
from coterie.attestation.collateral_source import (
    ByVendor,
    CachedCollateral,
    DirectoryCollateral,
    StapledOnly,
)
from coterie.attestation.evidence import parse_evidence, read_collateral
from coterie.attestation.kds import KdsCollateral
from coterie.attestation.pccs import TIMEOUT_SECONDS, Answer, PccsCollateral
from coterie.attestation.pem import encode
from coterie.attestation.snp.products import PRODUCTS
from coterie.attestation.snp.report import parse_report
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, sgx_quote
from coterie.attestation.tee.simulated.snp_vendor import SimulatedAmd
from coterie.errors import ContractInvalid, EnvironmentUnfit, EvidenceRefused
from tests.attestation.snp.forgeries import AT, GUEST, HONEST, ISSUED, TURIN, VLEK

URL = "https://kds.example"
QUOTE = parse_evidence(HONEST.evidence(GUEST))
PKI = SimulatedPki()
ENCLAVE = parse_evidence(sgx_quote(PKI, EnclaveFields(mrenclave=b"\1" * 32)))


@dataclass
class Service:
    """The transport: what is asked for, and the answers."""

    vendor: SimulatedAmd = HONEST
    body: bytes | None = None
    asked: list[str] = field(default_factory=list)

    def get(self, url: str, seconds: float = TIMEOUT_SECONDS) -> Answer:
        assert seconds <= TIMEOUT_SECONDS
        self.asked.append(url.removeprefix(URL))
        if self.body is not None:
            return Answer({}, self.body)
        if url.endswith("/crl"):
            return Answer({}, self.vendor.issue(ISSUED).amd_crl)
        if url.endswith("/cert_chain"):
            return Answer({}, "".join(encode(der) for der in self.vendor.chain[1:]).encode())
        return Answer({}, self.vendor.chain[0])


@pytest.mark.parametrize(
    ("vendor", "path"),
    [
        (HONEST, "/vcek/v1/Milan/crl"),
        (VLEK, "/vlek/v1/Milan/crl"),
        (TURIN, "/vcek/v1/Turin/crl"),
    ],
)
def test_the_list_of_the_evidences_product_line_is_asked_for(
    vendor: SimulatedAmd, path: str
) -> None:
    service = Service(vendor)
    quote = parse_evidence(vendor.evidence(GUEST))
    assert KdsCollateral(URL + "/", http=service).collateral_for(quote, AT) == vendor.issue(ISSUED)
    assert service.asked == [path]


def test_a_certificate_is_asked_for_by_chip_and_tcb() -> None:
    service = Service()
    kds = KdsCollateral(URL, http=service)
    report = parse_report(HONEST.report(GUEST))
    assert kds.vcek(PRODUCTS["Milan"], report) == HONEST.chain[0]
    late = parse_report(TURIN.report(GUEST))
    kds.vcek(PRODUCTS["Turin"], late)
    assert service.asked == [
        f"/vcek/v1/Milan/{HONEST.chip_id.hex()}?blSPL=04&teeSPL=00&snpSPL=22&ucodeSPL=213",
        f"/vcek/v1/Turin/{TURIN.chip_id[:8].hex()}?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=71",
    ]
    hidden = parse_report(replace(HONEST, reported_chip=bytes(64)).report(GUEST))
    with pytest.raises(EnvironmentUnfit, match="cannot be asked for"):
        kds.vcek(PRODUCTS["Milan"], hidden)


def test_a_chips_certificate_is_one() -> None:
    report = parse_report(HONEST.report(GUEST))
    for body in (b"", b"<html>", encode(HONEST.chain[0]).encode(), HONEST.chain[0] + b"\0"):
        kds = KdsCollateral(URL, http=Service(body=body))
        with pytest.raises(EnvironmentUnfit, match="gives no certificate of a chip") as failure:
            kds.vcek(PRODUCTS["Milan"], report)
        assert failure.value.what.startswith(f"{URL}/vcek/v1/Milan/")


def test_a_chain_is_two_certificates() -> None:
    kds = KdsCollateral(URL, http=Service())
    assert kds.ca_chain(PRODUCTS["Milan"], "vcek") == HONEST.chain[1:]
    kds.check()
    for body in (b"", b"<html>", encode(HONEST.chain[1]).encode(), b"\xff"):
        with pytest.raises(EnvironmentUnfit, match="gives no certificates"):
            KdsCollateral(URL, http=Service(body=body)).check()


@pytest.mark.parametrize("url", ["http://kds.example", "kds.example", "https://", "file:///x"])
def test_only_https_is_used(url: str) -> None:
    with pytest.raises(EnvironmentUnfit, match="not usable"):
        KdsCollateral(url)


def test_each_vendor_is_asked_for_its_own() -> None:
    kds = KdsCollateral(URL, http=Service())
    for source, quote in ((kds, ENCLAVE), (PccsCollateral("https://pccs.example"), QUOTE)):
        with pytest.raises(EvidenceRefused) as refusal:
            source.collateral_for(quote, AT)
        assert refusal.value.failed_check == "collateral_missing"
    both = ByVendor(intel=StapledOnly(), amd=kds)
    assert both.collateral_for(QUOTE, AT) == HONEST.issue(ISSUED)
    with pytest.raises(EvidenceRefused):
        both.collateral_for(ENCLAVE, AT)


def test_answers_are_cached_until_they_expire_and_kept_in_a_folder(tmp_path: Path) -> None:
    service, directory = Service(), DirectoryCollateral(tmp_path)
    told: list[datetime] = []
    cache = CachedCollateral(
        KdsCollateral(URL, http=service),
        kinds={"simulated-snp"},
        directory=directory,
        observe=told.append,
    )
    for _ in range(3):
        assert cache.collateral_for(QUOTE, AT) == HONEST.issue(ISSUED)
    assert len(service.asked) == 1
    assert told == [ISSUED]
    assert [path.name for path in tmp_path.iterdir()] == ["snp-milan-vcek.json"]
    again = CachedCollateral(StapledOnly(), kinds={"simulated-snp"}, directory=directory)
    assert again.collateral_for(QUOTE, AT) == HONEST.issue(ISSUED)
    assert directory.collateral_for(QUOTE, AT) == HONEST.issue(ISSUED)


def test_a_forged_answer_is_not_kept(tmp_path: Path) -> None:
    forger = Service(replace(HONEST, crl_key="stranger"))
    cache = CachedCollateral(
        KdsCollateral(URL, http=forger),
        kinds={"simulated-snp"},
        directory=DirectoryCollateral(tmp_path),
    )
    with pytest.raises(EvidenceRefused) as refusal:
        cache.collateral_for(QUOTE, AT)
    assert refusal.value.failed_check == "root_crl_issuer"
    assert not list(tmp_path.iterdir())


def test_a_clock_that_is_behind_the_list_is_told() -> None:
    cache = CachedCollateral(KdsCollateral(URL, http=Service()), kinds={"simulated-snp"})
    with pytest.raises(EvidenceRefused) as refusal:
        cache.collateral_for(QUOTE, ISSUED.replace(year=2025))
    assert refusal.value.failed_check == "clock"


def test_evidence_of_another_kind_than_the_contracts_is_refused() -> None:
    cache = CachedCollateral(KdsCollateral(URL, http=Service()), kinds={"simulated"})
    with pytest.raises(EvidenceRefused) as refusal:
        cache.collateral_for(QUOTE, AT)
    assert refusal.value.failed_check == "tee_kind"


def test_the_newer_list_stays() -> None:
    old, new = HONEST.issue(ISSUED), HONEST.issue(AT)
    assert old.renewed_by(new) == new.renewed_by(old) == new
    assert new.freshness().newest == AT
    other = PKI.issue(ISSUED)
    assert other.renewed_by(new) == new
    assert new.renewed_by(other) == other


def test_collateral_is_read_from_its_json() -> None:
    collateral = HONEST.issue(ISSUED)
    assert read_collateral(collateral.to_json()) == collateral
    assert read_collateral(PKI.issue(ISSUED).to_json()) == PKI.issue(ISSUED)
    for text in ('{"amd_crl": "0g"}', '{"amd_crl": "00", "more": ""}', '{"amd_crl": 1}', "{}"):
        with pytest.raises(EvidenceRefused) as refusal:
            read_collateral(text)
        assert refusal.value.failed_check == "collateral_format"


def test_collateral_names_what_it_is_for() -> None:
    assert HONEST.issue(ISSUED).is_for(QUOTE)
    assert not TURIN.issue(ISSUED).is_for(QUOTE)
    assert not HONEST.issue(ISSUED).is_for(ENCLAVE)
    assert not PKI.issue(ISSUED).is_for(QUOTE)
    root = HONEST.chain[2]
    of_no_version = root.replace(b"\xa0\3\2\1\2", b"\xa0\3\2\1\5", 1)
    assert of_no_version != root
    odd = parse_evidence(HONEST.evidence(GUEST).replace(root, of_no_version))
    assert not HONEST.issue(ISSUED).is_for(odd)
    assert QUOTE.platform().name == "snp-milan-vcek"
    stranger = replace(HONEST, ca_name="Coterie Simulated SEV-Rome")
    with pytest.raises(EvidenceRefused) as refusal:
        parse_evidence(stranger.evidence(GUEST)).platform()
    assert refusal.value.failed_check == "vek_chain_role"


@pytest.mark.parametrize(
    ("kinds", "options", "what"),
    [
        ({"sgx"}, {"kds_url": URL}, "--kds-url has no meaning"),
        ({"snp"}, {"pccs_url": URL}, "--pccs-url has no meaning"),
        ({"simulated-snp", "simulated"}, {"kds_url": URL}, "--kds-url has no meaning"),
    ],
)
def test_an_option_without_meaning_is_refused(
    kinds: set[str], options: dict[str, str], what: str
) -> None:
    given = {"pccs_url": None, "kds_url": None, **options}
    with pytest.raises(ContractInvalid, match=what):
        collateral_from_options(kinds, folder=None, observe=lambda _: None, **given)  # type: ignore[arg-type]


def test_options_of_both_vendors_go_together(tmp_path: Path) -> None:
    cache = collateral_from_options(
        {"sgx", "snp"},
        pccs_url="https://pccs.example",
        kds_url=URL,
        folder=tmp_path,
        observe=lambda _: None,
    )
    assert isinstance(cache, CachedCollateral)
