"""Confidential Space: quotes through the launcher's socket, over the report data that the launcher makes."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel
from typing_extensions import override

from coterie.attestation.appraiser import Appraiser
from coterie.attestation.challenges import confidential_space
from coterie.attestation.evidence import authenticate, parse_evidence
from coterie.attestation.policy import ReportDataIs
from coterie.attestation.tee.by_kind import open_tee
from coterie.attestation.tee.confidential_space import MAX_ANSWER_BYTES, ConfidentialSpaceTee
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.attestation.tee.simulated.quotes import tdx_quote
from coterie.attestation.tee.tdx import TdxTee
from coterie.attestation.verdict import CheckList
from coterie.cli.evidence_files import binding
from coterie.contract.trust import RolesTrust, RoleTrust, TrustSection
from coterie.errors import EnvironmentUnfit
from coterie.kinds import Launcher
from coterie.ratls.claims import report_data
from coterie.ratls.identity import NodeIdentity
from tests.attestation.forgeries import AT, ISSUED, TD, TDX, check_refused_by
from tests.attestation.local_service import LocalService
from tests.ratls.conftest import MEASUREMENT, World

REPORT_DATA = bytes(range(64))


def quote(report_data: bytes) -> bytes:
    return tdx_quote(TDX, replace(TD, report_data=report_data).encode(584))


def evidence(td_quote: bytes) -> bytes:
    """The launcher's answer, as protobuf's JSON has it."""
    logs = {"ccelBootEventLog": "AAAA", "celLaunchEventLog": "AAAA"}
    said = {**logs, "tdQuote": base64.b64encode(td_quote).decode()}
    label = base64.b64encode(b"WORKLOAD_ATTESTATION").decode()
    return json.dumps({"label": label, "quote": {"tdxCcelQuote": said}}).encode()


class LauncherService(LocalService):
    """A launcher above a simulated trust domain."""

    @override
    def answer(self, question: dict[str, object]) -> bytes:
        challenge = base64.b64decode(str(question["challenge"]), validate=True)
        return evidence(quote(confidential_space(challenge)))


def test_report_data_are_made_as_its_source_says() -> None:
    """SHA512(label || SHA512(challenge)), computed by hand."""
    inner = hashlib.sha512(REPORT_DATA).digest()
    expected = hashlib.sha512(b"WORKLOAD_ATTESTATION" + inner).digest()
    assert confidential_space(REPORT_DATA) == expected


def test_the_launcher_is_asked_by_a_challenge(tmp_path: Path) -> None:
    service = LauncherService(tmp_path / "s")
    tee = ConfidentialSpaceTee(service.path)
    with service.serving():
        made = parse_evidence(tee.quote(REPORT_DATA))
    assert made.report_data == confidential_space(REPORT_DATA)
    assert service.asked == [
        ("/v1/evidence", {"challenge": base64.b64encode(REPORT_DATA).decode()})
    ]
    assert (tee.kind, tee.describe().measurement) == ("tdx", None)


TPM = json.dumps({"quote": {"tpmQuote": {"quotes": []}}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "seen"),
    [
        (500, b"attestation evidence is disabled", "HTTP status 500"),
        (200, TPM, "no such value: KeyError('tdxCcelQuote')"),
        (200, b"<html>", "no such value: JSONDecodeError"),
        (200, b"[]", "no such value: TypeError"),
        (200, b"[" * 100_000, "no such value: RecursionError"),
        (200, evidence(b"").replace(b'"tdQuote": ""', b'"tdQuote": "!"'), "no such value: Error"),
        (200, bytes(MAX_ANSWER_BYTES + 1), f"more than {MAX_ANSWER_BYTES} bytes"),
        (200, evidence(quote(REPORT_DATA)), REPORT_DATA.hex()),
        (200, evidence(quote(confidential_space(bytes(64)))), confidential_space(bytes(64)).hex()),
        (200, evidence(b"quote"), ""),
    ],
)
def test_other_answers_are_no_quotes(tmp_path: Path, status: int, body: bytes, seen: str) -> None:
    service = LocalService(tmp_path / "s", status, body)
    with service.serving(), pytest.raises(EnvironmentUnfit) as unfit:
        ConfidentialSpaceTee(service.path).quote(REPORT_DATA)
    assert unfit.value.seen.startswith(seen)
    assert unfit.value.remedy


def test_the_socket_decides_who_asks_for_quotes(tmp_path: Path) -> None:
    assert isinstance(open_tee("tdx", launcher=tmp_path / "s"), ConfidentialSpaceTee)
    assert isinstance(open_tee("tdx"), TdxTee)


def appraiser(launcher: Launcher | None) -> Appraiser:
    table = RoleTrust(mrtd=(TD.mrtd.hex(),), accepted_tcb_statuses=("UpToDate",), launcher=launcher)
    roles = RolesTrust(worker=table)
    trust = TrustSection.model_construct(tee="tdx", roles=roles, not_after=None)
    return Appraiser(trust, own_measurement=None)


@pytest.mark.parametrize(
    ("launcher", "quoted", "accepted"),
    [
        ("confidential-space", confidential_space(REPORT_DATA), True),
        ("confidential-space", REPORT_DATA, False),
        ("confidential-space", confidential_space(bytes(64)), False),
        (None, REPORT_DATA, True),
        (None, confidential_space(REPORT_DATA), False),
    ],
)
def test_a_contract_says_whose_report_data_it_expects(
    launcher: Launcher | None, quoted: bytes, accepted: bool
) -> None:
    parsed, collateral = parse_evidence(quote(quoted)), TDX.issue(ISSUED)
    genuine = authenticate(
        parsed, collateral, kind="tdx", root=TDX.trust_root, at=AT, checks=CheckList()
    )
    outcome = appraiser(launcher).assess(
        parsed,
        report_data=REPORT_DATA,
        role="worker",
        kind="tdx",
        collateral=collateral,
        at=AT,
        evidence=genuine,
    )
    if accepted:
        assert outcome.refusal is None
    else:
        check_refused_by(outcome, "report_data")


def test_a_stored_certificate_is_judged_by_the_launchers_report_data() -> None:
    """As ``coterie attest verify`` does, under a contract that names a launcher."""
    world = World()
    contract = world.contract
    table = contract.trust.roles.worker
    assert table is not None
    worker = BaseModel.model_copy(table, update={"launcher": "confidential-space"})
    roles = BaseModel.model_copy(contract.trust.roles, update={"worker": worker})
    trust = BaseModel.model_copy(contract.trust, update={"roles": roles})
    agreed = BaseModel.model_copy(contract, update={"trust": trust})
    made = NodeIdentity.create(
        agreed,
        world.node("acme-worker"),
        SimulatedTee(MEASUREMENT),
        incarnation=1,
        at=world.clock(),
    )
    expected = confidential_space(report_data(made.claims.to_cbor()))
    found = binding(made.certificate, agreed, "worker", world.clock(), kind="simulated")
    assert found == ReportDataIs(expected)
