"""A share of the checkpoints' key goes to the attested, vouched-for parameter server, of any party."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from coterie.contract import Contract
from coterie.errors import CoterieError, HandshakeFailed
from coterie.keys.key_shares import party_share
from coterie.keys.server.policy import KeyPolicy
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.voucher import Voucher, sign_voucher
from tests.keys.server.conftest import MODEL_KEY, Owner

OTHER_MEASUREMENT = bytes(32)


def sealing(owner: Owner, seed: int = 0) -> Contract:
    """The world's contract, with sealed checkpoints."""
    contract = owner.world.changed("trust", "seal_checkpoints", value=True)
    training = contract.training.model_copy(update={"seed": seed})
    return contract.model_copy(update={"training": training})


def server(owner: Owner, **options: object) -> NodeIdentity:
    """The operator's parameter server."""
    contract = options.pop("contract", None) or sealing(owner)
    return owner.identity("ps0", contract=contract, **options)  # type: ignore[arg-type]


def voucher(owner: Owner, identity: NodeIdentity, signer: str = "operator") -> Voucher:
    expiry = owner.world.clock() + timedelta(hours=1)
    return sign_voucher(owner.world.keys[signer], identity.claims, expiry=expiry)


def test_the_parameter_server_of_another_party_gets_the_share_every_time_it_asks(
    owner: Owner,
) -> None:
    contract = sealing(owner)
    expected = party_share(owner.world.keys["acme"], contract)
    with owner.serving(owner.policy(contract)):
        for _ in range(2):  # a restarted server has a new key, and gets the same share
            identity = server(owner)
            client = owner.client(contract=contract)
            assert client.share(identity, voucher(owner, identity)) == expected
    lines = [json.loads(line) for line in owner.log.read_text().splitlines()]
    assert [(x["node"], x["party"], x["wanted"], x["outcome"]) for x in lines] == [
        ("ps0", "operator", "share", "granted")
    ] * 2
    assert expected.hex() not in owner.log.read_text()


@dataclass(frozen=True)
class Refusal:
    """Who asks for a share, under which policy, with whose voucher; what the server says."""

    name: str
    said: str
    identity: Callable[[Owner], NodeIdentity] = server
    policy: Callable[[Owner], KeyPolicy] = lambda o: o.policy(sealing(o))
    voucher: Callable[[Owner, NodeIdentity], Voucher] = voucher
    measurement: bytes | None = None


REFUSALS = [
    Refusal(
        "another contract",
        "ContractMismatch: node ps0 runs under another contract",
        identity=lambda o: server(o, contract=sealing(o, seed=9)),
    ),
    Refusal(
        "a worker, of the key server's own party",
        "KeyRefused: node acme-worker may not have a share of the checkpoints' key",
        identity=lambda o: o.identity("acme-worker", contract=sealing(o)),
        voucher=lambda o, i: voucher(o, i, "acme"),
    ),
    Refusal(
        "a server that its own party does not vouch for",
        "VoucherRefused",
        voucher=lambda o, i: voucher(o, i, "acme"),
    ),
    Refusal(
        "a server with the voucher of another process",
        "VoucherRefused",
        voucher=lambda o, _: voucher(o, server(o)),
    ),
    Refusal(
        "a contract without sealed checkpoints",
        "KeyRefused: under this contract checkpoints are not sealed",
        identity=lambda o: o.identity("ps0"),
        policy=lambda o: o.policy(),
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_others_get_no_share_and_are_told_why(owner: Owner, case: Refusal) -> None:
    identity = case.identity(owner)
    said = case.voucher(owner, identity)
    with owner.serving(case.policy(owner)), pytest.raises(HandshakeFailed) as refusal:
        owner.client().share(identity, said)
    assert case.said in refusal.value.what
    assert len(owner.refused) == 1


def test_another_program_in_the_session_gets_no_share(owner: Owner) -> None:
    identity = server(owner)
    contract = sealing(owner)
    with owner.serving(owner.policy(contract)):
        client = owner.client(measurement=OTHER_MEASUREMENT, contract=contract)
        with pytest.raises(HandshakeFailed, match=r"EvidenceRefused: \[mrenclave\]"):
            client.share(identity, voucher(owner, identity))


def strict(owner: Owner) -> KeyPolicy:
    """The owner trusts no parameter server at all."""
    policy = owner.policy(sealing(owner))
    roles = policy.trust.roles.model_copy(update={"ps": None})
    return replace(policy, trust=policy.trust.model_copy(update={"roles": roles}))


@pytest.mark.parametrize(
    ("identity", "policy", "later", "check"),
    [
        (
            lambda o: server(o, measurement=OTHER_MEASUREMENT),
            lambda o: o.policy(sealing(o)),
            timedelta(),
            "mrenclave",
        ),
        (server, lambda o: o.policy(sealing(o)), timedelta(hours=13), "certificate_validity"),
        (server, strict, timedelta(), "role"),
    ],
    ids=["another program", "a stale certificate", "a role that the owner does not trust"],
)
def test_wrong_evidence_gets_no_share(
    owner: Owner,
    identity: Callable[[Owner], NodeIdentity],
    policy: Callable[[Owner], KeyPolicy],
    later: timedelta,
    check: str,
) -> None:
    made = identity(owner)
    said = voucher(owner, made)
    owner.world.clock.advance(later)
    with owner.serving(policy(owner)), pytest.raises(CoterieError):
        owner.client(contract=sealing(owner)).share(made, said)
    assert check in str(owner.refused[0])


# --- the model's key ---------------------------------------------------------------------------


def test_a_node_that_gets_the_model_gets_the_key_to_seal_it(owner: Owner) -> None:
    with owner.serving():
        key = owner.client().model_key(owner.identity())
    assert key == (MODEL_KEY.set_id, MODEL_KEY.key)
    assert MODEL_KEY.key.hex() not in owner.log.read_text()


def test_a_party_may_say_that_its_nodes_host_is_its_own(owner: Owner) -> None:
    with owner.serving(replace(owner.policy(), model="plain")):
        assert owner.client().model_key(owner.identity()) is None


MODEL_REFUSALS = [
    Refusal(
        "another party's node",
        "KeyRefused: node bolt-worker is of another party",
        identity=lambda o: o.identity("bolt-worker"),
        policy=lambda o: o.policy(),
    ),
    Refusal(
        "another contract",
        "ContractMismatch: node acme-worker runs under another contract",
        identity=lambda o: o.identity(contract=o.world.changed("training", "seed", value=9)),
        policy=lambda o: o.policy(),
    ),
    Refusal(
        "a party that does not get the model",
        "KeyRefused: node acme-worker does not get the trained model",
        identity=lambda o: o.identity(contract=for_bolt(o)),
        policy=lambda o: o.policy(for_bolt(o)),
    ),
    Refusal(
        "a policy without a key for it",
        "KeyRefused: the key server of acme does not say how the trained model is kept",
        identity=Owner.identity,
        policy=lambda o: replace(o.policy(), model=None),
    ),
]


def for_bolt(owner: Owner) -> Contract:
    return owner.world.changed("results", "model_parties", value=("bolt",))


@pytest.mark.parametrize("case", MODEL_REFUSALS, ids=lambda case: case.name)
def test_others_get_no_key_of_the_model(owner: Owner, case: Refusal) -> None:
    identity = case.identity(owner)
    with owner.serving(case.policy(owner)), pytest.raises(HandshakeFailed) as refusal:
        owner.client().model_key(identity)
    assert case.said in refusal.value.what
