"""The key of sealed checkpoints: from every party's share, for one contract."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.contract import Contract
from coterie.errors import KeyRefused
from coterie.keys.key_shares import SHARE_BYTES, checkpoint_key, party_share
from tests.ps.conftest import small_contract

CONTRACT = small_contract()
KEYS = {
    party.name: Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32)
    for i, party in enumerate(CONTRACT.parties)
}


def shares(contract: Contract = CONTRACT) -> dict[str, bytes]:
    return {party: party_share(key, contract) for party, key in KEYS.items()}


def test_the_same_shares_give_the_same_key_and_every_share_counts() -> None:
    key = checkpoint_key(CONTRACT, shares())
    assert key == checkpoint_key(CONTRACT, shares())
    assert len(key) == 32
    for party in KEYS:
        other = {**shares(), party: bytes(SHARE_BYTES)}
        assert checkpoint_key(CONTRACT, other) != key


def test_another_contract_has_other_shares_and_another_key() -> None:
    changed = small_contract(seed=8)
    assert all(shares(changed)[party] != share for party, share in shares().items())
    assert checkpoint_key(changed, shares()) != checkpoint_key(CONTRACT, shares())


def test_a_share_is_not_its_partys_key() -> None:
    for party, key in KEYS.items():
        assert shares()[party] != key.private_bytes_raw()


@pytest.mark.parametrize("share", [None, b"", bytes(31), bytes(33)])
def test_a_party_without_a_share_is_named(share: bytes | None) -> None:
    incomplete = shares()
    del incomplete["p1"]
    if share is not None:
        incomplete["p1"] = share
    with pytest.raises(KeyRefused, match="party p1 gave no share of the checkpoints' key") as no:
        checkpoint_key(CONTRACT, incomplete)
    assert "--key-server p1=HOST:PORT" in no.value.remedy
