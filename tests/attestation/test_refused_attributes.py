"""Evidence of the wrong kind of TEE, and attributes that nobody may accept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.attestation.forgeries import EXTENDED, TD, TDX, Row, check_refusal, flags, title

# Bits with a meaning of their own: refused under their own names, or harmless.
SGX_NAMED = (0, 1, 2, 4, 5, 6, 7, 10)
TDX_NAMED = (0, 28, 30, 31, 63)
KIND_AND_ATTRIBUTES = [
    Row("tee_kind", "simulated evidence under an SGX contract", kind="sgx"),
    Row("tee_kind", "simulated evidence under a TDX contract", kind="tdx"),
    Row("tee_kind", "TDX under a simulated contract", pki=TDX),
    Row("attributes_debug", "a debug enclave", report=flags(0b111)),
    Row("attributes_init", "an uninitialized enclave", report=flags(0b100)),
    Row("attributes_mode64", "a 32-bit enclave", report=flags(0b001)),
    Row("attributes_provision_key", "the provisioning key", report=flags(0b1_0101)),
    Row("attributes_einittoken_key", "the launch-token key", report=flags(0b10_0101)),
    *(
        Row("attributes_reserved", f"attribute bit {bit}", report=flags(0b101 | 1 << bit))
        for bit in range(64)
        if bit not in SGX_NAMED
    ),
    Row(
        "td_debug", "a debug guest", kind="tdx", pki=TDX, td=replace(TD, td_attributes=1 << 28 | 1)
    ),
    Row(
        "td_sept_ve_disable",
        "injectable faults",
        kind="tdx",
        pki=TDX,
        td=replace(TD, td_attributes=0),
    ),
    *(
        Row(
            "td_reserved",
            f"TD attribute bit {bit}",
            kind="tdx",
            pki=TDX,
            td=replace(TD, td_attributes=1 << 28 | 1 << bit),
        )
        for bit in range(64)
        if bit not in TDX_NAMED
    ),
    *(
        Row("td_service", f"{when} service guests", kind="tdx", pki=TDX, td_size=EXTENDED, td=td)
        for when, td in {
            "bound": replace(TD, mrservicetd=b"\1" * 48),
            "once bound": replace(TD, init_service_td_hash=b"\1" * 48),
            "now bound": replace(TD, cur_service_td_hash=b"\1" * 48),
        }.items()
    ),
]


@pytest.mark.parametrize("row", KIND_AND_ATTRIBUTES, ids=title)
def test_is_refused_by_name(row: Row) -> None:
    check_refusal(row)
