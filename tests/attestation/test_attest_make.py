"""``coterie attest make``: evidence of this machine, from which a contract can be drafted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner, Result

from coterie.attestation.challenges import confidential_space
from coterie.attestation.evidence import parse_evidence
from coterie.attestation.vtpm.quote import VtpmQuote
from coterie.cli.attest import app as attest
from coterie.errors import ContractInvalid, EnvironmentUnfit, OutputInUse
from coterie.kinds import OF_VTPM, SIMULATED, TeeKind
from tests.attestation.test_confidential_space import LauncherService

app = typer.Typer()
app.add_typer(attest, name="attest")


def make(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["attest", "make", *(str(one) for one in arguments)])


def pcrs_of(kind: TeeKind) -> tuple[str, ...]:
    return ("--pcr", "11", "--pcr", "4") if kind in OF_VTPM else ()


@pytest.mark.parametrize("kind", sorted(SIMULATED))
def test_evidence_is_of_the_kind_and_over_nothing(kind: TeeKind, tmp_path: Path) -> None:
    out = tmp_path / "evidence.bin"
    made = make(out, "--tee", kind, *pcrs_of(kind), "--json")
    assert made.exit_code == 0, made.output
    octets = out.read_bytes()
    assert json.loads(made.stdout) == {"written": str(out), "tee": kind, "bytes": len(octets)}
    quote = parse_evidence(octets)
    assert quote.kind == kind
    assert quote.report_data == bytes(64)
    if isinstance(quote, VtpmQuote):
        assert [number for number, _ in quote.pcrs] == [4, 11]


@pytest.mark.parametrize("kind", sorted(set(get_args(TeeKind)) - SIMULATED))
def test_a_machine_without_the_tee_makes_none(kind: TeeKind, tmp_path: Path) -> None:
    out = tmp_path / "evidence.bin"
    made = make(out, "--tee", kind, *pcrs_of(kind), "--root", tmp_path)
    assert isinstance(made.exception, EnvironmentUnfit)
    assert not out.exists()


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "evidence.bin"
    out.write_text("mine")
    assert isinstance(make(out, "--tee", "simulated").exception, OutputInUse)
    assert out.read_text() == "mine"
    elsewhere = make(tmp_path / "nowhere" / "evidence.bin", "--tee", "simulated")
    assert isinstance(elsewhere.exception, OutputInUse)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tee", "simulated-azure-snp"), "needs at least one"),
        (("--tee", "simulated-snp", "--pcr", "4"), "needs none"),
        (("--tee", "simulated-azure-tdx", "--pcr", "24"), "less than or equal to 23"),
        (("--tee", "snp", "--tee-socket", "/run/s"), "is by no launcher"),
        ((), "--tee"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    made = make(tmp_path / "evidence.bin", *arguments)
    assert made.exit_code == 2
    assert said in " ".join(made.output.replace("│", "").split())


def test_a_launcher_is_asked_at_its_socket(tmp_path: Path) -> None:
    """In Confidential Space, where this process cannot ask for quotes."""
    service = LauncherService(tmp_path / "s")
    with service.serving():
        made = make(tmp_path / "evidence.bin", "--tee", "tdx", "--tee-socket", str(service.path))
    assert made.exit_code == 0
    assert parse_evidence((tmp_path / "evidence.bin").read_bytes()).report_data == (
        confidential_space(bytes(64))
    )


def test_an_address_without_meaning_is_refused(tmp_path: Path) -> None:
    url = "http://169.254.169.254/acc/tdquote"
    made = make(tmp_path / "evidence.bin", "--tee", "simulated", "--td-quote-url", url)
    assert isinstance(made.exception, ContractInvalid)
