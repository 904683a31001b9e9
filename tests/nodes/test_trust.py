"""What a node gets from its host, and what of it is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from coterie.attestation.evidence import parse_evidence
from coterie.attestation.vtpm.quote import VtpmQuote
from coterie.cli.node import node
from coterie.contract import Contract, parse_contract
from coterie.contract.signatures import public_key_text, sign_contract, signature_path
from coterie.errors import (
    ContractInvalid,
    CoterieError,
    EnvironmentUnfit,
    EvidenceRefused,
    SignatureRefused,
    VoucherRefused,
)
from coterie.nodes.options import NodeOptions
from coterie.nodes.trust import node_trust
from coterie.ratls.trust import TrustContext

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
NO_OPTIONS = NodeOptions()
HEAD = """
format = 1
name = "test"
mode = "hfl"
parties = [{{name = "a", key = "{key}"}}, {{name = "b", key = "{other}"}}]
nodes = [
  {{name = "ps", role = "ps", party = "a"}},
  {{name = "w1", role = "worker", party = "a"}},
  {{name = "w2", role = "worker", party = "b"}},
]
"""
TABLES = {
    "simulated": 'measurement = "own"',
    "sgx": f'mrenclave = ["{"11" * 32}"]\nminimum_tcb_evaluation_number = 17',
    "tdx": "\n".join(
        (
            "minimum_tcb_evaluation_number = 17",
            f'mrtd = ["{"22" * 48}"]',
            *(f'rtmr{i} = ["{"33" * 48}"]' for i in range(4)),
            f'td_attributes = ["{"00" * 8}"]',
            f'xfam = ["{"00" * 8}"]',
        )
    ),
}


VTPM = f"""[trust.roles.ROLE.vtpm]
secure_boot = [true]
console = [false]
pcrs.4 = ["{"44" * 32}"]
pcrs.7 = ["{"77" * 32}"]
"""
TABLES["azure-tdx"] = f"{TABLES['tdx']}\n{VTPM}"
TABLES["simulated-azure-tdx"] = f"{TABLES['simulated']}\n{VTPM}"


def text_of(tee: str) -> str:
    text = (
        HEAD.format(key=public_key_text(KEY), other=public_key_text(OTHER_KEY))
        + f'[trust]\ntee = "{tee}"\n'
    )
    for role in ("ps", "worker"):
        text += (
            f'[trust.roles.{role}]\naccepted_tcb_statuses = ["UpToDate"]\n{TABLES[tee]}\n'.replace(
                "ROLE", role
            )
        )
    return text


def contract(tee: str) -> Contract:
    return parse_contract(text_of(tee).encode(), "test")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.pem"
    path.write_bytes(
        KEY.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def trust(
    tee: str,
    options: NodeOptions,
    *,
    root: Path = Path("/nowhere"),
    host_clock: Callable[[], datetime] = lambda: NOW,
) -> TrustContext:
    agreed = contract(tee)
    options = replace(options, machine_root=root)
    return node_trust(agreed, agreed.nodes[0], options, incarnation=1, host_clock=host_clock)


def test_a_simulated_node_needs_its_partys_key(key_file: Path) -> None:
    made = trust("simulated", replace(NO_OPTIONS, party_key=key_file))
    assert made.credentials.current().voucher.node == "ps"

    with pytest.raises(VoucherRefused) as refusal:
        trust("simulated", NO_OPTIONS)
    assert "--party-key" in refusal.value.remedy


def test_a_node_quotes_the_pcrs_of_its_contract(key_file: Path) -> None:
    made = trust("simulated-azure-tdx", replace(NO_OPTIONS, party_key=key_file))
    quote = parse_evidence(made.tee.quote(bytes(64)))
    assert isinstance(quote, VtpmQuote)
    assert [number for number, _ in quote.pcrs] == [4, 7, 11]


def test_an_azure_node_needs_a_tpm_and_takes_an_address_for_td_quotes(tmp_path: Path) -> None:
    options = replace(
        NO_OPTIONS, key_server="127.0.0.1:1", td_quote_url="http://127.0.0.1:1/acc/tdquote"
    )
    with pytest.raises(EnvironmentUnfit, match="the TPM failed to read an NV index"):
        trust("azure-tdx", options, root=tmp_path)
    with pytest.raises(EnvironmentUnfit, match="for TD quotes is not usable"):
        trust("azure-tdx", replace(options, td_quote_url="http://quotes.example/"), root=tmp_path)
    with pytest.raises(ContractInvalid, match="--td-quote-url has no meaning"):
        trust("tdx", options, root=tmp_path)


def test_a_launchers_socket_must_fit_the_contract(tmp_path: Path) -> None:
    options = replace(NO_OPTIONS, key_server="127.0.0.1:1")
    launched = parse_contract(
        text_of("tdx")
        .replace("[trust.roles.ps]", '[trust.roles.ps]\nlauncher = "confidential-space"')
        .encode(),
        "test",
    )
    for agreed, socket, expected in (
        (launched, None, "--tee-socket PATH: trust.roles.ps.launcher is set"),
        (contract("tdx"), tmp_path / "s", "trust.roles.ps with a launcher or tokens"),
    ):
        with pytest.raises(ContractInvalid) as refused:
            node_trust(agreed, agreed.nodes[0], replace(options, tee_socket=socket), incarnation=1)
        assert refused.value.expected == expected
    with pytest.raises(EnvironmentUnfit, match="gives no answer to /v1/evidence"):
        node_trust(
            launched,
            launched.nodes[0],
            replace(options, tee_socket=tmp_path / "none"),
            incarnation=1,
        )


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (replace(NO_OPTIONS, pccs_url="https://localhost:8081"), "--pccs-url"),
        (replace(NO_OPTIONS, collateral=Path("collateral")), "--collateral"),
    ],
)
def test_a_simulated_node_takes_no_real_collateral(
    key_file: Path, options: NodeOptions, name: str
) -> None:
    with pytest.raises(ContractInvalid, match=name) as refusal:
        trust("simulated", replace(options, party_key=key_file))
    assert refusal.value.remedy


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
class TestRealTees:
    def test_a_machine_without_the_tee_is_told_what_to_do(self, tee: str, tmp_path: Path) -> None:
        with pytest.raises(EnvironmentUnfit) as refusal:
            trust(tee, replace(NO_OPTIONS, key_server="localhost:1"), root=tmp_path)
        assert "coterie doctor" in refusal.value.remedy
        assert "ENOENT" in refusal.value.seen

    def test_without_a_key_server_nobody_vouches(self, tee: str, tmp_path: Path) -> None:
        with pytest.raises(VoucherRefused, match="nobody vouches for node ps") as refusal:
            trust(tee, NO_OPTIONS, root=tmp_path)
        assert refusal.value.expected == "the key server of party a"
        assert refusal.value.remedy == "give --key-server HOST:PORT"

    def test_a_partys_key_on_the_host_is_refused(self, tee: str, key_file: Path) -> None:
        with pytest.raises(VoucherRefused) as refusal:
            trust(tee, replace(NO_OPTIONS, party_key=key_file))
        assert "key server" in refusal.value.expected

    def test_a_pccs_without_tls_is_refused(self, tee: str) -> None:
        with pytest.raises(EnvironmentUnfit) as refusal:
            trust(tee, replace(NO_OPTIONS, pccs_url="http://localhost:8081"))
        assert "https" in refusal.value.expected


class TestClock:
    def test_does_not_go_behind_the_start_of_the_node(self, key_file: Path) -> None:
        times = [NOW]
        made = trust(
            "simulated", replace(NO_OPTIONS, party_key=key_file), host_clock=lambda: times[-1]
        )
        times.append(NOW + timedelta(hours=1))
        assert made.clock() == times[-1]

        times.append(NOW - timedelta(minutes=2))
        with pytest.raises(EvidenceRefused) as refusal:
            made.clock()
        assert refusal.value.failed_check == "clock"
        with pytest.raises(CoterieError):  # no credentials by that clock either
            made.credentials.current()

    def test_stands_still_where_the_hosts_clock_is_corrected_a_little(self, key_file: Path) -> None:
        times = [NOW]
        made = trust(
            "simulated", replace(NO_OPTIONS, party_key=key_file), host_clock=lambda: times[-1]
        )
        times.append(NOW - timedelta(seconds=30))
        assert made.clock() == NOW


class TestCommand:
    """``coterie node`` with the options of the host."""

    def run(
        self, folder: Path, tee: str, *options: str, signed: Sequence[str] = ("a", "b")
    ) -> BaseException | None:
        file = folder / "contract.toml"
        file.write_text(text_of(tee))
        for party, key in (("a", KEY), ("b", OTHER_KEY)):
            if party not in signed:
                continue
            signature = sign_contract(contract(tee), key, party)
            signature_path(file, party).write_text(signature.to_json())
        app = typer.Typer()
        app.command()(node)
        return CliRunner().invoke(app, [str(file), "ps", *options]).exception

    @pytest.mark.parametrize("option", ["--pccs-url", "--collateral"])
    def test_simulated_nodes_refuse_options_for_real_collateral(
        self, tmp_path: Path, key_file: Path, option: str
    ) -> None:
        given = ("--party-key", str(key_file), option, "https://localhost:8081")
        error = self.run(tmp_path, "simulated", *given)
        assert isinstance(error, ContractInvalid)
        assert option in error.what

    def test_real_nodes_refuse_a_partys_key(self, tmp_path: Path, key_file: Path) -> None:
        error = self.run(tmp_path, "sgx", "--party-key", str(key_file))
        assert isinstance(error, VoucherRefused)
        assert error.exit_code == 3

    @pytest.mark.parametrize("tee", ["sgx", "tdx"])
    @pytest.mark.parametrize(
        ("signed", "missing"), [((), "none of a, b"), (("a",), "none of b")], ids=["none", "one"]
    )
    def test_real_nodes_need_every_partys_signature_though_no_key_says_so(
        self, tmp_path: Path, tee: str, signed: tuple[str, ...], missing: str
    ) -> None:
        assert "demand_signatures" not in text_of(tee)
        error = self.run(tmp_path, tee, "--key-server", "localhost:1", signed=signed)
        assert isinstance(error, SignatureRefused)
        assert error.seen == missing
        assert error.exit_code == 4

    def test_real_nodes_take_collateral_and_need_their_tee(self, tmp_path: Path) -> None:
        if Path("/dev/attestation").exists():
            pytest.skip("this machine is an enclave")
        given = ("--collateral", str(tmp_path), "--key-server", "localhost:1")
        error = self.run(tmp_path, "sgx", *given)
        assert isinstance(error, EnvironmentUnfit)
        assert error.exit_code == 7
