"""Quotes that are not framed as they must be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.attestation.forgeries import TDX, Row, block, chain_of, check_refusal, flip, put, title

FORMAT = [
    Row("quote_format", "no bytes", quote=lambda quote: quote[:0]),
    Row("quote_format", "cut off in the header", quote=lambda quote: quote[:40]),
    Row("quote_format", "cut off by one byte", quote=lambda quote: quote[:-1]),
    Row("quote_format", "a byte after the quote", quote=lambda quote: quote + b"\1"),
    Row("quote_format", "endless padding", quote=lambda quote: quote + bytes(10_000)),
    Row("quote_format", "larger than any quote", quote=lambda quote: quote + bytes(1 << 16)),
    Row("quote_format", "version 2", quote=put(0, b"\2\0")),
    Row("quote_format", "version 3 for TDX", quote=put(4, b"\x81")),
    Row("quote_format", "version 4 for SGX", pki=TDX, kind="tdx", quote=put(4, b"\0")),
    Row("quote_format", "ECDSA P-384", quote=put(2, b"\3\0")),
    Row("quote_format", "another quoting enclave's vendor", quote=flip(12)),
    Row(
        "quote_format", "signature data longer than the quote", quote=put(432, b"\xff\xff\xff\x7f")
    ),
    Row("quote_format", "no QE authentication data", quote=put(1012, b"\0\0")),
    Row("quote_format", "certification data without a chain (type 3)", quote=put(1046, b"\3\0")),
    Row("quote_format", "certification data that is too short", quote=put(1048, b"\1\0\0\0")),
    Row(
        "quote_format",
        "outer certification data of type 5 in version 4",
        pki=TDX,
        kind="tdx",
        quote=put(48 + 584 + 4 + 128, b"\5\0"),
    ),
    Row(
        "quote_format",
        "a body of another size in version 5",
        pki=TDX,
        kind="tdx",
        td_size=648,
        quote=put(50, b"\x87"),
    ),
    Row(
        "quote_format",
        "text before the chain",
        quoting=lambda quoting: replace(quoting, pck_chain=" " + quoting.pck_chain),
    ),
    Row(
        "quote_format",
        "the chain without its root",
        quoting=lambda quoting: replace(
            quoting, pck_chain=chain_of(block(quoting.pck_chain, 0), block(quoting.pck_chain, 1))
        ),
    ),
    Row(
        "quote_format",
        "a chain in one long line",
        quoting=lambda quoting: replace(quoting, pck_chain=quoting.pck_chain.replace("=\n", "=")),
    ),
]


@pytest.mark.parametrize("row", FORMAT, ids=title)
def test_is_refused_by_name(row: Row) -> None:
    check_refusal(row)
