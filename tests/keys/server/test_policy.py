"""A key server's policy file: read strictly, or refused with what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coterie.contract import contract_digest
from coterie.errors import (
    ContractInvalid,
    ContractMismatch,
    KeyFileRefused,
    KeyRefused,
    VoucherRefused,
)
from coterie.keys.server.messages import KeyRequest
from coterie.keys.server.policy import KeyPolicy, Release
from coterie.kinds import Role
from coterie.ratls.claims import Claims
from coterie.ratls.voucher import sign_voucher
from coterie.sealed.data_key import DataKey
from tests.ratls.conftest import CONTRACT, World
from tests.ratls.kinds import of_two

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


GUEST = """
[trust]
tee = "simulated"
[trust.roles.worker]
tee = "simulated-snp"
measurement = "own"
"""


def test_a_policy_may_list_fewer_kinds_than_the_contract(folder: Path) -> None:
    contract = folder / "contract.toml"
    text, head, _ = contract.read_text().partition("[trust.roles.worker]")
    contract.write_text(text + head + GUEST.partition(head)[2])
    policy = read(folder, POLICY + GUEST)
    assert policy.contract.trust.kinds == {"simulated", "simulated-snp"}
    assert policy.trust.kinds == {"simulated-snp"}


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


@pytest.mark.parametrize(("party", "warned"), [("acme", True), ("bolt", False)])
def test_machines_count_that_are_listed_for_the_kind_of_the_partys_node(
    tmp_path: Path, party: str, warned: bool
) -> None:
    machine = f'ppid = ["{"ab" * 16}"]'
    contract = of_two(World(), "simulated", "simulated-azure-tdx", machine)
    policy = KeyPolicy(party, contract, tmp_path, contract.trust, {}, model="plain")
    assert len(policy.warnings()) == warned


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
ENCLAVE = 'tee = "simulated"\nmeasurement = "own"'


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
        (POLICY + GUEST, "trust.tee 'simulated' (simulated-snp)"),
        (POLICY + TRUST.format(tee="simulated-snp", value=ENCLAVE), "'simulated-snp' (simulated)"),
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


# --- who gets what ------------------------------------------------------------------------------

SET = b"\7" * 32
Ask = Callable[[KeyPolicy, Claims], object]


def request(set_id: bytes) -> KeyRequest:
    return KeyRequest(wanted="data", set_id=set_id, voucher=b"", quote=b"q", collateral=b"")


ASKS: dict[str, Ask] = {
    "voucher": lambda policy, claims: policy.check_voucher(claims),
    "data": lambda policy, claims: policy.data_key(claims, request(SET)),
    "model": lambda policy, claims: policy.model_key(claims),
}


@pytest.fixture
def policy(folder: Path) -> KeyPolicy:
    """Acme's: its workers' data, and the model for its nodes."""
    made = read(folder, POLICY)
    key = DataKey("acme", SET, bytes(32))
    return replace(made, releases={SET: Release(key, frozenset({"worker"}))}, model="plain")


def claims_of(policy: KeyPolicy) -> Claims:
    digest = contract_digest(policy.contract)
    return Claims(
        pubkey_hash=bytes(32),
        contract_digest=digest,
        node="acme-worker",
        role="worker",
        party="acme",
        incarnation=7,
    )


@pytest.mark.parametrize("wanted", ASKS)
def test_the_partys_own_node_under_the_agreed_contract_gets_it(
    policy: KeyPolicy, wanted: str
) -> None:
    ASKS[wanted](policy, claims_of(policy))


@pytest.mark.parametrize("wanted", ASKS)
def test_nobody_under_another_contract_gets_anything(policy: KeyPolicy, wanted: str) -> None:
    claims = claims_of(policy).model_copy(update={"contract_digest": bytes(32)})
    with pytest.raises(ContractMismatch, match="runs under another contract") as refusal:
        ASKS[wanted](policy, claims)
    assert refusal.value.expected == f"contract {contract_digest(policy.contract).hex()}"


@pytest.mark.parametrize("wanted", ASKS)
def test_nobody_of_another_party_gets_anything(policy: KeyPolicy, wanted: str) -> None:
    with pytest.raises(KeyRefused, match="is of another party than this key server") as refusal:
        ASKS[wanted](policy, claims_of(policy).model_copy(update={"party": "bolt"}))
    assert (refusal.value.expected, refusal.value.seen) == ("party acme", "party bolt")


@pytest.mark.parametrize("role", ["ps", "chief"])
def test_data_are_for_the_roles_that_the_policy_names(policy: KeyPolicy, role: Role) -> None:
    with pytest.raises(KeyRefused, match="may not have the key of this data set") as refusal:
        ASKS["data"](policy, claims_of(policy).model_copy(update={"role": role}))
    assert (refusal.value.expected, refusal.value.seen) == ("role worker", f"role {role}")


def test_the_key_of_another_data_set_is_not_given_in_its_place(policy: KeyPolicy) -> None:
    with pytest.raises(KeyRefused, match="has no key for this data set"):
        policy.data_key(claims_of(policy), request(b"\x08" * 32))


def test_the_model_is_for_those_that_get_it(policy: KeyPolicy) -> None:
    with pytest.raises(KeyRefused, match="does not get the trained model"):
        policy.model_key(claims_of(policy).model_copy(update={"node": "ps0"}))


class TestStart:
    """The key of what the run goes on from: for the node that gives it, under whatever name it asks."""

    KEY = DataKey("acme", b"\x09" * 32, b"\x0a" * 32)

    @pytest.fixture
    def policy(self, folder: Path) -> KeyPolicy:
        contract = folder / "contract.toml"
        digest = "ab" * 32
        start = f'[start]\nmodel = "{digest}"\ncontract = "{digest}"\nstep = 3\n'
        contract.write_text(f"{contract.read_text()}\n{start}")
        self.KEY.write(folder / "model.key")
        return read(folder, POLICY + MODEL.format(key="model.key") + '[start]\nkey = "model.key"\n')

    def test_the_giver_gets_it_also_if_it_is_the_models(self, policy: KeyPolicy) -> None:
        assert policy.start == policy.model == self.KEY
        assert policy.data_key(claims_of(policy), request(self.KEY.set_id)) == self.KEY.key

    @pytest.mark.parametrize("party", ["bolt", "acme"])
    def test_nobody_else_does(self, policy: KeyPolicy, party: str) -> None:
        start = policy.contract.start
        assert start is not None
        named = start.model_copy(update={"party": "bolt"})
        policy = replace(policy, contract=policy.contract.model_copy(update={"start": named}))
        claims = claims_of(policy).model_copy(update={"party": party})
        what = (
            "does not give the model that the run starts from, nor gets its key"
            if party == "acme"
            else "is of another party"
        )
        with pytest.raises(KeyRefused, match=what) as refusal:
            policy.data_key(claims, request(self.KEY.set_id))
        assert refusal.value.expected == ("bolt-worker" if party == "acme" else "party acme")

    def test_without_such_a_section_there_is_no_key(self, policy: KeyPolicy) -> None:
        with pytest.raises(KeyRefused, match="has no key for this data set"):
            replace(policy, start=None).data_key(claims_of(policy), request(self.KEY.set_id))

    @pytest.mark.usefixtures("policy")
    def test_it_is_no_key_of_a_data_set(self, folder: Path) -> None:
        with pytest.raises(ContractInvalid) as refusal:
            read(folder, POLICY + '[start]\nkey = "acme.key"\n')
        assert refusal.value.seen == "one key for a data set and for the start"


def test_a_start_key_under_a_contract_without_a_start_is_refused(folder: Path) -> None:
    with pytest.raises(ContractInvalid) as refusal:
        read(folder, POLICY + '[start]\nkey = "acme.key"\n')
    assert refusal.value.seen == "[start], but the contract goes on from no model"


class TestShares:
    """Of the checkpoints' key: for the parameter server of any party, if its own vouches for it."""

    AT = datetime(2026, 3, 1, 12, tzinfo=UTC)

    @pytest.fixture
    def world(self) -> World:
        return World()

    @pytest.fixture
    def policy(self, folder: Path, world: World) -> KeyPolicy:
        contract = world.changed("trust", "seal_checkpoints", value=True)
        return replace(read(folder, POLICY), contract=contract)

    def claims(self, policy: KeyPolicy) -> Claims:
        return Claims(
            pubkey_hash=bytes(32),
            contract_digest=contract_digest(policy.contract),
            node="ps0",
            role="ps",
            party="operator",
            incarnation=7,
        )

    def voucher(self, world: World, claims: Claims) -> bytes:
        key = world.keys["operator"]
        return sign_voucher(key, claims, expiry=self.AT + timedelta(hours=1)).to_cbor()

    def test_the_vouched_for_server_gets_it(self, policy: KeyPolicy, world: World) -> None:
        claims = self.claims(policy)
        policy.check_share(claims, self.voucher(world, claims), at=self.AT)

    def test_a_voucher_that_has_expired_does_not_count(
        self, policy: KeyPolicy, world: World
    ) -> None:
        claims = self.claims(policy)
        voucher = self.voucher(world, claims)
        with pytest.raises(VoucherRefused, match="has expired"):
            policy.check_share(claims, voucher, at=self.AT + timedelta(hours=1))

    def test_a_voucher_for_another_start_does_not_count(
        self, policy: KeyPolicy, world: World
    ) -> None:
        claims = self.claims(policy)
        voucher = self.voucher(world, claims.model_copy(update={"incarnation": 6}))
        with pytest.raises(VoucherRefused, match="is for another incarnation"):
            policy.check_share(claims, voucher, at=self.AT)

    def test_another_contracts_server_gets_none(self, policy: KeyPolicy, world: World) -> None:
        claims = self.claims(policy).model_copy(update={"contract_digest": bytes(32)})
        with pytest.raises(ContractMismatch, match="runs under another contract"):
            policy.check_share(claims, self.voucher(world, claims), at=self.AT)

    def test_no_other_role_gets_one(self, policy: KeyPolicy, world: World) -> None:
        claims = self.claims(policy).model_copy(update={"role": "worker"})
        with pytest.raises(KeyRefused, match="may not have a share") as refusal:
            policy.check_share(claims, self.voucher(world, claims), at=self.AT)
        assert (refusal.value.expected, refusal.value.seen) == ("role ps", "role worker")

    def test_where_nothing_is_sealed_there_is_none(self, policy: KeyPolicy, world: World) -> None:
        policy = replace(policy, contract=world.contract)
        claims = self.claims(policy)
        with pytest.raises(KeyRefused, match="under this contract checkpoints are not sealed"):
            policy.check_share(claims, self.voucher(world, claims), at=self.AT)
