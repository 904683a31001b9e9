"""``coterie doctor``: what a machine has of each TEE and what is missing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from coterie.attestation.tee.simulated.azure import SimulatedVm
from coterie.attestation.tee.survey import TeeSurvey, survey
from coterie.cli.doctor import doctor
from coterie.errors import EnvironmentUnfit
from coterie.kinds import SIMULATED, TeeKind
from coterie.plane.choice import choice
from tests.attestation.test_confidential_space import LauncherService
from tests.attestation.vtpm.devices import Vtpm

app = typer.Typer()
app.command()(doctor)  # the only command, so it needs no name


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    text: str
    error: BaseException | None

    @property
    def value(self) -> dict[str, object]:
        value = json.loads(self.text)
        assert isinstance(value, dict)
        return value


def run(*arguments: str | Path) -> Ran:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return Ran(result.exit_code, result.stdout, result.exception)


def tree(root: Path, *files: str, flags: str = "", **texts: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(texts.get(Path(name).name, ""))
    (root / "proc").mkdir(parents=True, exist_ok=True)
    (root / "proc/cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n")
    return root


def one_of(surveys: tuple[TeeSurvey, ...], kind: str) -> TeeSurvey:
    """The survey of one kind."""
    return next(one for one in surveys if one.kind == kind)


def test_doctor_knows_a_bare_machine(tmp_path: Path) -> None:
    found = {one.kind: one for one in survey(tree(tmp_path), which=lambda _: None)}
    assert {kind for kind, one in found.items() if one.usable} == SIMULATED
    for kind in ("sgx", "tdx", "snp", "azure-snp", "azure-tdx"):
        missing = [finding for finding in found[kind].findings if not finding.present]
        assert missing
        assert all(finding.detail for finding in missing)


def test_doctor_knows_an_enclave(tmp_path: Path) -> None:
    files = ("dev/attestation/quote", "dev/attestation/attestation_type", "dev/sgx_enclave")
    root = tree(tmp_path, *files, flags="sgx", attestation_type="dcap\n")
    sgx = one_of(survey(root, which=lambda _: "/usr/bin/gramine-sgx"), "sgx")
    assert sgx.usable
    assert {finding.name for finding in sgx.findings if not finding.present} == {
        "provisioning device",
        "quoting service (AESM)",
    }


def test_doctor_knows_an_enclave_without_dcap(tmp_path: Path) -> None:
    files = ("dev/attestation/quote", "dev/attestation/attestation_type")
    sgx = one_of(
        survey(tree(tmp_path, *files, attestation_type="none\n"), which=lambda _: None), "sgx"
    )
    assert not sgx.usable


def test_doctor_knows_a_trust_domain(tmp_path: Path) -> None:
    root = tree(tmp_path, "sys/kernel/config/tsm/report/x", flags="tdx_guest")
    tdx = one_of(survey(root, which=lambda _: None), "tdx")
    assert tdx.usable


def test_doctor_knows_an_snp_guest(tmp_path: Path) -> None:
    files = ("sys/kernel/config/tsm/report/x", "dev/sev-guest")
    snp = one_of(survey(tree(tmp_path, *files), which=lambda _: None), "snp")
    assert snp.usable
    assert snp.summary == "this machine is an SNP guest"


def test_doctor_tells_a_trust_domain_from_an_snp_guest(tmp_path: Path) -> None:
    root = tree(tmp_path, "sys/kernel/config/tsm/report/x", flags="tdx_guest")
    assert not one_of(survey(root, which=lambda _: None), "snp").usable


@pytest.mark.parametrize(("tdx", "kind"), [(False, "azure-snp"), (True, "azure-tdx")])
def test_doctor_knows_azures_guests(tmp_path: Path, tdx: bool, kind: str) -> None:
    device = Vtpm(SimulatedVm(tdx=tdx))
    found = survey(tree(tmp_path), which=lambda _: None, device=lambda _: device)
    assert {one.kind for one in found if one.usable} - SIMULATED == {kind}
    assert one_of(found, kind).summary.startswith("this machine is an Azure guest above")


def test_doctor_tells_another_tpm_from_azures(tmp_path: Path) -> None:
    found = survey(tree(tmp_path), device=lambda _: Vtpm(SimulatedVm(), b"another content"))
    (finding,) = one_of(found, "azure-snp").findings
    assert finding.detail == "the HCL report is malformed: 15 bytes"


@pytest.mark.parametrize("kind", ["tdx", "snp"])
def test_doctor_knows_a_guest_whose_user_may_ask_for_no_report(tmp_path: Path, kind: str) -> None:
    files = ("sys/kernel/config/tsm/report/x", "dev/sev-guest")
    root = tree(tmp_path, *files, flags="tdx_guest")
    found = one_of(survey(root, which=lambda _: None, may_write=lambda _: False), kind)
    (missing,) = [one for one in found.findings if one.needed and not one.present]
    assert missing.name == "kernel interface configfs-tsm"
    assert missing.detail.endswith("this user may ask for no report: the kernel lets user 0 alone")


def test_doctor_asks_the_launcher_in_place_of_the_kernel(tmp_path: Path) -> None:
    launcher = LauncherService(tmp_path / "s")
    with launcher.serving():
        tdx = one_of(survey(tree(tmp_path), launcher=launcher.path), "tdx")
        ran = run("--root", tmp_path, "--tee", "tdx", "--tee-socket", launcher.path)
    assert tdx.usable
    assert (ran.code, ran.text.splitlines()[:2]) == (
        0,
        [
            "tdx  usable: this workload asks a launcher for TDX quotes",
            "  + quotes by the launcher: gives one",
        ],
    )
    tdx = one_of(survey(tree(tmp_path), launcher=launcher.path), "tdx")
    assert not tdx.usable
    (finding,) = tdx.findings
    assert finding.detail.startswith(f"the local service {launcher.path} gives no answer to")


@dataclass
class Quotes:
    """The platform's service for TD quotes."""

    works: bool
    asked: list[bytes] = field(default_factory=list)

    def quote(self, td_report: bytes) -> bytes:
        self.asked.append(td_report)
        if not self.works:
            raise EnvironmentUnfit("no quote", "one", "HTTP status 500", "ask again")
        return b"quote"


