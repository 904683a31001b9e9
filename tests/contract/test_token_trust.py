"""The contract's demand of tokens: every key is the contract's own, and simulated and real never mix."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coterie.contract import (
    Contract,
    canonical_json,
    contract_digest,
    contract_from_json,
    parse_contract,
)
from coterie.contract.terms import changes_between, terms_of
from coterie.contract.token_trust import SIMULATED_SERVICE
from coterie.contract.trust import TrustSection
from coterie.errors import ContractInvalid
from tests.contract.mixed import SNP
from tests.contract.test_alternatives import REAL
from tests.contract.test_snp_trust import SIMULATED


def public(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(spki).decode()


P256 = public(ec.derive_private_key(7, ec.SECP256R1()))
P384 = public(ec.derive_private_key(7, ec.SECP384R1()))
SHORT = public(rsa.generate_private_key(65537, 1024))
LARGE = public(rsa.generate_private_key(65537, 4096))
TABLE = """
[[trust.roles.worker.tokens]]
service = "google"
issuer = "https://confidentialcomputing.example"
audience = "coterie"
keys = [{keys}]
algorithms = ["RS256", "ES256"]
nonce_claim = "eat_nonce"
claims = {{ hwmodel = ["GCP_INTEL_TDX"], secboot = [true], swversion = [1, 2], "a/b" = ["c"] }}
"""


def demanded(text: str, *keys: str, change: tuple[str, str] = ("", "")) -> Contract:
    table = TABLE.format(keys=", ".join(f'"{key}"' for key in keys)).replace(*change)
    return parse_contract((text + table).encode(), "test")


def test_a_table_is_read_and_is_part_of_the_digest() -> None:
    contract = demanded(SNP, P256, P384, LARGE)
    (token,) = contract.trust.tokens_of("worker", "sgx")
    assert token.claims["secboot"] == (True,)
    assert contract.trust.tokens_of("ps", "snp") == ()
    again = contract_from_json(canonical_json(contract), "peer")
    assert contract_digest(again) == contract_digest(contract)
    assert again.trust.tokens_of("worker", "sgx") == (token,)


def test_a_contract_without_tokens_has_the_form_that_it_had() -> None:
    assert b"tokens" not in canonical_json(parse_contract(SNP.encode(), "test"))


def test_simulated_and_real_services_never_mix() -> None:
    assert demanded(SIMULATED, SIMULATED_SERVICE).trust.simulated
    for text, keys in ((SIMULATED, (P256,)), (SNP, (P256, SIMULATED_SERVICE))):
        with pytest.raises(ContractInvalid) as refused:
            demanded(text, *keys)
        assert "simulated TEEs have the simulated service, and no real one has it" in str(
            refused.value
        )


def compressed(key: str) -> str:
    """The same P-256 key with its point in the short form, which libraries read too."""
    octets = base64.b64decode(key)
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    return base64.b64encode(head + bytes([2 + octets[-1] % 2]) + octets[-64:-32]).decode()


@pytest.mark.parametrize(
    "again", [SIMULATED_SERVICE[:-3] + "B==", compressed(SIMULATED_SERVICE), compressed(P256)]
)
def test_a_key_has_one_form_so_that_the_simulated_service_has_no_second(again: str) -> None:
    with pytest.raises(ContractInvalid) as refused:
        demanded(SNP, again)
    assert "in the one form that DER and base64 have for it" in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "change", "seen"),
    [
        ((), ("", ""), "keys"),
        ((public(ed25519.Ed25519PrivateKey.generate()),), ("", ""), "RSA of at least 2048 bits"),
        ((public(ec.generate_private_key(ec.SECP521R1())),), ("", ""), "P-256 or P-384"),
        ((SHORT,), ("", ""), "RSA of at least 2048 bits"),
        (("AAAA",), ("", ""), "a public key in DER SubjectPublicKeyInfo"),
        ((P256 + "=",), ("", ""), "a public key in DER SubjectPublicKeyInfo"),
        ((P256,), ('"RS256"', '"HS256"'), "algorithms"),
        ((P256,), ('"RS256"', '"none"'), "algorithms"),
        ((P256,), ('["RS256", "ES256"]', "[]"), "algorithms"),
        ((P256,), ("[true]", "[]"), "claims"),
        ((P256,), ("[true]", '[""]'), "1 to 200 characters"),
        ((P256,), ("[true]", f'["{"a" * 201}"]'), "1 to 200 characters"),
        ((P256,), ("[true]", f"[{2**53 + 1}]"), "every reader of JSON"),
        ((P256,), ("[true]", "[1.5]"), "claims"),
        ((P256,), ('audience = "coterie"', 'audience = ""'), "audience"),
        ((P256,), ('issuer = "https://confidentialcomputing.example"', ""), "issuer"),
    ],
)
def test_what_would_accept_too_much_or_nothing_is_refused(
    keys: tuple[str, ...], change: tuple[str, str], seen: str
) -> None:
    with pytest.raises(ContractInvalid) as refused:
        demanded(SNP, *keys, change=change)
    assert seen in str(refused.value)


def test_a_role_has_at_most_four() -> None:
    text = SNP + TABLE.format(keys=f'"{P256}"') * 5
    with pytest.raises(ContractInvalid) as refused:
        parse_contract(text.encode(), "test")
    assert "tokens" in str(refused.value)


def effects(old: Contract, new: Contract) -> dict[str, str]:
    """The effects of changes by key, without the roles' names."""
    prefix = "trust.roles.worker."
    return {one.key.removeprefix(prefix): one.effect for one in changes_between(old, new)}


