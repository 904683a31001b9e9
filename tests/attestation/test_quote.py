"""The parser of quotes: strict, bounded, and it never fails in another way than it says."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie.attestation.quote import HEADER_BYTES, TEE_SGX, TEE_TDX, Quote, parse_quote
from coterie.attestation.reports import EnclaveReport, TdReport
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, TdFields, sgx_quote, tdx_quote
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
