"""``coterie attest`` and SNP evidence: shown, judged, by options and by contracts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from coterie.attestation.snp.report import REPORT_BYTES
from coterie.cli.attest import app
from tests.attestation.snp.forgeries import GUEST, HONEST, ISSUED, TURIN
from tests.contract.mixed import SNP
from tests.contract.test_alternatives import REAL
from tests.contract.test_alternatives import TEXT as ALTERNATIVES
from tests.contract.test_token_trust import P256, TABLE

AT = "2026-03-01T12:00:00Z"


def run(*arguments: str | Path) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return result.exit_code, value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "evidence.bin"
    path.write_bytes(HONEST.evidence(GUEST))
    (tmp_path / "collateral.json").write_text(HONEST.issue(ISSUED).to_json())
    return path


def test_evidence_is_shown(file: Path) -> None:
    code, shown = run("show", file)
    assert code == 0
    assert (shown["tee_claimed"], shown["report_version"]) == ("simulated-snp", 3)
    assert shown["judged"] is False
    assert shown["measurements"]["launch_measurement"] == "33" * 48  # type: ignore[index]
    assert shown["policy"] == "0x3001f: smt allowed"
    assert shown["platform"] == {"product": "milan", "key": "vcek", "tee": "snp"}
    assert shown["tcb"]["committed"] == f"Milan: {HONEST.tcb}"  # type: ignore[index]
    assert shown["platform_says"]["alias_check_complete"] is True  # type: ignore[index]
    assert len(shown["vek_chain"]) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize(("version", "layouts"), [(2, 2), (5, 1)])
def test_a_report_alone_is_shown(tmp_path: Path, version: int, layouts: int) -> None:
    """As firmware gives it; a report of version 2 does not say of which product line it is."""
    guest = replace(GUEST, version=version, platform_info=1)
    report = tmp_path / "report.bin"
    for encoded in (HONEST.report(guest), HONEST.report(guest).hex().encode()):
        report.write_bytes(encoded)
        _, shown = run("show", report)
        assert shown["report_version"] == version
        assert shown["tcb"]["current"].count(": ") == layouts  # type: ignore[index]
    assert len(HONEST.report(guest)) == REPORT_BYTES


def test_turins_parts_are_shown_by_its_own_layout(tmp_path: Path) -> None:
    report = tmp_path / "report.bin"
    report.write_bytes(TURIN.report(GUEST))
    _, shown = run("show", report)
    assert shown["tcb"]["launch"] == f"Turin: {TURIN.tcb}"  # type: ignore[index]


def test_simulated_evidence_is_accepted_where_an_option_asks_for_it(file: Path) -> None:
    options = ("--at", AT, "--launch-measurement", "33" * 48)
    code, said = run("verify", file, "--tee", "simulated-snp", *options)
    assert (code, said["accepted"], said["stamp"]) == (0, True, "SIMULATED")
    assert said["not_judged"] == ["report_data"]
    collateral = file.with_name("collateral.json")
    code, said = run("verify", file, "--collateral", collateral, *options)
    assert (code, said["failed_check"], said["expected"]) == (3, "tee_kind", "from SEV-SNP")


def test_another_launch_digest_is_refused(file: Path) -> None:
    options = ("--at", AT, "--launch-measurement", "34" * 48)
    code, said = run("verify", file, "--tee", "simulated-snp", *options)
    assert (code, said["failed_check"]) == (3, "launch_measurement")


def test_evidence_is_judged_by_a_contract(file: Path) -> None:
    contract = file.with_name("contract.toml")
    contract.write_text(SNP)
    collateral = file.with_name("collateral.json")
    for role in ("ps", "worker"):
        options = ("--contract", contract, "--role", role, "--collateral", collateral)
        code, said = run("verify", file, *options, "--at", AT)
        assert (code, said["failed_check"]) == (3, "tee_kind")
        assert said["expected"] == ("from SEV-SNP" if role == "ps" else "from SGX")
        assert "tokens" not in said["not_judged"]  # type: ignore[operator]


def test_tokens_that_a_contract_demands_are_named_as_not_judged(file: Path) -> None:
    """Stored evidence has none."""
    contract = file.with_name("contract.toml")
    contract.write_text(SNP + TABLE.format(keys=f'"{P256}"'))
    collateral = file.with_name("collateral.json")
    options = ("--contract", contract, "--role", "worker", "--collateral", collateral)
    _, said = run("verify", file, *options, "--at", AT)
    assert "tokens" in said["not_judged"]  # type: ignore[operator]


def test_evidence_without_a_node_is_judged_by_the_table_of_its_kind(file: Path) -> None:
    """A role of several kinds: the evidence does not say for which node it is."""
    contract = file.with_name("contract.toml")
    measured = ALTERNATIVES.replace(
        'tee = "simulated-snp"\nmeasurement = "own"\n[trust.roles.worker.snp]\n',
        f'tee = "simulated-snp"\n[trust.roles.worker.snp]\nlaunch_measurement = ["{"33" * 48}"]\n',
    )
    contract.write_text(measured)
    options = ("--contract", contract, "--role", "worker", "--at", AT)
    code, said = run("verify", file, *options)
    assert (code, said["accepted"]) == (0, True)
    contract.write_text(measured.replace("33" * 48, "34" * 48))
    code, said = run("verify", file, *options)
    assert (code, said["failed_check"]) == (3, "launch_measurement")


def test_evidence_of_a_kind_that_the_role_does_not_list_is_refused(file: Path) -> None:
    contract = file.with_name("contract.toml")
    contract.write_text(REAL)
    collateral = ("--collateral", file.with_name("collateral.json"))
    code, said = run(
        "verify", file, "--contract", contract, "--role", "worker", *collateral, "--at", AT
    )
    assert (code, said["failed_check"]) == (3, "tee_kind")
    assert (said["expected"], said["seen"]) == ("sgx or snp", "simulated-snp")