def test_a_token_more_demands_more_and_one_less_demands_less() -> None:
    without, having = parse_contract(SNP.encode(), "test"), demanded(SNP, P256)
    assert effects(without, having) == {"tokens[0]": "tighter"}
    assert effects(having, without) == {"tokens[0]": "looser"}


def test_a_token_of_an_alternative_is_one_change_too() -> None:
    table = TABLE.format(keys=f'"{P256}"').replace("worker.tokens", "worker.alternatives.tokens")
    without, having = (parse_contract(text.encode(), "test") for text in (REAL, REAL + table))
    assert effects(without, having) == {"alternatives[snp].tokens[0]": "tighter"}
    assert effects(having, without) == {"alternatives[snp].tokens[0]": "looser"}


@pytest.mark.parametrize(
    ("keys", "change", "expected"),
    [
        ((P256, P384), ("", ""), {"keys": "looser"}),
        ((P384,), ("", ""), {"keys": "looser"}),
        ((P256,), ('"RS256", ', ""), {"algorithms": "tighter"}),
        ((P256,), ("secboot = [true], ", ""), {"claims": "looser"}),
        ((P256,), ("[1, 2]", "[1]"), {"claims": "tighter"}),
        # To Python, but not to a token's reader, true is 1.
        ((P256,), ("[true]", "[1]"), {"claims": "looser"}),
        ((P256,), ("[true]", "[true, 1]"), {"claims": "looser"}),
        ((P256,), ('audience = "coterie"', 'audience = "x"'), {"audience": "other"}),
    ],
)
def test_changes_of_a_demand_are_told_with_their_direction(
    keys: tuple[str, ...], change: tuple[str, str], expected: dict[str, str]
) -> None:
    found = effects(demanded(SNP, P256), demanded(SNP, *keys, change=change))
    assert found == {f"tokens[0].{name}": effect for name, effect in expected.items()}


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ("{ a = [true, 1, 'b'] }", "a=yes, 1, b"),
        ("{ a = ['yes', '1', 'none'] }", 'a="yes", "1", "none"'),
        # Neither a value nor a name can pass for a further claim.
        ("{ a = ['b', 'c, secboot=yes'] }", 'a=b, "c, secboot=yes"'),
        ("{ 'a=b,secboot' = [true] }", '"a=b,secboot"=yes'),
        ("""{ a = ['b", "c'] }""", r'a="b\", \"c"'),
    ],
)
def test_claims_cannot_pass_for_others_where_people_read_them(claims: str, words: str) -> None:
    table = TABLE.partition("claims =")[0] + f"claims = {claims}\n"
    contract = parse_contract((SNP + table.replace("{keys}", f'"{P256}"')).encode(), "test")
    terms = {term.key: term.words for term in terms_of(contract)}
    assert terms["trust.roles.worker.tokens[0].claims"] == words


def test_nothing_is_demanded_by_default() -> None:
    assert TrustSection(tee="sgx").tokens_of("worker", "sgx") == ()
