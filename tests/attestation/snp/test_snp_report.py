"""The parsers of SNP reports and of tables of certificates: strict, of one reading."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.attestation.appraiser import Appraisal, assess
from coterie.attestation.evidence import parse_evidence
from coterie.attestation.snp.certificates import PSS_SHA384, read_certificate
from coterie.attestation.snp.products import PRODUCTS, Tcb
from coterie.attestation.snp.quote import (
    CA,
    MAX_EVIDENCE_BYTES,
    MAX_TABLE_BYTES,
    ROOT,
    VCEK,
    VLEK,
    SnpQuote,
    encode_snp_quote,
    encode_table,
    parse_snp_quote,
    read_table,
)
from coterie.attestation.snp.report import parse_report
from coterie.attestation.tee.by_kind import simulated_snp_roots
from coterie.attestation.tee.simulated.snp_vendor import GuestFields
from coterie.errors import EvidenceRefused
from tests.attestation.conftest import Sampled
from tests.attestation.forgeries import check_refusal, put
from tests.attestation.snp.forgeries import (
    AT,
    GUEST,
    HONEST,
    ISSUED,
    Row,
)
from tests.attestation.snp.forgeries import (
    VLEK as VLEKS,
)

REPORTS = {
    version: HONEST.report(replace(GUEST, version=version, platform_info=0x1F))
    for version in (2, 3, 4, 5)
}
EVIDENCE = HONEST.evidence(GUEST)
DERS = HONEST.chain


def word(position: int, value: int) -> Callable[[bytes], bytes]:
    return put(position, struct.pack("<I", value))


# Version, change, and a part of what is said of it.
MALFORMED = [
    (3, lambda data: data[:-1], "1184 bytes"),
    (3, lambda data: data + b"\0", "1184 bytes"),
    (3, lambda _: b"", "1184 bytes"),
    *((3, word(0, version), "report version 2, 3, 4 or 5") for version in (0, 1, 6, 1 << 31)),
    *((3, word(0x34, algorithm), "signature algorithm 1") for algorithm in (0, 2)),
    *((3, word(0x30, vmpl), "VMPL 0 to 3") for vmpl in (4, 0xFFFFFFFF)),
    *((3, word(0x48, key << 2), "VCEK or VLEK") for key in (2, 3, 4, 5, 6, 7)),
    (3, word(0x48, 2), "VCEK or VLEK"),  # MASK_CHIP_KEY: the host withholds signatures
    (3, word(0x48, 1 << 5), "key information"),
    (3, put(0x4C, b"\1"), "0x4c to 0x50"),
    (3, put(0x4F, b"\1"), "0x4c to 0x50"),
    (3, put(0x0A, b"\1"), "bit 17 of the policy"),
    (2, put(0x188, b"\x19"), "before the chip id"),
    (3, put(0x18B, b"\1"), "before the chip id"),
    (5, put(0x19F, b"\1"), "before the chip id"),
    (3, put(0x1EB, b"\1"), "0x1eb"),
    (3, put(0x1EF, b"\1"), "0x1ef"),
    (2, put(0x1F8, b"\1"), "before the signature"),
    (3, put(0x1F8, b"\1"), "before the signature"),
    (4, put(0x1F8, b"\1"), "before the signature"),
    (5, put(0x208, b"\1"), "before the signature"),
    (5, put(0x29F, b"\1"), "before the signature"),
    (3, put(0x2A0 + 48, b"\1"), "ends of r and s"),
    (3, put(0x2A0 + 72 + 71, b"\1"), "ends of r and s"),
    (3, put(0x2A0 + 144, b"\1"), "after the signature"),
    (3, put(1183, b"\1"), "after the signature"),
    (2, put(8, struct.pack("<Q", 0x3001F | 1 << 25)), "bits of the policy"),
    (3, put(8, struct.pack("<Q", 0x3001F | 1 << 25)), "bits of the policy"),
    (4, put(8, struct.pack("<Q", 0x3001F | 1 << 25)), "bits of the policy"),
    (5, put(8, struct.pack("<Q", 0x3001F | 1 << 26)), "bits of the policy"),
    (5, put(8, struct.pack("<Q", 0x3001F | 1 << 63)), "bits of the policy"),
    (2, put(0x40, struct.pack("<Q", 1 << 5)), "platform information"),
    (3, put(0x40, struct.pack("<Q", 1 << 7)), "platform information"),
    (2, put(0x40, struct.pack("<Q", 1 << 6)), "platform information"),
    (4, put(0x40, struct.pack("<Q", 1 << 7)), "platform information"),
    (5, put(0x40, struct.pack("<Q", 1 << 8)), "platform information"),
]


@pytest.mark.parametrize(("version", "change", "expected"), MALFORMED)
def test_a_malformed_report_is_refused(
    version: int, change: Callable[[bytes], bytes], expected: str
) -> None:
    with pytest.raises(EvidenceRefused, match="SNP report is malformed") as refusal:
        parse_report(change(REPORTS[version]))
    assert refusal.value.failed_check == "quote_format"
    assert expected in refusal.value.expected
    assert refusal.value.seen


def test_what_a_version_has_is_read() -> None:
    older, newer = parse_report(REPORTS[2]), parse_report(REPORTS[3])
    assert (older.cpuid, newer.cpuid) == (None, (0x19, 1, 1))
    vectors = put(0x1F8, struct.pack("<QQ", 3, 7))(REPORTS[5])
    assert (newer.mitigations, parse_report(vectors).mitigations) == (None, (3, 7))
    assert parse_report(put(8, struct.pack("<Q", 0x3001F | 1 << 25))(REPORTS[5])).policy >> 25 == 1
    assert parse_report(put(0x40, b"\x80")(REPORTS[5])).platform_info == 0x80
    for version in (3, 4, 5):
        assert parse_report(put(0x40, b"\x40")(REPORTS[version])).platform_info == 0x40
    assert parse_report(REPORTS[4]).cpuid == newer.cpuid
    assert newer.policy_abi == (0, 31)
    assert str(newer.current_firmware) == "1.55.40"


def test_what_a_report_says_of_the_guest_has_names() -> None:
    guest = GuestFields(
        measurement=b"\1" * 48,
        policy=0x3001F,
        vmpl=2,
        guest_svn=3,
        family_id=b"\4" * 16,
        image_id=b"\5" * 16,
        id_key_digest=b"\6" * 48,
        author_key_digest=b"\7" * 48,
        host_data=b"\x08" * 32,
        report_id=b"\x09" * 32,
    )
    assert parse_report(VLEKS.report(guest)).measurements == (
        ("launch_measurement", "01" * 48),
        ("guest_policy", "000000000003001f"),
        ("vmpl", "2"),
        ("guest_svn", "3"),
        ("family_id", "04" * 16),
        ("image_id", "05" * 16),
        ("id_key_digest", "06" * 48),
        ("author_key_digest", "07" * 48),
        ("host_data", "08" * 32),
        ("report_id", "09" * 32),
        ("signing_key", "vlek"),
    )


TABLES = [
    (encode_table([(VCEK, DERS[0]), (CA, DERS[1])]), "its CA and the root"),
    (encode_table([(VLEK, DERS[0]), (CA, DERS[1]), (ROOT, DERS[2])]), "certificates of VCEK"),
    (encode_table([(CA, DERS[1]), (VCEK, DERS[0]), (ROOT, DERS[2])]), "certificates of VCEK"),
    (EVIDENCE[1184:] + b"\0", "without gaps"),
    (b"", "certificates of VCEK"),
    (b"\1" * 23, "ends with an empty one"),
    (b"\1" * 16 + bytes(8), "ends with an empty one"),
    ((b"\1" * 16 + bytes(8)) * 17, "ends with an empty one"),
    (VCEK.bytes + struct.pack("<II", 48, 1 << 31) + bytes(24), "certificates within"),
    (put(0x14, struct.pack("<I", 0))(EVIDENCE[1184:]), "without gaps"),
    (b"\1" * (MAX_EVIDENCE_BYTES - 1183), "at most"),
]


@pytest.mark.parametrize(("table", "expected"), TABLES, ids=range(len(TABLES)))
def test_another_table_of_certificates_is_refused(table: bytes, expected: str) -> None:
    with pytest.raises(EvidenceRefused) as refusal:
        parse_snp_quote(EVIDENCE[:1184] + table)
    assert refusal.value.failed_check == "quote_format"
    assert expected in refusal.value.expected or "certificate" in refusal.value.what


@pytest.mark.parametrize(
    "der",
    [
        *(b"", b"0", DERS[0][:-1], DERS[0] + b"\0", b"\x30\x84\0" + DERS[0][2:], b"\x30" * 4097),
        put(DERS[0].index(PSS_SHA384) + 12, b"\x0b")(DERS[0]),
        put(DERS[0].rindex(PSS_SHA384) + 12, b"\x0b")(DERS[0]),
    ],
    ids=range(8),
)
def test_a_malformed_certificate_is_refused(der: bytes) -> None:
    with pytest.raises(EvidenceRefused) as refusal:
        parse_snp_quote(encode_snp_quote(EVIDENCE[:1184], "vcek", (der, *DERS[1:])))
    assert refusal.value.failed_check == "quote_format"


def test_a_large_certificate_is_not_parsed() -> None:
    with pytest.raises(EvidenceRefused) as refusal:
        read_certificate(DERS[0].ljust(4097, b"\0"))
    assert refusal.value.seen == "4097 bytes, more than 4096"


def test_a_hosts_table_may_have_any_order_and_gaps() -> None:
    padded = encode_table([(ROOT, DERS[2]), (VCEK, DERS[0])]) + bytes(4096)
    assert dict(read_table(padded)) == {ROOT: DERS[2], VCEK: DERS[0]}
    with pytest.raises(EvidenceRefused):
        read_table(bytes(MAX_TABLE_BYTES + 1))


def test_evidence_is_told_from_dcap_quotes_by_its_first_bytes() -> None:
    assert isinstance(parse_evidence(EVIDENCE), SnpQuote)
    with pytest.raises(EvidenceRefused, match="the quote is malformed"):
        parse_evidence(b"\3\0\2\0" + EVIDENCE[4:])


@given(st.binary(max_size=2048))
def test_any_bytes_are_refused_by_name(data: bytes) -> None:
    for parse in (parse_report, parse_snp_quote):
        with pytest.raises(EvidenceRefused) as refusal:
            parse(data)
        assert refusal.value.failed_check == "quote_format"


@given(st.integers(0, 1183), st.binary(min_size=1, max_size=64))
def test_a_changed_report_is_read_or_refused_by_name(place: int, value: bytes) -> None:
    changed = put(place, value)(EVIDENCE)[: len(EVIDENCE)]
    found, check = None, "quote_format"
    try:
        found = parse_snp_quote(changed)
    except EvidenceRefused as error:
        check = error.failed_check
    assert check == "quote_format"
    assert found is None or found.canonical == changed


@given(st.sampled_from(sorted(PRODUCTS)), st.binary(min_size=8, max_size=8))
def test_a_tcb_is_read_as_its_product_lays_it_out(name: str, raw: bytes) -> None:
    product = PRODUCTS[name]
    tcb = product.tcb(raw)
    if tcb is None:
        assert any(byte for byte, part in zip(raw, product.layout, strict=True) if part is None)
    else:
        assert product.encode(tcb) == raw
        assert (tcb.fmc is None) is (name != "Turin")
        assert tcb.reaches(tcb)


@pytest.mark.parametrize(
    ("name", "raw", "tcb"),
    [
        ("Milan", "0102000000000304", Tcb(1, 2, 3, 4)),
        ("Genoa", "0102000000000304", Tcb(1, 2, 3, 4)),
        ("Turin", "0102030400000005", Tcb(2, 3, 4, 5, fmc=1)),
    ],
)
def test_each_part_of_a_tcb_has_its_byte(name: str, raw: str, tcb: Tcb) -> None:
    """By TCB_VERSION of AMD's specification, not by the table of the code."""
    assert PRODUCTS[name].tcb(bytes.fromhex(raw)) == tcb


