"""``coterie attest peer``: a real handshake over loopback, and the verdict that it prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from coterie.address import Address
from coterie.attestation.measurement import own_package_measurement
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.cli.attest import app as attest
from coterie.contract import Contract, load_contract
from coterie.contract.signatures import public_key_text
from coterie.errors import ContractInvalid, PeerUnreachable, VoucherRefused
from coterie.ratls.credentials import Credentials
from coterie.ratls.handshake import dial
from coterie.ratls.transport import AttestedServer, TrustContext, make_trust
from coterie.ratls.voucher import PartyKeyVouchers
from tests.ratls.conftest import FixedCredentials
from tests.system.threads import ThreadKeyServer

KEYS = {name: Ed25519PrivateKey.from_private_bytes(name.encode() * 32) for name in "ab"}
TEXT = """
format = 1
name = "tiny"
mode = "hfl"
parties = [{{name = "a", key = "{a}"}}, {{name = "b", key = "{b}"}}]
nodes = [
  {{name = "ps", role = "ps", party = "a"}},
  {{name = "w1", role = "worker", party = "a"}},
  {{name = "w2", role = "worker", party = "b"}},
]
[training]
seed = {seed}
[trust]
tee = "simulated"
[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
[trust.roles.worker]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""

app = typer.Typer()
app.add_typer(attest, name="attest")


def now() -> datetime:
    return datetime.now(UTC)


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


class Setting:
    """A contract, party keys in files, and a parameter server to attest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contract = self.write("contract.toml", seed=1)
        self._open: list[AttestedServer] = []
        for name, key in KEYS.items():
            (folder / f"{name}.pem").write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )

    def write(self, name: str, *, seed: int) -> Path:
        keys = {name: public_key_text(key) for name, key in KEYS.items()}
        path = self.folder / name
        path.write_text(TEXT.format(**keys, seed=seed))
        return path

    def trust(
        self, node: str = "ps", *, contract: Path | None = None, measurement: bytes | None = None
    ) -> TrustContext:
        agreed: Contract = load_contract(contract or self.contract)
        party = next(one.party for one in agreed.nodes if one.name == node)
        return make_trust(
            agreed,
            node,
            SimulatedTee(measurement or own_package_measurement(tensorflow=False)),
            PartyKeyVouchers(KEYS[party], clock=now),
            now,
        )

    def serve(self, trust: TrustContext) -> str:
        server = AttestedServer(
            trust,
            listen="127.0.0.1:0",
            handlers=[],
            permissions={},
            max_message_bytes=1 << 16,
        )
        server.start()
        self._open.append(server)
        return server.address

    def attest(self, address: str, *more: str, own: str = "w1", key: str = "a") -> Ran:
        return self.vouched(address, "--party-key", str(self.folder / f"{key}.pem"), *more, own=own)

    def vouched(self, address: str, *more: str, own: str = "w1") -> Ran:
        arguments = ["attest", "peer", address, "--contract", str(self.contract), "--as", own]
        result = CliRunner().invoke(app, [*arguments, *more])
        return Ran(result.exit_code, result.stdout, result.exception)

    def close(self) -> None:
        for server in self._open:
            server.stop()


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(tmp_path)
    yield made
    made.close()


def test_an_honest_node_is_accepted_and_every_check_is_listed(setting: Setting) -> None:
    ran = setting.attest(setting.serve(setting.trust()), "--json")

    assert ran.code == 0
    value = ran.value
    assert value["accepted"] is True
    assert (value["failed_check"], value["reason"], value["remedy"]) == (None, None, None)
    assert (value["node"], value["role"], value["party"]) == ("ps", "ps", "a")
    assert (value["tee"], value["stamp"], value["tcb_status"]) == (
        "simulated",
        "SIMULATED",
        "UpToDate",
    )
    assert isinstance(value["measurements"], dict)
    assert value["measurements"]["mrenclave"] == own_package_measurement(tensorflow=False).hex()
    assert isinstance(value["checks"], list)
    assert {check["outcome"] for check in value["checks"]} == {"passed"}
    names = {check["name"] for check in value["checks"]}
    assert {"certificate_signature", "quote_signature", "mrenclave"} <= names
    assert {"session_binding", "voucher", "contract"} <= names
    assert value["refused_by_peer"] is None


def test_people_get_lines(setting: Setting) -> None:
    ran = setting.attest(setting.serve(setting.trust()))
    assert ran.code == 0
    assert "accepted: yes" in ran.text
    assert "stamp: SIMULATED" in ran.text
    assert "passed   quote_signature" in ran.text


def test_a_key_server_may_vouch_for_the_asking_side(setting: Setting) -> None:
    """Under real TEEs nothing else may: a party's key does not belong on a node's host."""
    policy = setting.folder / "policy.toml"
    policy.write_text('format = 1\nparty = "a"\ncontract = "contract.toml"\n')
    keys = ThreadKeyServer(policy, setting.folder / "a.pem", setting.folder / "log.jsonl")
    try:
        ran = setting.vouched(setting.serve(setting.trust()), "--key-server", keys.address)
    finally:
        told = keys.end()
    assert ran.code == 0, ran.text
    assert [one["wanted"] for one in told] == ["voucher"]


def without_voucher(setting: Setting) -> TrustContext:
    """A server whose party never vouched: another party did."""
    honest = setting.trust()
    shown = honest.credentials.current()
    signature = KEYS["b"].sign(shown.voucher.signed_bytes())
    forged: object = FixedCredentials(
        Credentials(shown.identity, shown.voucher.model_copy(update={"signature": signature}))
    )
    return replace(honest, credentials=forged)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "failed_check"),
    [
        (lambda setting: setting.trust(measurement=b"\6" * 32), "mrenclave"),
        (lambda setting: setting.trust("w2"), "node"),
        (without_voucher, "voucher"),
        (
            lambda setting: setting.trust(contract=setting.write("other.toml", seed=2)),
            "contract",
        ),
    ],
    ids=["other code", "another node", "no voucher", "another contract"],
)
def test_a_node_that_is_not_what_it_should_be_is_refused_by_name(
    setting: Setting, make: Callable[[Setting], TrustContext], failed_check: str
) -> None:
    ran = setting.attest(setting.serve(make(setting)), "--json")

    assert ran.code == 3
    value = ran.value
    assert value["accepted"] is False
    assert value["failed_check"] == failed_check
    assert value["reason"]
    assert value["remedy"]
    assert isinstance(value["checks"], list)
    failed = [check["name"] for check in value["checks"] if check["outcome"] == "failed"]
    assert failed == [failed_check]


def test_a_peer_that_refuses_the_asking_node_is_told_apart(setting: Setting) -> None:
    """Both run one version in earnest; here the server's contract lists another one."""
    text = setting.contract.read_text()
    other = setting.folder / "other.toml"
    other.write_text(
        text.replace(
            '[trust.roles.worker]\nmeasurement = "own"',
            f'[trust.roles.worker]\nmrenclave = ["{"66" * 32}"]',
        )
    )
    ran = setting.attest(setting.serve(setting.trust(contract=other)), "--json")

    assert ran.code == 3
    assert ran.value["failed_check"] == "handshake"
    assert "refused this node" in str(ran.value["reason"])
    assert "log" in str(ran.value["remedy"])


def test_looking_does_not_take_a_running_nodes_place(setting: Setting) -> None:
    address = setting.serve(setting.trust())
    running = setting.trust("w1")
    assert dial(Address.parse(address), "ps", running).peer.node == "ps"

    ran = setting.attest(address, "--json")

    assert (ran.code, ran.value["accepted"]) == (0, True)
    assert "incarnation" in str(ran.value["refused_by_peer"])
    assert dial(Address.parse(address), "ps", running).peer.node == "ps"


def test_who_must_answer_can_be_named(setting: Setting) -> None:
    address = setting.serve(setting.trust())
    ran = setting.attest(address, "--node", "w2", "--json")
    assert (ran.code, ran.value["failed_check"]) == (3, "node")
    assert setting.attest(address, "--node", "ps").code == 0
    assert isinstance(setting.attest(address, "--node", "w9").error, ContractInvalid)


def test_what_is_no_verdict_is_an_error(setting: Setting) -> None:
    assert isinstance(setting.attest("127.0.0.1:1").error, PeerUnreachable)
    assert isinstance(setting.attest("nowhere").error, ContractInvalid)
    assert isinstance(setting.attest("127.0.0.1:1", own="w9").error, ContractInvalid)
    assert isinstance(setting.attest("127.0.0.1:1", key="b").error, VoucherRefused)
