"""When a contract ends, and its parties' keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.contract import Contract, parse_contract
from coterie.contract.expiry import check_in_force, moment
from coterie.contract.signatures import (
    check_consent,
    check_party_key,
    public_key_text,
    sign_contract,
    signature_path,
    verify_signatures,
    verify_statement,
)
from coterie.errors import ContractExpired, ContractInvalid, SignatureRefused

END = datetime(2027, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FIRST, NEXT, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32) for i in (1, 2, 3))
TEXT = """
format = 1
name = "tiny"
mode = "hfl"
parties = [{{name = "a", {a}}}, {{name = "b", key = "{b}"}}]
nodes = [
  {{name = "ps", role = "ps", party = "a"}},
  {{name = "w1", role = "worker", party = "a"}},
  {{name = "w2", role = "worker", party = "b"}},
]
[trust]
tee = "simulated"
demand_signatures = true
{trust}
[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
[trust.roles.worker]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""
KEY = f'key = "{public_key_text(FIRST)}"'
NEXT_KEY = f'next_key = "{public_key_text(NEXT)}"'
UNTIL = 'key_not_after = "2027-01-31T12:00:00Z"'


def contract(*party: str, trust: str = "") -> Contract:
    text = TEXT.format(a=", ".join(party or (KEY,)), b=public_key_text(OTHER), trust=trust)
    return parse_contract(text.encode(), "t")


ROTATING = contract(KEY, NEXT_KEY, UNTIL)


def test_a_contract_ends_when_it_says() -> None:
    ending = contract(trust='not_after = "2027-01-31T12:00:00Z"')
    check_in_force(ending, END)
    with pytest.raises(
        ContractExpired, match="contract tiny ended at 2027-01-31T12:00:00Z"
    ) as ended:
        check_in_force(ending, END + SECOND)
    assert ended.value.seen == "2027-01-31T12:00:01Z"
    assert ended.value.exit_code == 4
    check_in_force(contract(), END + 9999 * SECOND)


def test_a_moment_is_read_as_utc() -> None:
    assert moment("2027-01-31T12:00:00Z") == END


def test_a_party_changes_over_to_its_next_key() -> None:
    statement, party = b"something", ROTATING.parties[0]
    assert party.keys_at(END) == (public_key_text(FIRST), public_key_text(NEXT))
    assert party.keys_at(END + SECOND) == (public_key_text(NEXT),)
    assert party.keys_at(None) == party.keys_at(END)
    for key, at in ((FIRST, END), (NEXT, END), (NEXT, END + SECOND), (FIRST, None)):
        verify_statement(ROTATING, "a", statement, key.sign(statement), at=at)
        check_party_key(ROTATING, key, "a", at=at)
    for key, at in ((FIRST, END + SECOND), (OTHER, END), (OTHER, None)):
        with pytest.raises(SignatureRefused, match="the signature of a is wrong"):
            verify_statement(ROTATING, "a", statement, key.sign(statement), at=at)
        with pytest.raises(SignatureRefused, match="not the key that the contract names"):
            check_party_key(ROTATING, key, "a", at=at)


def test_a_key_that_ended_without_a_next_one_is_named_with_its_date() -> None:
    alone = contract(KEY, UNTIL)
    with pytest.raises(SignatureRefused, match="the key of a ended at 2027-01-31") as refusal:
        verify_statement(alone, "a", b"x", FIRST.sign(b"x"), at=END + SECOND)
    assert "names no next one" in refusal.value.what
    assert "next_key" in refusal.value.remedy


def test_consent_with_a_key_that_ended_must_be_given_again(tmp_path: Path) -> None:
    path = tmp_path / "contract.toml"

    def sign(key: Ed25519PrivateKey, party: str) -> None:
        signature = sign_contract(ROTATING, key, party)
        signature_path(path, party).write_text(signature.to_json())

    sign(FIRST, "a")
    sign(OTHER, "b")
    check_consent(ROTATING, path, at=END)
    with pytest.raises(SignatureRefused, match="the signature of a is wrong"):
        check_consent(ROTATING, path, at=END + SECOND)
    sign(NEXT, "a")
    check_consent(ROTATING, path, at=END + SECOND)


def test_a_signature_of_an_unknown_time_counts_with_any_of_the_keys() -> None:
    """So that a receipt of before can be read after the key has ended."""
    for key in (FIRST, NEXT):
        signatures = [sign_contract(ROTATING, key, "a"), sign_contract(ROTATING, OTHER, "b")]
        verify_signatures(ROTATING, signatures)


def test_nobody_consents_to_a_contract_that_has_ended(tmp_path: Path) -> None:
    ending = contract(trust='not_after = "2027-01-31T12:00:00Z"')
    with pytest.raises(ContractExpired):
        check_consent(ending, tmp_path / "contract.toml", at=END + SECOND)


@pytest.mark.parametrize(
    ("party", "seen"),
    [
        ((KEY, KEY.replace("key", "next_key")), "next_key is the key itself"),
        ((NEXT_KEY,), "are for a party that has a key"),
        ((UNTIL,), "are for a party that has a key"),
        ((KEY, 'key_not_after = "soon"'), "key_not_after"),
        ((KEY, 'next_key = "ed25519:00"'), "next_key"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(party: tuple[str, ...], seen: str) -> None:
    with pytest.raises(ContractInvalid) as refusal:
        contract(*party)
    assert seen in refusal.value.seen