levels = st.integers(0, 255)
tcbs = st.builds(Tcb, levels, levels, levels, levels, st.none() | levels)


@given(tcbs, tcbs)
def test_a_tcb_reaches_a_floor_by_every_part_alone(tcb: Tcb, floor: Tcb) -> None:
    pairs = [(getattr(tcb, part), getattr(floor, part)) for part in vars(tcb)]
    wanted = all(seen == least if None in (seen, least) else seen >= least for seen, least in pairs)
    assert tcb.reaches(floor) is wanted


@pytest.mark.sampled
def test_every_bit_of_evidence_counts(sampled: Sampled) -> None:
    """Report, table and certificates; see also the real vectors."""
    collateral, roots = HONEST.issue(ISSUED), simulated_snp_roots()

    def judged(data: bytes) -> Appraisal:
        return assess(data, collateral, kind="simulated-snp", root=roots, policies=(), at=AT)

    assert judged(EVIDENCE).verdict is not None
    accepted = []
    every = ((byte, bit) for byte in range(len(EVIDENCE)) for bit in range(8))
    for byte, bit in sampled(every, 211):
        changed = bytearray(EVIDENCE)
        changed[byte] ^= 1 << bit
        if judged(bytes(changed)).verdict is not None:
            accepted.append((byte, bit))
    assert accepted == []


