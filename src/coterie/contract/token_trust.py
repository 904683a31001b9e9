"""The contract's ``[[trust.roles.ROLE.tokens]]`` tables: which services' attestation tokens are demanded besides."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from pydantic import AfterValidator, ConfigDict, Field

from coterie.contract.section import Section
from coterie.unreadable import UNREADABLE

MAX_TOKENS = 4
Algorithm = Literal["RS256", "PS256", "PS384", "ES256", "ES384"]
Service = Literal["google", "intel", "azure"]
# The public key of the simulated service: a P-256 key in DER SubjectPublicKeyInfo, base64.
SIMULATED_SERVICE = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEBZNP0CXVaj2iSbewlmvPSOmuSMhb"
    "1L/pmJhGUFJd1Ze8yDUULaoHqS1KVU7fXDlvbAzuPMUYT6vaIZmZSzNJOA=="
)
_MIN_RSA_BITS = 2048
_MAX_VALUE_CHARS = 200
_MAX_VALUES = 16
_MAX_NUMBER = 2**53
_CURVES = ("secp256r1", "secp384r1")


def _public_key(text: str) -> str:
    try:
        key = load_der_public_key(base64.b64decode(text, validate=True))
    except UNREADABLE as error:
        raise ValueError(
            "a public key in DER SubjectPublicKeyInfo, base64, was expected"
        ) from error
    strong = isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS
    if not strong and not (
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES
    ):
        raise ValueError("RSA of at least 2048 bits, P-256 or P-384 was expected")
    # Libraries read other forms too: a short point, unused bits. Keys are told apart by their text.
    whole = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if base64.b64encode(whole).decode() != text:
        raise ValueError(
            "a public key in the one form that DER and base64 have for it was expected"
        )
    return text


def _value(value: bool | int | str) -> bool | int | str:  # noqa: FBT001 (a claim's value)
    if isinstance(value, str) and not 0 < len(value) <= _MAX_VALUE_CHARS:
        raise ValueError(f"1 to {_MAX_VALUE_CHARS} characters were expected")
    if not isinstance(value, str) and abs(value) > _MAX_NUMBER:
        raise ValueError("a number that every reader of JSON has exactly was expected")
    return value


Value = Annotated[bool | int | str, AfterValidator(_value)]


def _values(values: tuple[Value, ...]) -> tuple[Value, ...]:
    if not 0 < len(values) <= _MAX_VALUES:
        raise ValueError(f"1 to {_MAX_VALUES} values were expected")
    return values


PublicKey = Annotated[str, AfterValidator(_public_key)]
Claim = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,200}$")]
Values = Annotated[tuple[Value, ...], Field(strict=False), AfterValidator(_values)]
Text = Annotated[str, Field(min_length=1, max_length=200)]


class TokenTrust(Section):
    """A token of an attestation service that a node must show beside its evidence, and never instead of it.

    Attributes:
        service: Whose token it is; by this the node knows what to ask its local socket for.
        issuer: What the token's ``iss`` must be.
        audience: What its ``aud`` must be.
        keys: The service's accepted signing keys: DER SubjectPublicKeyInfo in base64.
        algorithms: Accepted signature algorithms.
        nonce_claim: The claim that must have, or list, the report data of the node's certificate in
            hex: all 64 bytes, or the first 32. Names of inner claims follow after a slash.
        claims: Further claims, each with its accepted values; inner ones are named likewise.
    """

    model_config = ConfigDict(str_max_length=1024)  # keys of RSA are longer than other texts

    service: Service
    issuer: Text
    audience: Text
    keys: Annotated[tuple[PublicKey, ...], Field(strict=False, min_length=1, max_length=16)]
    algorithms: Annotated[tuple[Algorithm, ...], Field(strict=False, min_length=1, max_length=5)]
    nonce_claim: Claim
    claims: dict[Claim, Values] = {}


def check_tokens(where: str, tokens: tuple[TokenTrust, ...], *, simulated: bool) -> None:
    """Checks that a role's tokens fit its kind of TEE.

    Args:
        where: The table's name.
        tokens: The tables.
        simulated: Whether the kind is a simulated one.

    Raises:
        ValueError: A real role accepts the simulated service, or a simulated one another.
    """
    for token in tokens:
        if any((key == SIMULATED_SERVICE) is not simulated for key in token.keys):
            raise ValueError(
                f"{where}.keys: simulated TEEs have the simulated service, and no real one has it"
            )
