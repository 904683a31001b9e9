"""Quotes and quoting enclaves whose signatures or levels do not hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coterie.attestation.tee.simulated.statements import SimulatedLevel
from tests.attestation.forgeries import (
    HONEST,
    STRANGER_KEY,
    TD,
    TDX,
    Row,
    check_refusal,
    flip,
    title,
    with_quoting_report,
    with_tcb_info,
)

SIGNATURES = [
    Row(
        "quoting_enclave_signature",
        "a QE report that the platform never signed",
        quoting=lambda quoting: replace(quoting, report_signer=STRANGER_KEY),
    ),
    Row(
        "quoting_enclave_binding",
        "an attestation key that the QE never certified",
        quoting=with_quoting_report(report_data=b"\1" * 64),
    ),
    Row(
        "quoting_enclave_identity",
        "an enclave that is no QE",
        quoting=with_quoting_report(mrsigner=b"\1" * 32),
    ),
    Row(
        "quoting_enclave_identity",
        "another product of the QE's signer",
        quoting=with_quoting_report(isv_prod_id=2),
    ),
    Row(
        "quoting_enclave_identity",
        "a QE below all TCB levels",
        quoting=with_quoting_report(isv_svn=1),
    ),
    Row(
        "quoting_enclave_identity",
        "a debug QE",
        quoting=with_quoting_report(attributes=b"\x13" + bytes(15)),
    ),
    Row(
        "quoting_enclave_identity",
        "a QE with another MISCSELECT",
        quoting=with_quoting_report(misc_select=1),
    ),
    Row("quote_signature", "an altered measurement", quote=flip(48 + 64)),
    Row("quote_signature", "altered report data", quote=flip(48 + 320)),
    Row("quote_signature", "an altered header", quote=flip(47)),
    Row("tcb_level", "a platform below all TCB levels", pki=replace(HONEST, cpu_svn=b"\1" * 16)),
    Row("tcb_level", "a PCE below all TCB levels", pki=replace(HONEST, pce_svn=1)),
    Row(
        "tcb_level",
        "a revoked TCB level",
        pki=replace(HONEST, levels=(SimulatedLevel(status="Revoked"),)),
    ),
    Row(
        "tdx_module",
        "a TDX module by another signer",
        kind="tdx",
        pki=TDX,
        td=replace(TD, mrsignerseam=b"\1" * 48),
    ),
    Row(
        "dcap",
        "a TCB level that leaves components out",
        collateral=with_tcb_info(lambda text: text.replace('[{"svn":2},', "[", 1)),
    ),
]


@pytest.mark.parametrize("row", SIGNATURES, ids=title)
def test_is_refused_by_name(row: Row) -> None:
    check_refusal(row)
