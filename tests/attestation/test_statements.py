"""TCB info and QE identity as text: read in one way, and current to the second."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from coterie.attestation.statements import Statement, parse_statement, verify_statement
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused
from tests.attestation.forgeries import HONEST, ISSUED

COLLATERAL = HONEST.issue(ISSUED)
TCB_INFO, QE_IDENTITY = COLLATERAL.tcb_info, COLLATERAL.qe_identity
END = ISSUED + timedelta(days=30)


def with_value(key: str, value: object) -> str:
    return json.dumps({**json.loads(TCB_INFO), key: value})


def test_both_statements_are_read() -> None:
    assert parse_statement(TCB_INFO, "tcb_info") == Statement(
        "SGX", 3, ISSUED, END, 1, HONEST.fmspc, HONEST.pce_id
    )
    assert parse_statement(QE_IDENTITY, "qe_identity") == Statement("QE", 2, ISSUED, END, 1)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("[" * 100_000, "RecursionError"),
        (TCB_INFO.replace("{", '{"id":"SGX",', 1), "a name occurs twice"),
        (TCB_INFO.replace('"tcbType":0', '"tcbType":0,"extra":NaN'), "NaN is no JSON"),
        (TCB_INFO.replace('"tcbType":0', '"tcbType":0,"extra":-Infinity'), "-Infinity is no JSON"),
        (with_value("tcbType", 1), "another tcbType than 0"),
        (with_value("tcbType", None), "int expected"),
        (with_value("id", 3), "str expected"),
        (with_value("version", "3"), "int expected"),
        (with_value("version", True), "int expected"),
        (with_value("version", 3.0), "int expected"),
        (with_value("tcbEvaluationDataNumber", True), "int expected"),
        (with_value("fmspc", "00" * 5), "6 bytes expected"),
        (with_value("fmspc", "00" * 7), "6 bytes expected"),
        (with_value("fmspc", "xy" * 6), "ValueError"),
        (with_value("pceId", "00"), "2 bytes expected"),
        (with_value("pceId", "00" * 3), "2 bytes expected"),
        (with_value("issueDate", "2026-02-28"), "ValueError"),
        (with_value("nextUpdate", "2026-02-28T00:00:00+01:00"), "ValueError"),
        (json.dumps({k: v for k, v in json.loads(TCB_INFO).items() if k != "pceId"}), "KeyError"),
    ],
)
def test_what_is_no_tcb_info_is_refused(text: str, seen: str) -> None:
    with pytest.raises(EvidenceRefused, match="the TCB info is malformed") as refusal:
        parse_statement(text, "tcb_info")
    assert refusal.value.failed_check == "tcb_info_format"
    assert seen in refusal.value.seen


@pytest.mark.parametrize(
    ("identity", "versions", "seconds", "check"),
    [
        ("SGX", (3,), 0, None),
        ("SGX", (2, 3), 30 * 86_400, None),
        ("TDX", (3,), 0, "tcb_info_kind"),
        ("SGX", (2,), 0, "tcb_info_kind"),
        ("SGX", (), 0, "tcb_info_kind"),
        ("SGX", (3,), -1, "tcb_info_validity"),
        ("SGX", (3,), 30 * 86_400 + 1, "tcb_info_validity"),
    ],
)
def test_a_statement_is_of_its_kind_and_current(
    identity: str, versions: tuple[int, ...], seconds: int, check: str | None
) -> None:
    def verify() -> None:
        verify_statement(
            parse_statement(TCB_INFO, "tcb_info"),
            "tcb_info",
            identity=identity,
            versions=versions,
            at=ISSUED + timedelta(seconds=seconds),
            checks=CheckList(),
        )

    if check is None:
        verify()
        return
    with pytest.raises(EvidenceRefused) as refusal:
        verify()
    assert refusal.value.failed_check == check