def test_a_list_whose_signature_claims_unused_bits_is_refused() -> None:
    """That octet is not signed, and the library reads over it where the bits happen to be zero."""
    lists = (HONEST.issue(ISSUED - hours * timedelta(hours=1)) for hours in range(400))
    honest = next(one for one in lists if not one.amd_crl[-1] & 1)
    changed = put(len(honest.amd_crl) - 513, b"\1")(honest.amd_crl)
    check_refusal(
        Row(
            "root_crl_issuer",
            "one unused bit",
            collateral=lambda _: replace(honest, amd_crl=changed),
        )
    )


@pytest.mark.sampled
def test_every_bit_of_collateral_counts(sampled: Sampled) -> None:
    honest, roots = HONEST.issue(ISSUED), simulated_snp_roots()
    crl = honest.amd_crl
    accepted = []
    for byte, bit in sampled(((byte, bit) for byte in range(len(crl)) for bit in range(8)), 41):
        changed = bytearray(crl)
        changed[byte] ^= 1 << bit
        collateral = replace(honest, amd_crl=bytes(changed))
        outcome = assess(EVIDENCE, collateral, kind="simulated-snp", root=roots, policies=(), at=AT)
        if outcome.verdict is not None:
            accepted.append((byte, bit))
    assert accepted == []
