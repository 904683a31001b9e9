"""``coterie attest``: exit codes, JSON fields, sentences for people."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from coterie.attestation.collateral_source import DirectoryCollateral
from coterie.attestation.measurement import own_package_measurement
from coterie.attestation.quote import parse_quote
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, sgx_quote
from coterie.cli.attest import app as attest
from coterie.errors import EnvironmentUnfit, EvidenceRefused
from tests.conftest import REPOSITORY

VECTORS = REPOSITORY.parent / "shared" / "attestation-vectors"
LCP = VECTORS / "sgx_v3_lcp"
LCP_TIME = "2025-02-05T10:43:45Z"
KONVERA_TIME = "2023-07-02T03:59:48Z"
GRAMINE_CERTIFICATE = VECTORS / "ratls_certs" / "gramine-ratls-golang__tlscert.der"
RATLS_CERTIFICATE = VECTORS / "ratls_certs" / "interoperable-ra-tls__gramine-cert.pem"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)

app = typer.Typer()
app.add_typer(attest, name="attest")


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


def real(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"real vectors are not here: {VECTORS}")
    return path


@pytest.fixture
def simulated(tmp_path: Path) -> Path:
    fields = EnclaveFields(
        mrenclave=own_package_measurement(tensorflow=False), report_data=b"\7" * 64
    )
    path = tmp_path / "quote.bin"
    path.write_bytes(sgx_quote(SimulatedPki(), fields))
    return path


def verify_lcp(*more: str) -> Ran:
    folder = real(LCP)
    fixed = ("--collateral", folder / "collateral.json", "--at", LCP_TIME, "--json")
    return run("attest", "verify", folder / "quote.bin", *fixed, *more)


def test_an_accepted_quote_ends_with_zero_and_lists_every_check() -> None:
    ran = verify_lcp("--accept-status", "SWHardeningNeeded")
    assert ran.code == 0
    value = ran.value
    assert value["accepted"] is True
    assert (value["failed_check"], value["reason"], value["remedy"]) == (None, None, None)
    assert value["tee"] == "sgx"
    assert value["tcb_status"] == "SWHardeningNeeded"
    assert value["advisories"] == ["INTEL-SA-00334", "INTEL-SA-00615"]
    assert isinstance(value["measurements"], dict)
    assert str(value["measurements"]["mrenclave"]).startswith("fe5a6a5b")
    assert value["not_judged"] == ["advisories", "measurement", "evaluation_number", "report_data"]
    assert isinstance(value["checks"], list)
    assert {check["outcome"] for check in value["checks"]} == {"passed"}
    assert {"quote_signature", "tcb_status"} <= {check["name"] for check in value["checks"]}


@pytest.mark.parametrize(
    ("more", "check"),
    [
        ((), "tcb_status"),
        (("--accept-status", "OutOfDate"), "tcb_status"),
        (("--accept-status", "SWHardeningNeeded", "--accept-advisory", "INTEL-SA-1"), "advisories"),
        (("--accept-status", "SWHardeningNeeded", "--mrenclave", "00" * 32), "mrenclave"),
        (("--accept-status", "SWHardeningNeeded", "--mrsigner", "00" * 32), "mrsigner"),
        (("--accept-status", "SWHardeningNeeded", "--mrtd", "00" * 48), "mrtd"),
        (("--accept-status", "SWHardeningNeeded", "--report-data", "00" * 64), "report_data"),
        (
            ("--accept-status", "SWHardeningNeeded", "--minimum-evaluation", "18"),
            "evaluation_number",
        ),
        (("--accept-status", "SWHardeningNeeded", "--tee", "tdx"), "tee_kind"),
        (("--at", "2026-01-01T00:00:00Z"), "tcb_info_chain_validity"),
    ],
)
def test_a_refused_quote_ends_with_three_and_says_why(more: tuple[str, ...], check: str) -> None:
    ran = verify_lcp(*more)
    assert ran.code == 3
    value = ran.value
    assert value["accepted"] is False
    assert value["failed_check"] == check
    assert value["reason"]
    assert value["remedy"]


@pytest.mark.parametrize(
    "more",
    [
        ("--accept-status", "Fine"),
        ("--mrenclave", "00"),
        ("--at", "yesterday"),
        ("--role", "ps"),
        ("--tee", "sev"),
    ],
)
def test_impossible_options_are_usage_errors(more: tuple[str, ...], simulated: Path) -> None:
    assert run("attest", "verify", simulated, "--tee", "simulated", *more).code == 2


def test_people_get_lines() -> None:
    folder = real(LCP)
    more = ("--collateral", folder / "collateral.json", "--at", LCP_TIME)
    ran = run("attest", "verify", folder / "quote.bin", *more)
    assert ran.code == 3
    assert "accepted: no" in ran.text
    assert "failed   tcb_status" in ran.text


def test_the_verdict_stands_below_all_that_it_rests_on(simulated: Path) -> None:
    ran = run("attest", "verify", simulated, "--tee", "simulated")
    assert ran.text.splitlines()[-1] == "accepted: yes"
    ran = run("attest", "verify", simulated, "--tee", "simulated", "--mrenclave", "00" * 32)
    *above, accepted, failed, reason, expected, seen, remedy = ran.text.splitlines()
    assert (accepted, failed) == ("accepted: no", "failed check: mrenclave")
    for line, name in (
        (reason, "reason"),
        (expected, "expected"),
        (seen, "seen"),
        (remedy, "remedy"),
    ):
        assert line.startswith(f"{name}: ")
    assert "checks:" in above


def test_a_simulated_quote_is_accepted_only_on_demand(simulated: Path) -> None:
    ran = run("attest", "verify", simulated, "--tee", "simulated", "--json")
    assert (ran.code, ran.value["tee"]) == (0, "simulated")
    collateral = simulated.with_name("collateral.json")
    collateral.write_text(SimulatedPki().collateral(AT).to_json())
    ran = run("attest", "verify", simulated, "--json", "--collateral", collateral)
    assert (ran.code, ran.value["failed_check"]) == (3, "tee_kind")


def test_real_evidence_without_collateral_is_a_usage_error() -> None:
    assert run("attest", "verify", real(LCP / "quote.bin")).code == 2


def test_garbage_is_refused_not_a_traceback(tmp_path: Path) -> None:
    for data, check in (
        (b"", "quote_format"),
        (b"hello", "quote_format"),
        (b"\x30\x00", "certificate_encoding"),
        (b"-----BEGIN CERTIFICATE-----\nhello", "certificate_encoding"),
    ):
        path = tmp_path / "file"
        path.write_bytes(data)
        ran = run("attest", "verify", path, "--json")
        assert (ran.code, ran.value["failed_check"]) == (3, check)


def test_a_directory_of_collateral(simulated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "collateral"
    folder.mkdir()
    command = ("attest", "verify", simulated, "--tee", "simulated", "--json")
    rest = ("--collateral", folder, "--at", AT.isoformat())
    ran = run(*command, *rest)
    assert (ran.code, ran.value["failed_check"]) == (3, "collateral_missing")
    platform = parse_quote(simulated.read_bytes()).platform()
    DirectoryCollateral(folder).store(platform, SimulatedPki().collateral(AT))
    assert run(*command, *rest).code == 0


CONTRACT = """
format = 1
name = "tiny"
mode = "hfl"
parties = [{name = "a"}, {name = "b"}]
nodes = [
  {name = "ps", role = "ps", party = "a", address = "127.0.0.1:1"},
  {name = "w1", role = "worker", party = "a"},
  {name = "w2", role = "worker", party = "b"},
]
[trust]
tee = "simulated"
[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
[trust.roles.worker]
mrenclave = ["0000000000000000000000000000000000000000000000000000000000000000"]
accepted_tcb_statuses = ["UpToDate"]
"""


def test_a_contract_judges(simulated: Path, tmp_path: Path) -> None:
    contract = tmp_path / "contract.toml"
    contract.write_text(CONTRACT)
    command = ("attest", "verify", simulated, "--json", "--contract", contract)
    ran = run(*command, "--role", "ps")
    assert (ran.code, ran.value["accepted"]) == (0, True)
    ran = run(*command, "--role", "worker")
    assert (ran.code, ran.value["failed_check"]) == (3, "mrenclave")
    assert run(*command).code == 2
    assert run(*command, "--role", "ps", "--accept-status", "OutOfDate").code == 2


def test_a_real_certificate_is_judged_with_its_key() -> None:
    collateral = VECTORS / "sgx_v3_konvera_gramine_ratls_swhardening" / "collateral.json"
    ran = run(
        "attest",
        "verify",
        real(GRAMINE_CERTIFICATE),
        "--collateral",
        collateral,
        "--at",
        KONVERA_TIME,
        "--accept-status",
        "SWHardeningNeeded",
        "--json",
    )
    assert ran.code == 0
    checks = ran.value["checks"]
    assert isinstance(checks, list)
    assert {"report_data", "pubkey_hash"} <= {check["name"] for check in checks}


def test_show_explains_without_judging(simulated: Path) -> None:
    value = run("attest", "show", simulated, "--json").value
    assert value["judged"] is False
    assert value["tee_claimed"] == "simulated"
    assert value["report_data"] == "07" * 64
    assert value["attributes"] == {
        "flags": "0x0000000000000005", "xfrm": "0x0000000000000003", "debug": False, "init": True,
        "mode64": True, "provision_key": False, "einittoken_key": False, "reserved": False,
    }  # fmt: skip
    assert "\n  debug: no\n" in run("attest", "show", simulated).text
    assert value["platform"] == {"tee": "sgx", "fmspc": "c07e51000000", "ca": "platform"}
    assert "tee claimed: simulated" in run("attest", "show", simulated).text
    value = run("attest", "show", real(GRAMINE_CERTIFICATE), "--json").value
    assert isinstance(value["certificate"], dict)
    assert value["certificate"]["extension"] == "Gramine legacy 0.6.9.42.840.113741.1337.6"
    assert "interoperable" in run("attest", "show", real(RATLS_CERTIFICATE)).text


def test_show_tells_debug_of_real_evidence() -> None:
    for name, debug in (
        ("sgx_v3_azure_debug", True),
        ("sgx_v3_azure_prod", False),
        ("tdx_v4_phala", False),
    ):
        value = run("attest", "show", real(VECTORS / name / "quote.bin"), "--json").value
        assert isinstance(value["attributes"], dict)
        assert value["attributes"]["debug"] is debug


WRAPPED: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64encode,
    "base64 in lines": base64.encodebytes,
    "base64 for addresses, without padding": lambda data: base64.urlsafe_b64encode(data).rstrip(
        b"="
    ),
    "hex": lambda data: data.hex().encode() + b"\n",
    "base64 with CRLF": lambda data: base64.encodebytes(data).replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_a_quote_in_text_is_shown_and_judged_as_the_quote(
    wrap: Callable[[bytes], bytes], simulated: Path
) -> None:
    text = simulated.with_name("quote.txt")
    text.write_bytes(wrap(simulated.read_bytes()))
    shown = run("attest", "show", text, "--json")
    assert shown.value == run("attest", "show", simulated, "--json").value
    assert run("attest", "verify", text, "--tee", "simulated").code == 0


def rsa_certificate(quote: bytes) -> bytes:
    """A certificate as older Gramine makes it: an RSA key and the legacy extension; DER."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "RATLS")])
    legacy = x509.ObjectIdentifier("1.2.840.113741.1337.6")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(AT)
        .not_valid_after(AT.replace(year=2027))
        .add_extension(x509.UnrecognizedExtension(legacy, quote), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def test_show_explains_a_certificate_that_no_node_may_have(simulated: Path) -> None:
    der = rsa_certificate(simulated.read_bytes())
    file = simulated.with_name("certificate.pem")
    body = base64.encodebytes(der).replace(b"\n", b"\r\n")
    begin, end = b"-----BEGIN CERTIFICATE-----\r\n", b"-----END CERTIFICATE-----\r\n"
    file.write_bytes(begin + body + end)
    value = run("attest", "show", file, "--json").value
    assert (value["judged"], value["tee_claimed"]) == (False, "simulated")
    certificate = value["certificate"]
    assert isinstance(certificate, dict)
    assert (certificate["key"], certificate["serial_number"]) == ("RSA 2048 bits", "7")
    assert certificate["extension"] == "Gramine legacy 1.2.840.113741.1337.6"
    assert certificate["not_after"] == "2027-03-01T12:00:00+00:00"
    ran = run("attest", "verify", file, "--tee", "simulated", "--json")
    assert (ran.code, ran.value["failed_check"]) == (3, "certificate_key")


def test_show_explains_chains_and_what_a_platform_certificate_says(tmp_path: Path) -> None:
    file = tmp_path / "chain.pem"
    file.write_text(SimulatedPki(configuration=(True, False, False)).pck_chain)
    value = run("attest", "show", file, "--json").value
    assert {"certificate", "certificate_2", "certificate_3"} <= value.keys()
    leaf = value["certificate"]
    assert isinstance(leaf, dict)
    assert leaf["extension"] == "no evidence that is known"
    flags = {name: leaf["pck"][name] for name in ("dynamic_platform", "cached_keys", "smt")}
    assert flags == {"dynamic_platform": "yes", "cached_keys": "no", "smt": "no"}
    text = run("attest", "show", file).text
    assert "judged: no" in text
    assert "authority: yes" in text
    ran = run("attest", "verify", file, "--tee", "simulated", "--json")
    assert (ran.code, ran.value["seen"]) == (3, "3 certificates")


def test_show_explains_real_certificates_of_another_vendor() -> None:
    file = real(VECTORS.with_name("attestation-vectors-cloud") / "amd" / "milan_ask_ark_asvk.pem")
    first = run("attest", "show", file, "--json").value["certificate"]
    assert isinstance(first, dict)
    assert (first["key"], first["signature"]) == ("RSA 4096 bits", "rsassa_pss")


@pytest.mark.parametrize(
    ("data", "check", "seen"),
    [
        (b"hello", "quote_format", "5 bytes"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate_encoding",
            "",
        ),
        (b"-----BEGIN X-----\nAAAA\n-----END X-----\n", "certificate_encoding", "a PEM block X"),
        (b"-----BEGIN CERTIFICATE-----\n", "certificate_encoding", ""),
        (bytes(1 << 19), "certificate_encoding", "more"),
    ],
)
def test_show_refuses_garbage(data: bytes, check: str, seen: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    error = run("attest", "show", tmp_path / "file").error
    assert isinstance(error, EvidenceRefused)
    assert error.failed_check == check
    assert seen in error.seen


def test_fetch_speaks_https_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = ("--pccs-url", "http://localhost", "--out", out)
    ran = run("attest", "fetch", real(LCP / "quote.bin"), *more)
    assert isinstance(ran.error, EnvironmentUnfit)
    assert not out.exists()
