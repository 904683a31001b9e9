"""``coterie attest`` and evidence of virtual TPMs: shown, judged, by options and by contracts."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from coterie.attestation.tee.simulated.azure import PARAVISOR, SimulatedVm
from tests.attestation.snp.test_snp_attest import AT, run
from tests.attestation.vtpm.forgeries import DATA, ISSUED, PCRS, SNP, TDX, VALUES
from tests.contract.test_vtpm_trust import AZURE_SNP

MACHINES = [(SNP, "simulated-azure-snp"), (TDX, "simulated-azure-tdx")]
PCR4 = f"4={VALUES[4].hex()}"


def written(folder: Path, vm: SimulatedVm) -> Path:
    """Evidence, and collateral beside it."""
    file = folder / "evidence.bin"
    file.write_bytes(vm.evidence(DATA, PCRS))
    vendor = vm.pki if vm.tdx else vm.amd
    (folder / "collateral.json").write_text(vendor.issue(ISSUED).to_json())
    return file


@pytest.mark.parametrize(("vm", "kind"), MACHINES)
def test_evidence_is_shown(tmp_path: Path, vm: SimulatedVm, kind: str) -> None:
    file = written(tmp_path, vm)
    for content in (file.read_bytes(), base64.b64encode(file.read_bytes())):
        file.write_bytes(content)
        code, shown = run("show", file)
        assert (code, shown["tee_claimed"], shown["judged"]) == (0, kind, False)
        assert shown["report_data"] == DATA.hex()
        measured = shown["measurements"]
        assert isinstance(measured, dict)
        assert measured["pcr4"] == VALUES[4].hex()
        assert (measured["secure_boot"], measured["console"]) == ("true", "false")
        below = shown["hardware"]
        assert isinstance(below, dict)
        assert PARAVISOR.hex() in below["measurements"].values()
        assert "tee_claimed" not in below
        assert '"HCLAkPub"' in str(shown["runtime_data"])
        assert shown["tpm"]["resets"] == 1  # type: ignore[index]


@pytest.mark.parametrize(("vm", "kind"), MACHINES)
def test_simulated_evidence_is_accepted_where_an_option_asks_for_it(
    tmp_path: Path, vm: SimulatedVm, kind: str
) -> None:
    file = written(tmp_path, vm)
    code, said = run("verify", file, "--tee", kind, "--at", AT, "--pcr", PCR4)
    assert (code, said["accepted"], said["stamp"]) == (0, True, "SIMULATED")
    assert "measurement" not in said["not_judged"]  # type: ignore[operator]
    _, said = run("verify", file, "--tee", kind, "--at", AT)
    assert "measurement" in said["not_judged"]  # type: ignore[operator]
    collateral = file.with_name("collateral.json")
    code, said = run("verify", file, "--collateral", collateral, "--at", AT)
    assert (code, said["failed_check"]) == (3, "tee_kind")
    assert said["expected"] == f"from an Azure guest above {'TDX' if vm.tdx else 'SEV-SNP'}"


@pytest.mark.parametrize(("vm", "kind"), MACHINES)
def test_another_pcr_is_refused_and_one_of_several_accepted(
    tmp_path: Path, vm: SimulatedVm, kind: str
) -> None:
    file = written(tmp_path, vm)
    other = f"4={'ab' * 32}"
    code, said = run("verify", file, "--tee", kind, "--at", AT, "--pcr", other)
    assert (code, said["failed_check"]) == (3, "pcr4")
    code, _ = run("verify", file, "--tee", kind, "--at", AT, "--pcr", other, "--pcr", PCR4)
    assert code == 0


def test_evidence_is_judged_by_a_contract(tmp_path: Path) -> None:
    file = written(tmp_path, SNP)
    contract = tmp_path / "contract.toml"
    contract.write_text(AZURE_SNP)
    options = ("--contract", contract, "--role", "ps", "--at", AT)
    code, said = run("verify", file, *options, "--collateral", tmp_path / "collateral.json")
    assert (code, said["failed_check"]) == (3, "tee_kind")
    assert said["expected"] == "from an Azure guest above SEV-SNP"


def test_a_part_that_is_malformed_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, SNP)
    file.write_bytes(file.read_bytes().replace(b'"HCLAkPub"', b'"HCLAkPup"'))
    code, said = run("verify", file, "--tee", "simulated-azure-snp", "--at", AT)
    assert (code, said["failed_check"]) == (3, "tpm_key")
