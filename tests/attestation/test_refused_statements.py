"""TCB info and QE identity that are malformed, for others, stale or badly signed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from coterie.attestation.tee.simulated.keys import sign_raw
from tests.attestation.forgeries import (
    AT,
    HONEST,
    ISSUED,
    STALE_STATEMENTS,
    STRANGER,
    TDX,
    Row,
    check_refusal,
    title,
    with_qe_identity,
    with_tcb_info,
)

STATEMENTS = [
    Row(
        "tcb_info_format",
        "TCB info that is no JSON",
        collateral=with_tcb_info(lambda text: text[:1]),
    ),
    Row(
        "tcb_info_format",
        "TCB info with a key twice",
        collateral=with_tcb_info(lambda text: text.replace("{", '{"id":"SGX",', 1)),
    ),
    Row(
        "tcb_info_format",
        "TCB info without a PCE id",
        collateral=with_tcb_info(lambda text: text.replace('"pceId":"0000",', "")),
    ),
    Row(
        "tcb_info_format",
        "TCB info with another rule of comparison",
        collateral=with_tcb_info(lambda text: text.replace('"tcbType":0', '"tcbType":1')),
    ),
    Row("tcb_info_kind", "TCB info for TDX", pki=HONEST, collateral=lambda _: TDX.issue(ISSUED)),
    Row(
        "tcb_info_kind",
        "TCB info of version 2",
        collateral=with_tcb_info(lambda text: text.replace('"version":3', '"version":2')),
    ),
    Row("tcb_info_validity", "stale TCB info", pki=STALE_STATEMENTS, at=AT + timedelta(days=5)),
    Row(
        "tcb_info_validity",
        "TCB info from the future",
        collateral=with_tcb_info(lambda text: text.replace("2026-02-28", "2026-03-02")),
    ),
    Row(
        "tcb_info_signature",
        "altered TCB info",
        collateral=lambda c: replace(c, tcb_info=c.tcb_info + " "),
    ),
    Row(
        "tcb_info_signature",
        "TCB info that another vendor signed",
        collateral=lambda c: replace(
            c, tcb_info_signature=sign_raw(STRANGER.key("tcb_signer"), c.tcb_info.encode())
        ),
    ),
    Row(
        "qe_identity_format",
        "QE identity that is no object",
        collateral=with_qe_identity(lambda _: "[]"),
    ),
    Row(
        "qe_identity_kind",
        "the QE identity of TDX",
        collateral=with_qe_identity(lambda text: text.replace('"QE"', '"TD_QE"')),
    ),
    Row(
        "qe_identity_validity",
        "a stale QE identity",
        collateral=lambda c: replace(
            c,
            qe_identity=HONEST.issue(ISSUED - timedelta(days=90)).qe_identity,
            qe_identity_signature=HONEST.issue(ISSUED - timedelta(days=90)).qe_identity_signature,
        ),
    ),
    Row(
        "qe_identity_signature",
        "an altered QE identity",
        collateral=lambda c: replace(
            c, qe_identity=c.qe_identity.replace('"isvsvn":2', '"isvsvn":1')
        ),
    ),
    Row(
        "pck_extension",
        "a PCK certificate for no platform",
        pki=replace(HONEST, certify_platform=False),
    ),
    Row(
        "fmspc",
        "TCB info of another platform family",
        pki=replace(HONEST, statement_fmspc=bytes.fromhex("00906ed50000")),
    ),
    Row("pce_id", "TCB info of another PCE", pki=replace(HONEST, statement_pce_id=b"\0\1")),
]


@pytest.mark.parametrize("row", STATEMENTS, ids=title)
def test_is_refused_by_name(row: Row) -> None:
    check_refusal(row)
