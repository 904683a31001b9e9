"""Honest SNP evidence passes all checks, of every product line, kind of key and version of the report."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from coterie.attestation.evidence import check_names
from coterie.attestation.policy import MeasurementIn
from coterie.attestation.snp.certificates import PSS_SHA384, PSS_SHA384_SHORT
from coterie.attestation.snp.endorsement import (
    AMD_OID,
    HARDWARE_ID,
)
from coterie.attestation.snp.platform import PLATFORM_BITS
from coterie.attestation.snp.policies import (
    CloudIn,
    FirmwareFrom,
    GuestSvnFrom,
    PlatformHas,
    TcbFrom,
)
from coterie.attestation.snp.report import Firmware
from coterie.attestation.tee.simulated.snp_vendor import Member, SimulatedAmd
from tests.attestation.forgeries import check_refusal
from tests.attestation.snp.forgeries import (
    AT,
    GUEST,
    HONEST,
    ISSUED,
    TURIN,
    VLEK,
    Row,
)
from tests.attestation.snp.test_snp_refusals import GENOA, PAST, vcek


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("vendor", [HONEST, VLEK, GENOA, TURIN, replace(TURIN, key="vlek")])
def test_honest_evidence_passes_all_checks(vendor: SimulatedAmd, version: int) -> None:
    info = {2: 0x1E, 3: 0x7E, 4: 0x7E, 5: 0xFE}[version]
    row = Row(
        "",
        "",
        vendor=vendor,
        guest=replace(GUEST, version=version, platform_info=info),
        policies=(
            MeasurementIn("launch_measurement", ("33" * 48,)),
            TcbFrom(((vendor.product, vendor.tcb),)),
            CloudIn((vendor.csp_id,)),
            GuestSvnFrom(0),
            FirmwareFrom(Firmware(1, 55, 40)),
            *(
                PlatformHas(name)
                for name, (bit, _) in PLATFORM_BITS.items()
                if version > 2 or bit < 0x20
            ),
        ),
    )
    outcome = row.assess()
    assert outcome.refusal is None
    assert outcome.verdict is not None
    assert outcome.verdict.simulated
    assert outcome.verdict.fmspc == vendor.product
    assert outcome.verdict.expiry == ISSUED + timedelta(days=30)
    names = tuple(check.name for check in outcome.checks)
    assert names[: len(check_names("simulated-snp"))] == check_names("simulated-snp")


@pytest.mark.parametrize("member", ["leaf", "ca", "root"])
def test_it_is_good_until_the_first_certificate_ends(member: Member) -> None:
    end = AT + timedelta(days=1)
    vendor = replace(HONEST, spans=((member, (PAST[0], end)),))
    verdict = Row("", "", vendor=vendor).assess().verdict
    assert verdict is not None
    assert verdict.expiry == end


@pytest.mark.parametrize(
    ("name", "info"),
    [
        ("smt_disabled", 0b1111_1110),
        ("tsme_enabled", 0b0000_0010),
        ("ecc_enabled", 0b0000_0100),
        ("rapl_disabled", 0b0000_1000),
        ("ciphertext_hiding", 0b0001_0000),
        ("alias_check_complete", 0b0010_0000),
        ("iommu_write_safe", 0b0100_0000),
    ],
)
def test_a_property_of_the_platform_is_read_of_its_own_bit(name: str, info: int) -> None:
    """By PLATFORM_INFO of AMD's specification, not by the table of the code."""
    guest = replace(GUEST, version=5, platform_info=info & 0b1111_1111)
    assert Row("", "", guest=guest, policies=(PlatformHas(name),)).assess().refusal is None
    others = replace(guest, platform_info=~info & 0b1111_1111)
    check_refusal(Row(f"platform_{name}", "", guest=others, policies=(PlatformHas(name),)))


@pytest.mark.parametrize("chip", [HONEST.chip_id, b"\x04\x40" + HONEST.chip_id])
def test_a_chip_id_is_read_bare_and_as_an_octet_string(chip: bytes) -> None:
    """AMD's older certificates have the bare bytes, which is no DER; newer ones an OCTET STRING."""
    assert Row("", "", vendor=vcek(HARDWARE_ID, chip)).assess().refusal is None


def test_the_signature_algorithm_is_read_with_its_default_and_without() -> None:
    """AMD's certificates of 2024 name the default trailer, which is no DER; those of 2025 do not."""
    assert Row("", "", vendor=replace(HONEST, algorithm=PSS_SHA384_SHORT)).assess().refusal is None
    mixed = HONEST.chain[0].replace(PSS_SHA384 + b"\x03", PSS_SHA384_SHORT + b"\x03")
    other = PSS_SHA384.replace(b"\x02\x02\x05\0", b"\x02\x01\x05\0")  # SHA-256
    for forged in (
        Row("quote_format", "", quote=lambda quote: quote.replace(HONEST.chain[0], mixed)),
        Row("quote_format", "another algorithm", vendor=replace(HONEST, algorithm=other)),
    ):
        check_refusal(forged)


def test_an_unknown_extension_is_ignored() -> None:
    assert Row("", "", vendor=vcek(f"{AMD_OID}.99", b"\5\0")).assess().refusal is None
