"""The parser of quotes: strict, bounded, and it never fails in another way than it says."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie.attestation.quote import (
    HEADER_BYTES,
    MAX_PADDING_BYTES,
    MAX_QUOTE_BYTES,
    TEE_SGX,
    TEE_TDX,
    Quote,
    parse_quote,
)
from coterie.attestation.reports import EnclaveReport, TdReport
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import (
    EnclaveFields,
    TdFields,
    honest_quoting_enclave,
    sgx_quote,
    tdx_quote,
)
from coterie.errors import EvidenceRefused

PKI = SimulatedPki()
SGX = sgx_quote(PKI, EnclaveFields(mrenclave=b"\1" * 32, report_data=bytes(range(64))))
TDX_4 = tdx_quote(PKI, TdFields(mrtd=b"\2" * 48).encode())
TDX_5 = tdx_quote(PKI, TdFields(mrtd=b"\2" * 48).encode(648), version=5)
TDX_5_EXTENDED = tdx_quote(PKI, TdFields(mrtd=b"\2" * 48).encode(885), version=5)
QUOTES = (SGX, TDX_4, TDX_5, TDX_5_EXTENDED)


def parse_or_refuse(data: bytes) -> Quote | None:
    """Parses; the only failure that passes is the parser's own."""
    try:
        return parse_quote(data)
    except EvidenceRefused as refusal:
        if refusal.failed_check != "quote_format":
            raise
        return None


@st.composite
def enclaves(draw: st.DrawFn) -> EnclaveFields:
    return EnclaveFields(
        mrenclave=draw(st.binary(min_size=32, max_size=32)),
        mrsigner=draw(st.binary(min_size=32, max_size=32)),
        report_data=draw(st.binary(min_size=64, max_size=64)),
        attributes=draw(st.binary(min_size=16, max_size=16)),
        misc_select=draw(st.integers(0, 2**32 - 1)),
        isv_prod_id=draw(st.integers(0, 2**16 - 1)),
        isv_svn=draw(st.integers(0, 2**16 - 1)),
    )


@given(enclaves(), st.integers(0, 100))
@settings(max_examples=50)
def test_what_was_encoded_is_read(fields: EnclaveFields, padding: int) -> None:
    data = sgx_quote(PKI, fields)
    quote = parse_quote(data + bytes(padding))
    assert quote.canonical == data
    assert (quote.version, quote.tee_type) == (3, TEE_SGX)
    assert quote.report_data == fields.report_data
    flags, xfrm = struct.unpack("<QQ", fields.attributes)
    assert quote.report == EnclaveReport(
        cpu_svn=PKI.cpu_svn,
        misc_select=fields.misc_select,
        flags=flags,
        xfrm=xfrm,
        mrenclave=fields.mrenclave,
        mrsigner=fields.mrsigner,
        isv_prod_id=fields.isv_prod_id,
        isv_svn=fields.isv_svn,
        report_data=fields.report_data,
    )


@pytest.mark.parametrize(("data", "version"), [(TDX_4, 4), (TDX_5, 5), (TDX_5_EXTENDED, 5)])
def test_trust_domains_are_read(data: bytes, version: int) -> None:
    quote = parse_quote(data)
    assert (quote.version, quote.tee_type) == (version, TEE_TDX)
    assert isinstance(quote.report, TdReport)
    assert quote.report.mrtd == b"\2" * 48
    assert quote.report.td_attributes == 1 << 28
    assert (quote.report.mrservicetd is None) == (version == 4)
    assert (quote.report.cur_service_td_hash is None) == (data != TDX_5_EXTENDED)


@given(st.binary(max_size=5000))
def test_any_bytes_are_refused_in_one_way(data: bytes) -> None:
    parse_or_refuse(data)


