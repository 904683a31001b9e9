"""A key server's policy file: read strictly, or refused with what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.errors import ContractInvalid, KeyFileRefused
from coterie.keyserver.policy import KeyPolicy
from coterie.sealing import DataKey
from tests.ratls.conftest import CONTRACT, World

POLICY = """
format = 1
party = "acme"
contract = "contract.toml"
[[data]]
key = "acme.key"
roles = ["worker"]
"""
TRUST = """
[trust]
tee = "{tee}"
[trust.roles.worker]
{value}
accepted_tcb_statuses = ["UpToDate"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys = dict.fromkeys(World().keys, "ed25519:" + "00" * 32)
    (tmp_path / "contract.toml").write_text(CONTRACT.format(**keys))
    for party in ("acme", "bolt"):
        DataKey.generate(party).write(tmp_path / f"{party}.key")
    return tmp_path


def read(folder: Path, text: str) -> KeyPolicy:
    (folder / "policy.toml").write_text(text)
    return KeyPolicy.read(folder / "policy.toml")


def test_a_policy_names_contract_and_keys_beside_it(folder: Path) -> None:
    policy = read(folder, POLICY)
    key = DataKey.read(folder / "acme.key")
    assert policy.party == "acme"
    assert policy.contract.name == "test"
    assert policy.trust == policy.contract.trust
    assert policy.releases[key.set_id].key == key
    assert policy.releases[key.set_id].roles == {"worker"}


MODEL = '[model]\nkey = "{key}"\n'


def test_a_policy_may_name_a_key_for_the_model(folder: Path) -> None:
    assert read(folder, POLICY).model is None
    DataKey.generate("acme").write(folder / "model.key")
    policy = read(folder, POLICY + MODEL.format(key="model.key"))
    assert policy.model == DataKey.read(folder / "model.key")
    assert read(folder, POLICY + "[model]\nplain = true\n").model == "plain"


def test_a_policy_may_trust_less_than_the_contract(folder: Path) -> None:
    value = f'mrenclave = ["{"11" * 32}"]'
    policy = read(folder, POLICY + TRUST.format(tee="simulated", value=value))
    assert policy.trust.roles.worker is not None
    assert policy.trust.roles.worker.mrenclave == ("11" * 32,)
    assert policy.trust.roles.ps is None


PPID = f'measurement = "own"\nppid = ["{"ab" * 16}"]'


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (POLICY, False),
        (POLICY + "[model]\nplain = true\n", True),
        (POLICY + "[model]\nplain = true\n" + TRUST.format(tee="simulated", value=PPID), False),
        (POLICY + MODEL.format(key="model.key"), False),
    ],
    ids=["no model", "plain, on any machine", "plain, on its own machines", "sealed"],
)
def test_a_model_in_the_clear_on_any_machine_is_warned_of(
    text: str, warned: bool, folder: Path
) -> None:
    DataKey.generate("acme").write(folder / "model.key")
    warnings = read(folder, text).warnings()
    assert len(warnings) == warned
    for warning in warnings:
        assert "IN THE CLEAR" in warning["what"]
        assert "ppid in trust.roles.worker" in warning["expected"]


def test_a_party_whose_nodes_do_not_get_the_model_is_not_warned(folder: Path) -> None:
    contract = folder / "contract.toml"
    contract.write_text(
        contract.read_text().replace("[trust]", '[results]\nmodel_parties = ["bolt"]\n[trust]', 1)
    )
    assert read(folder, POLICY + "[model]\nplain = true\n").warnings() == ()


SGX = (
    'mrsigner = "'
    + "11" * 32
    + '"\nisv_prod_id = 1\nminimum_isv_svn = 1\nminimum_tcb_evaluation_number = 5'
)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "format: Field required"),
        ("format = 2\n", "format: Input should be 1"),
        ("format = [", "Invalid value"),
        (POLICY + "allow_all = true\n", "data.0.allow_all"),
        (POLICY.replace("acme", "dune", 1), "party 'dune', which is not in the contract"),
        (POLICY.replace('["worker"]', "[]"), "data.0.roles"),
        (POLICY.replace('["worker"]', '["root"]'), "data.0.roles"),
        (POLICY.replace("acme.key", "bolt.key"), "the key bolt.key, of party 'bolt'"),
        (POLICY + POLICY.partition("[[data]]")[2].join(["[[data]]", ""]), "the key acme.key twice"),
        (POLICY + MODEL.format(key="bolt.key"), "the key bolt.key, of party 'bolt'"),
        (POLICY + MODEL.format(key="acme.key"), "one key for a data set and for the model"),
        (POLICY + "[model]\n", "model: Value error, give a key, or plain = true"),
        (POLICY + MODEL.format(key="acme.key") + "plain = true\n", "give a key, or plain = true"),
        (POLICY + TRUST.format(tee="sgx", value=SGX), "trust.tee 'sgx'"),
        (POLICY + TRUST.format(tee="simulated", value=""), "trust.roles.worker needs"),
    ],
)
def test_a_wrong_policy_is_refused(folder: Path, text: str, seen: str) -> None:
    with pytest.raises(ContractInvalid, match=r"policy .* is not valid") as refusal:
        read(folder, text)
    assert seen in refusal.value.seen


def test_an_absent_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractInvalid, match="is not valid"):
        KeyPolicy.read(tmp_path / "policy.toml")


def test_an_absent_key_is_refused(folder: Path) -> None:
    (folder / "acme.key").unlink()
    with pytest.raises(KeyFileRefused, match=r"acme\.key"):
        read(folder, POLICY)