@pytest.mark.parametrize("works", [True, False])
def test_doctor_asks_the_platforms_service_for_td_quotes(tmp_path: Path, works: bool) -> None:
    quotes, device = Quotes(works), Vtpm(SimulatedVm(tdx=True))
    found = survey(tree(tmp_path), device=lambda _: device, td_quotes=quotes)
    _, service = one_of(found, "azure-tdx").findings
    assert (service.present, len(quotes.asked)) == (works, 1)
    assert service.detail == ("gives one" if works else "no quote: HTTP status 500")
    assert len(one_of(found, "azure-snp").findings) == 1
    elsewhere = survey(tree(tmp_path), td_quotes=quotes)
    assert len(one_of(elsewhere, "azure-tdx").findings) == len(quotes.asked) == 1
    refused = run("--root", tmp_path, "--td-quote-url", "http://quotes.example/q")
    assert isinstance(refused.error, EnvironmentUnfit)


def test_doctor_says_what_azures_guests_need(tmp_path: Path) -> None:
    (finding,) = one_of(survey(tree(tmp_path)), "azure-snp").findings
    assert finding.detail == (
        "the TPM failed to read an NV index: ENOENT: No such file or directory; "
        "needs a TPM at /dev/tpmrm0, which this user may use"
    )


def test_doctor_tells_of_the_tee_that_it_is_asked_for(tmp_path: Path) -> None:
    kinds = get_args(TeeKind)
    files = ("sys/kernel/config/tsm/report/x", "dev/sev-guest")
    lines = run("--root", tree(tmp_path, *files), "--tee", "snp").text.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        *("snp", "kernels", "records"),
    ]
    everything = run("--root", tmp_path).text.splitlines()
    heads = [line.split()[0] for line in everything if not line.startswith(" ")]
    assert sorted(heads) == sorted((*kinds, "kernels", "records"))


def test_doctor_prints_and_fails_on_demand(tmp_path: Path) -> None:
    root = tree(tmp_path)
    ran = run("--root", root, "--json")
    assert ran.code == 0
    tees = ran.value["tees"]
    assert isinstance(tees, dict)
    assert {kind: one["usable"] for kind, one in tees.items()} == {
        kind: kind in SIMULATED for kind in get_args(TeeKind)
    }
    assert "not usable" in run("--root", root).text
    assert isinstance(run("--root", root, "--tee", "tdx").error, EnvironmentUnfit)
    assert run("--root", root, "--tee", "simulated").code == 0


def test_doctor_tries_a_pccs(tmp_path: Path) -> None:
    ran = run("--root", tree(tmp_path), "--pccs-url", "http://localhost", "--json")
    assert ran.code == EnvironmentUnfit.exit_code
    pccs = ran.value["pccs"]
    assert isinstance(pccs, dict)
    assert pccs["usable"] is False
    assert "https" in str(pccs["seen"]) or "not usable" in str(pccs["seen"])
    in_words = run("--root", tree(tmp_path), "--pccs-url", "https://127.0.0.1:1")
    assert isinstance(in_words.error, EnvironmentUnfit)
    assert "Connection refused" in in_words.text


def test_doctor_tries_amds_service(tmp_path: Path) -> None:
    ran = run("--root", tree(tmp_path), "--kds-url", "http://localhost", "--json")
    assert ran.code == EnvironmentUnfit.exit_code
    kds = ran.value["kds"]
    assert isinstance(kds, dict)
    assert kds["usable"] is False
    in_words = run("--root", tree(tmp_path), "--kds-url", "https://127.0.0.1:1")
    assert isinstance(in_words.error, EnvironmentUnfit)
    assert "kds  " in in_words.text


def test_doctor_says_what_computes(tmp_path: Path) -> None:
    """The line names what is missing where NumPy computes, and how to get it."""
    expected = choice()
    native = {"computed_by": expected.kernels.name, "native": expected.missing is None}
    seen = run("--root", tree(tmp_path), "--json").value["kernels"]
    assert isinstance(seen, dict)
    assert native.items() <= seen.items()
    assert bool(seen["missing"]) is not native["native"]
    (line,) = [
        line
        for line in run("--root", tree(tmp_path)).text.splitlines()
        if line.startswith("kernels")
    ]
    assert expected.kernels.name in line
    assert ("coterie doctor --build" in line) is not native["native"]


def test_doctor_says_what_encrypts(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "proc/cpuinfo").write_text("flags\t\t: fpu aes pclmulqdq\n")
    seen = run("--root", root, "--json").value["records"]
    assert isinstance(seen, dict)
    assert (seen["instructions"], seen["hint"]) == ("AES-NI", "")
    assert f"records  {seen['openssl']}, AES-NI" in run("--root", root).text.splitlines()
