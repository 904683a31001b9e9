"""Verifies tokens of attestation services (JWT, RFC 7519) by a contract's demands. Pure; the time is an argument.

A token never replaces a quote: whoever calls this has appraised the node's quotes. The token must name
the report data that the quote of the node's certificate carries, so it is about that node's key.

PyJWT verifies signatures. What else it could check it would check by the system's clock.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from cryptography.hazmat.primitives.serialization import load_der_public_key
from jwt import PyJWS
from jwt.exceptions import PyJWTError

from coterie.attestation.tokens.sources import MAX_TOKEN_BYTES
from coterie.attestation.verdict import CheckList
from coterie.canonical import each_name_once
from coterie.contract.token_trust import TokenTrust
from coterie.errors import EvidenceRefused
from coterie.text import printable

CHECKS = (
    "token",
    "token_format",
    "token_signature",
    "token_issuer",
    "token_audience",
    "token_validity",
    "token_nonce",
    "token_claims",
)
# Issuers' clocks may be ahead by this; of an expired token nothing is forgiven.
MAX_AHEAD = timedelta(seconds=60)
_LAST_SECOND = 253_402_300_799  # end of the year 9999
_COMPACT = re.compile(rb"[A-Za-z0-9_-]{1,12000}\.[A-Za-z0-9_-]{1,16000}\.[A-Za-z0-9_-]{1,2000}")
_VERIFIER = PyJWS(["RS256", "PS256", "PS384", "ES256", "ES384"])

_refused = partial(
    EvidenceRefused,
    remedy="let the node get a new token of the demanded service, or agree on another contract",
)
Claims = dict[str, object]


def verify_tokens(
    tokens: Sequence[bytes],
    demanded: Sequence[TokenTrust],
    *,
    report_data: bytes,
    at: datetime,
    checks: CheckList,
) -> datetime:
    """Verifies one token for each demand, in order.

    Args:
        tokens: The node's tokens.
        demanded: What the contract demands, at least one.
        report_data: The 64 bytes in the quote of the node's certificate.
        at: The moment that counts, with a time zone.
        checks: Takes up every check that passed.

    Returns:
        The moment at which the first of them expires.

    Raises:
        EvidenceRefused: A token is missing, or fails one of ``CHECKS``.
    """
    if len(tokens) != len(demanded):
        raise _refused(
            "token",
            "the peer does not show the tokens that the contract demands",
            expected=", ".join(one.issuer for one in demanded),
            seen=f"{len(tokens)} tokens",
        )
    checks.passed("token", f"{len(tokens)}")
    return min(
        _verify(token, one, report_data, at, checks)
        for token, one in zip(tokens, demanded, strict=True)
    )


def _verify(
    token: bytes, demanded: TokenTrust, report_data: bytes, at: datetime, checks: CheckList
) -> datetime:
    claims = _signed(token, demanded, checks)
    _same("token_issuer", "issuer", demanded.issuer, claims.get("iss"), checks)
    audience = claims.get("aud")
    only = audience[0] if isinstance(audience, list) and len(audience) == 1 else audience
    _same("token_audience", "audience", demanded.audience, only, checks)
    end = _verify_validity(claims, at, checks)
    _verify_nonce(_inner(claims, demanded.nonce_claim), demanded.nonce_claim, report_data)
    checks.passed("token_nonce", demanded.nonce_claim)
    for name, accepted in demanded.claims.items():
        seen = _inner(claims, name)
        # Compare types too, since True == 1.
        if not any(type(seen) is type(one) and seen == one for one in accepted):
            raise _refused(
                "token_claims",
                f"the token's claim {name} is not as demanded",
                expected=" or ".join(map(repr, accepted)),
                seen=printable(repr(seen), 200),
            )
    checks.passed("token_claims", ", ".join(demanded.claims))
    return end


def _signed(token: bytes, demanded: TokenTrust, checks: CheckList) -> Claims:
    """The claims of a token that one of the listed keys has signed."""
    if len(token) > MAX_TOKEN_BYTES or not _COMPACT.fullmatch(token):
        raise _malformed(
            f"a signed token in its compact form, up to {MAX_TOKEN_BYTES} bytes",
            f"{len(token)} bytes",
        )
    payload, reason = None, ""
    for text in demanded.keys:
        key = load_der_public_key(base64.b64decode(text))
        try:
            found = _VERIFIER.decode_complete(
                token,
                key,  # type: ignore[arg-type] # RSA and ECDSA only: the contract's schema
                algorithms=demanded.algorithms,
            )
        except (PyJWTError, TypeError, ValueError, RecursionError) as error:
            reason = reason or str(error)
            continue
        payload = found["payload"]
        break
    if not isinstance(payload, bytes):
        raise _refused(
            "token_signature",
            f"no accepted key of {demanded.issuer} has signed the token",
            expected=f"{' or '.join(demanded.algorithms)} by one of {len(demanded.keys)} keys",
            seen=printable(reason, 200),
        )
    try:
        claims: object = json.loads(payload, object_pairs_hook=each_name_once)
    except (ValueError, RecursionError) as error:
        raise _malformed("claims in JSON, each once", printable(str(error), 200)) from error
    if not isinstance(claims, dict):
        raise _malformed("an object of claims", type(claims).__name__)
    checks.passed("token_format", f"{len(token)} bytes")
    checks.passed("token_signature", demanded.issuer)
    return claims


def _verify_validity(claims: Claims, at: datetime, checks: CheckList) -> datetime:
    end = _moment(claims.get("exp"), at)
    begins = [_moment(claims[name], at) for name in ("nbf", "iat") if name in claims]
    if end is None or at >= end or any(one is None or at < one - MAX_AHEAD for one in begins):
        raise _refused(
            "token_validity",
            "the token is not valid at this time",
            expected="an end (exp) to come, and a beginning (nbf, iat) that has passed",
            seen=printable(
                f"{at.isoformat()}; "
                + ", ".join(f"{name} {claims.get(name)!r}" for name in ("exp", "nbf", "iat")),
                200,
            ),
        )
    checks.passed("token_validity", end.isoformat())
    return end


def _moment(seconds: object, like: datetime) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    if not 0 <= seconds <= _LAST_SECOND:  # also refuses what is not a number
        return None
    return datetime.fromtimestamp(seconds, like.tzinfo)


def _verify_nonce(seen: object, name: str, report_data: bytes) -> None:
    values = seen if isinstance(seen, list) else [seen]
    accepted = (report_data.hex(), report_data[:32].hex())  # the rest are zeros: ratls/claims.py
    if any(value in accepted for value in values):
        return
    raise _refused(
        "token_nonce",
        "the token was made for something else",
        expected=f"{name}: {report_data[:32].hex()}",
        seen=printable(repr(seen), 200),
    )


def _inner(claims: Claims, path: str) -> object:
    """A claim by its name; inner ones follow after a slash. A name with slashes is tried as it stands first."""
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split("/"):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _same(check: str, what: str, expected: str, seen: object, checks: CheckList) -> None:
    if seen != expected:
        raise _refused(
            check,
            f"the token has another {what}",
            expected=expected,
            seen=printable(repr(seen), 200),
        )
    checks.passed(check, expected)


def _malformed(expected: str, seen: str) -> EvidenceRefused:
    return _refused("token_format", "the token is malformed", expected=expected, seen=seen)
