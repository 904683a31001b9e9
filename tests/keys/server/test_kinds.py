"""A key server and nodes in all kinds of TEE: each gets its keys in the kind that the contract gives it."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from coterie.contract.trust import TrustSection
from coterie.errors import CoterieError
from coterie.kinds import TeeKind
from tests.keys.server.conftest import KEY, Owner
from tests.ratls.kinds import TEES, of_two

PAIRS = list(permutations(TEES, 2))


def refused_by(owner: Owner) -> str | None:
    """The check by which the server has refused the only one who asked."""
    (error,) = owner.refused
    check: str | None = getattr(error, "failed_check", None)
    return check


@pytest.mark.parametrize(("kind", "other"), PAIRS)
def test_a_node_gets_its_key_in_its_own_kind_alone(
    owner: Owner, kind: TeeKind, other: TeeKind
) -> None:
    contract = of_two(owner.world, kind, other)
    policy = owner.policy(contract)
    with owner.serving(policy):
        client = owner.client(contract=contract, tee=TEES[kind])
        identity = owner.identity(contract=contract, tee=TEES[kind])
        assert client.data_key(identity, KEY.set_id) == KEY.key
        with pytest.raises(CoterieError):
            client.data_key(owner.identity(contract=contract, tee=TEES[other]), KEY.set_id)
    assert refused_by(owner) == "tee_kind"


@pytest.mark.parametrize(("kind", "other"), PAIRS)
def test_a_kind_that_the_owner_does_not_list_gets_nothing(
    owner: Owner, kind: TeeKind, other: TeeKind
) -> None:
    """The contract lists both kinds; the policy of this party the other one only."""
    contract = of_two(owner.world, kind, other)
    roles = contract.trust.roles
    assert roles.worker is not None
    fewer = roles.model_copy(update={"worker": roles.worker.alternatives[0]})
    trust = contract.trust.model_copy(update={"roles": fewer})
    assert isinstance(trust, TrustSection)
    with owner.serving(replace(owner.policy(contract), trust=trust)), pytest.raises(CoterieError):
        owner.client(contract=contract, tee=TEES[kind]).data_key(
            owner.identity(contract=contract, tee=TEES[kind]), KEY.set_id
        )
    assert refused_by(owner) == "tee_kind"
