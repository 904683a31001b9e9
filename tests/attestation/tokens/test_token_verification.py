"""Tokens of attestation services: whose signature counts, what they must say, and that none stands for another key."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from coterie.attestation.tee.simulated.rsa import publisher_key
from coterie.attestation.tee.simulated.tokens import SimulatedTokens
from coterie.attestation.tokens.sources import MAX_TOKEN_BYTES
from coterie.attestation.tokens.verification import CHECKS, verify_tokens
from coterie.attestation.verdict import CheckList
from coterie.contract.token_trust import SIMULATED_SERVICE, Algorithm, TokenTrust
from coterie.errors import EvidenceRefused
from tests.attestation.forgeries import AT

REPORT_DATA = bytes(range(32)) + bytes(32)
NONCE = REPORT_DATA[:32].hex()
DEMANDED = TokenTrust(
    service="google",
    issuer="https://tokens.example",
    audience="coterie",
    keys=(SIMULATED_SERVICE,),
    algorithms=("ES256",),
    nonce_claim="eat_nonce",
    claims={"hwmodel": ("GCP_INTEL_TDX",), "secboot": (True,), "swversion": (1, 2)},
)
HONEST = SimulatedTokens((DEMANDED,), lambda: AT)
NOW = int(AT.timestamp())


def verify(
    *tokens: bytes, demanded: tuple[TokenTrust, ...] = (DEMANDED,), at: timedelta = timedelta()
) -> CheckList:
    checks = CheckList()
    verify_tokens(tokens, demanded, report_data=REPORT_DATA, at=AT + at, checks=checks)
    return checks


def token(**changed: object) -> bytes:
    return replace(HONEST, changed=changed).tokens(REPORT_DATA)


def without(*names: str) -> bytes:
    return replace(HONEST, without=names).tokens(REPORT_DATA)


def with_header(**fields: object) -> bytes:
    return replace(HONEST, header=fields).tokens(REPORT_DATA)


def public(key: PrivateKeyTypes) -> str:
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(spki).decode()


def unsigned(header: dict[str, object], signature: bytes = b"AA") -> bytes:
    """A token of the honest claims under another header."""
    claims = HONEST.tokens(REPORT_DATA).split(b".")[1]
    first = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=")
    return first + b"." + claims + b"." + signature


def by_hmac_of_the_public_key() -> bytes:
    """The confusion of algorithms: the public key as the secret of an HMAC."""
    header, claims, _ = unsigned({"alg": "HS256"}).split(b".")
    secret = base64.b64decode(SIMULATED_SERVICE)
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        header + b"." + claims, secret
    )
    return header + b"." + claims + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")


def test_a_token_as_demanded_is_accepted_until_it_expires() -> None:
    checks = CheckList()
    shown = HONEST.tokens(REPORT_DATA)
    end = verify_tokens([shown], [DEMANDED], report_data=REPORT_DATA, at=AT, checks=checks)
    assert end == AT + timedelta(hours=1)
    assert tuple(check.name for check in checks.checks) == CHECKS


@pytest.mark.parametrize(
    "nonce", [NONCE, REPORT_DATA.hex(), [NONCE], ["another", REPORT_DATA.hex()]]
)
def test_report_data_may_be_whole_or_their_first_half_and_one_of_several(nonce: object) -> None:
    assert verify(token(eat_nonce=nonce)).checks


def test_inner_claims_are_named_by_their_path() -> None:
    inner = DEMANDED.model_copy(
        update={"nonce_claim": "tee/nonce", "claims": {"submods/container/image": ("sha256:1",)}}
    )
    said = {"submods": {"container": {"image": "sha256:1"}}, "tee": {"nonce": NONCE}}
    assert verify(token(**said), demanded=(inner,)).checks


def test_one_audience_may_stand_in_a_list() -> None:
    assert verify(token(aud=["coterie"])).checks


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", publisher_key("publisher root")),
        ("PS256", publisher_key("publisher root")),
        ("PS384", publisher_key("publisher root")),
        ("ES256", ec.derive_private_key(7, ec.SECP256R1())),
        ("ES384", ec.derive_private_key(7, ec.SECP384R1())),
    ],
)
def test_every_listed_algorithm_is_served_and_no_other(
    algorithm: Algorithm, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    keys = (SIMULATED_SERVICE, public(key))
    demanded = DEMANDED.model_copy(update={"keys": keys, "algorithms": (algorithm,)})
    claims = json.loads(base64.urlsafe_b64decode(HONEST.tokens(REPORT_DATA).split(b".")[1] + b"=="))
    shown = jwt.encode(claims, key, algorithm=algorithm).encode()
    assert verify(shown, demanded=(demanded,)).checks
    other: Algorithm = "ES384" if algorithm != "ES384" else "ES256"
    only = demanded.model_copy(update={"algorithms": (other,)})
    with pytest.raises(EvidenceRefused) as refused:
        verify(shown, demanded=(only,))
    assert refused.value.failed_check == "token_signature"
    assert refused.value.seen == "The specified alg value is not allowed"


@dataclass(frozen=True)
class Row:
    """One refusal.

    Attributes:
        check: The check that must refuse it.
        why: What is wrong.
        token: The token.
        seen: What the refusal must say that it saw; anything if empty.
    """

    check: str
    why: str
    token: bytes
    seen: str = ""


def altered(change: Callable[[bytes], bytes], part: int) -> bytes:
    parts = HONEST.tokens(REPORT_DATA).split(b".")
    parts[part] = change(parts[part])
    return b".".join(parts)


REFUSED = [
    Row("token_format", "empty", b"", "0 bytes"),
    Row("token_format", "two parts", b"aa.bb", "5 bytes"),
    Row("token_format", "not base64url", altered(lambda part: part + b"+", 1)),
    Row("token_format", "too long", b"a" * MAX_TOKEN_BYTES + b".b.c", f"{MAX_TOKEN_BYTES + 4} bytes"),
    Row("token_format", "no JSON", HONEST.signed(b"claims")),
    Row("token_format", "no object", HONEST.signed(b"[1]"), "list"),
    Row("token_format", "a claim twice", HONEST.signed(b'{"iss": 1, "iss": 2}'), "a name occurs twice"),
    Row("token_format", "nested too deep", HONEST.signed(b"[" * 5000)),
    Row("token_signature", "not signed", unsigned({"alg": "none"}, b"AA"), "The specified alg value is not allowed"),
    Row("token_signature", "no algorithm", unsigned({"typ": "JWT"}), "Algorithm not specified"),
    Row("token_signature", "by the public key", by_hmac_of_the_public_key(), "The specified alg value is not allowed"),
    Row("token_signature", "another signature", altered(lambda _: b"A" * 86, 2), "Signature verification failed"),
    Row("token_signature", "other claims", altered(lambda part: part[:-4] + b"AAAA", 1), "Signature verification failed"),
    Row("token_signature", "a header that is no JSON", altered(lambda _: b"AAAA", 0)),
    Row("token_signature", "an extension that is critical", with_header(crit=["other"], other=1)),
    Row("token_signature", "claims apart", with_header(b64=False)),
    Row("token_signature", "another key", replace(HONEST, key=ec.derive_private_key(7, ec.SECP256R1())).tokens(REPORT_DATA), "Signature verification failed"),
    Row("token_issuer", "another issuer", token(iss="https://other.example"), "'https://other.example'"),
    Row("token_issuer", "no issuer", without("iss"), "None"),
    Row("token_audience", "another audience", token(aud="other"), "'other'"),
    Row("token_audience", "also for others", token(aud=["coterie", "other"]), "['coterie', 'other']"),
    Row("token_audience", "no audience", without("aud"), "None"),
    Row("token_validity", "no end", without("exp")),
    Row("token_validity", "expired at this very moment", token(exp=NOW)),
    Row("token_validity", "an end that is text", token(exp=str(NOW + 60))),
    Row("token_validity", "an end that is true", token(exp=True)),
    Row("token_validity", "an end beyond all years", token(exp=10**18)),
    Row("token_validity", "an end that is no number", HONEST.signed(b'{"iss": "https://tokens.example", "aud": "coterie", "exp": NaN}')),
    Row("token_validity", "not yet valid", token(nbf=NOW + 61)),
    Row("token_validity", "issued in the future", token(iat=NOW + 61)),
    Row("token_validity", "a beginning that is null", token(nbf=None)),
    Row("token_nonce", "for another key", token(eat_nonce="00" * 32), repr("00" * 32)),
    Row("token_nonce", "for nothing", without("eat_nonce"), "None"),
    Row("token_nonce", "for a part", token(eat_nonce=NONCE[:-2]), repr(NONCE[:-2])),
    Row("token_nonce", "in no list", token(eat_nonce=[]), "[]"),
    Row("token_nonce", "in a list too deep", token(eat_nonce=[[NONCE]]), repr([[NONCE]])),
    Row("token_claims", "another value", token(hwmodel="GCP_AMD_SEV"), "'GCP_AMD_SEV'"),
    Row("token_claims", "none", without("hwmodel"), "None"),
    Row("token_claims", "1 for true", token(secboot=1), "1"),
    Row("token_claims", "true for 1", token(swversion=True), "True"),
    Row("token_claims", "a list of it", token(hwmodel=["GCP_INTEL_TDX"]), "['GCP_INTEL_TDX']"),
]  # fmt: skip


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: f"{row.check}: {row.why}")
def test_a_token_is_refused(row: Row) -> None:
    with pytest.raises(EvidenceRefused) as refused:
        verify(row.token)
    error = refused.value
    assert error.failed_check == row.check, str(error)
    assert error.what
    assert error.expected
    assert error.seen
    assert error.remedy
    assert row.seen in {"", error.seen}


def test_clocks_of_services_may_be_ahead_by_a_minute() -> None:
    assert verify(token(nbf=NOW + 60, iat=NOW + 60)).checks
    assert verify(without("nbf", "iat")).checks


@pytest.mark.parametrize("tokens", [(), (b"a.b.c", b"a.b.c")])
def test_tokens_are_as_many_as_demanded(tokens: tuple[bytes, ...]) -> None:
    with pytest.raises(EvidenceRefused) as refused:
        verify(*tokens)
    assert (refused.value.failed_check, refused.value.expected, refused.value.seen) == (
        "token",
        "https://tokens.example",
        f"{len(tokens)} tokens",
    )


def test_each_token_answers_its_own_demand_and_the_first_end_counts() -> None:
    other = DEMANDED.model_copy(update={"issuer": "https://other.example"})
    short = token(exp=NOW + 60)
    long = replace(HONEST, demanded=(other,)).tokens(REPORT_DATA)
    checks = CheckList()
    end = verify_tokens(
        [short, long], [DEMANDED, other], report_data=REPORT_DATA, at=AT, checks=checks
    )
    assert end == AT + timedelta(seconds=60)
    with pytest.raises(EvidenceRefused) as refused:
        verify(long, short, demanded=(DEMANDED, other))
    assert refused.value.failed_check == "token_issuer"


@given(
    st.binary(max_size=300)
    | st.from_regex(r"\A[A-Za-z0-9_-]{1,40}(\.[A-Za-z0-9_-]{1,40}){2}\Z").map(str.encode)
)
def test_any_bytes_are_refused_in_words(data: bytes) -> None:
    with pytest.raises(EvidenceRefused):
        verify(data)


@given(st.integers(0, len(HONEST.tokens(REPORT_DATA)) - 1), st.integers(0, 5))
def test_every_flipped_bit_is_refused(place: int, bit: int) -> None:
    shown = bytearray(token())
    shown[place] ^= 1 << bit
    with pytest.raises(EvidenceRefused):
        verify(bytes(shown))