@given(
    st.sampled_from(QUOTES),
    st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=8),
)
@settings(max_examples=400)
def test_damaged_quotes_are_parsed_or_refused(
    original: bytes, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(original)
    for position, value in changes:
        data[position % len(data)] = value
    quote = parse_or_refuse(bytes(data))
    if quote is not None:
        assert parse_quote(quote.canonical) == quote


@given(st.sampled_from(QUOTES), st.integers(0, 6000))
def test_every_prefix_is_refused(original: bytes, length: int) -> None:
    assert parse_or_refuse(original[: length % len(original)]) is None


@given(st.sampled_from(QUOTES), st.binary(min_size=1, max_size=64).filter(any))
def test_anything_but_padding_behind_is_refused(original: bytes, tail: bytes) -> None:
    assert parse_or_refuse(original + tail) is None


@pytest.mark.parametrize("original", QUOTES)
@pytest.mark.parametrize("length", [0, 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_lengths_that_lie_cost_nothing(original: bytes, length: int) -> None:
    body = {3: 384, 4: 584, 5: 6 + (648 if original == TDX_5 else 885)}[original[0]]
    at = HEADER_BYTES + body
    assert parse_or_refuse(original[:at] + struct.pack("<I", length) + original[at + 4 :]) is None


def test_other_types_are_refused() -> None:
    with pytest.raises(EvidenceRefused):
        parse_quote(bytearray(SGX))  # type: ignore[arg-type]


AUTH = HEADER_BYTES + 384  # where the length of a version 3 quote's signature data stands
CERTIFICATION = AUTH + 4 + 128 + 384 + 64 + 2 + 32


def longer_authentication() -> bytes:
    """Bytes after the certification data that the signature data's length counts in."""
    size = struct.unpack_from("<I", SGX, AUTH)[0]
    return SGX[:AUTH] + struct.pack("<I", size + 4) + SGX[AUTH + 4 :] + b"more"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (SGX + bytes(MAX_QUOTE_BYTES), f"at most {MAX_QUOTE_BYTES} bytes"),
        (b"\2\0" + TDX_4[2:], "quote version 3, 4 or 5"),
        (b"\6\0" + TDX_4[2:], "quote version 3, 4 or 5"),
        (b"\4\0" + SGX[2:], "SGX in version 3, TDX in versions 4 and 5"),
        (b"\3\0" + TDX_4[2:], "SGX in version 3, TDX in versions 4 and 5"),
        (SGX[:2] + b"\3\0" + SGX[4:], "attestation key type 2 (ECDSA P-256)"),
        (SGX[:12] + bytes(16) + SGX[28:], "Intel's quoting enclave"),
        (SGX + bytes(MAX_PADDING_BYTES + 1), "nothing but NUL padding after the quote"),
        (SGX + bytes(8) + b"\1", "nothing but NUL padding after the quote"),
        (
            SGX[: CERTIFICATION - 34] + b"\x1f\0" + SGX[CERTIFICATION - 32 :],
            "32 bytes of QE authentication data",
        ),
        (
            SGX[:CERTIFICATION] + b"\3\0" + SGX[CERTIFICATION + 2 :],
            "certification data of type 5",
        ),
        (
            longer_authentication(),
            f"certification data of {len(SGX) + 4 - CERTIFICATION - 6} bytes",
        ),
        # A TDX 1.5 body that says it is of TDX 1.0, and the other way round.
        (TDX_5[:48] + b"\2\0" + TDX_5[50:], "a TD report of its size"),
        (TDX_5[:48] + b"\4\0" + TDX_5[50:], "a TD report of its size"),
        (
            sgx_quote(
                PKI,
                EnclaveFields(mrenclave=bytes(32)),
                quoting=replace(honest_quoting_enclave(PKI), pck_chain="x" * (1 << 14)),
            ),
            "a PCK chain of at most 16384 bytes",
        ),
    ],
)
def test_a_refusal_says_what_is_wrong_with_the_framing(data: bytes, expected: str) -> None:
    """Each by its own rule: bytes that only a later rule refuses were read already."""
    with pytest.raises(EvidenceRefused) as refusal:
        parse_quote(data)
    assert refusal.value.failed_check == "quote_format"
    assert refusal.value.expected == expected
    assert refusal.value.seen


@given(st.lists(st.binary(min_size=48, max_size=48), min_size=6, max_size=6, unique=True))
@settings(max_examples=20)
def test_every_register_of_a_trust_domain_is_read_in_its_place(registers: list[bytes]) -> None:
    mrtd, signer, *rtmrs = registers
    fields = TdFields(
        mrtd=mrtd,
        mrsignerseam=signer,
        rtmrs=(rtmrs[0], rtmrs[1], rtmrs[2], rtmrs[3]),
        report_data=mrtd + bytes(16),
        td_attributes=1 << 28 | 1 << 30,
        xfam=0xE742,
    )
    report = parse_quote(tdx_quote(PKI, fields.encode())).report
    assert isinstance(report, TdReport)
    assert (report.mrtd, report.mrsignerseam) == (mrtd, signer)
    assert list(report.rtmrs) == rtmrs
    assert report.report_data == mrtd + bytes(16)
    assert (report.td_attributes, report.xfam) == (1 << 28 | 1 << 30, 0xE742)
