"""The simulated attestation service: tokens by a public key, which prove nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coterie.attestation.tee.simulated.keys import PUBLIC_SEED, derive_key, sign_raw
from coterie.contract.token_trust import TokenTrust

_LIFETIME = timedelta(hours=1)


@dataclass(frozen=True)
class SimulatedTokens:
    """Makes whatever tokens a contract demands.

    Attributes:
        demanded: The contract's tables.
        clock: The time now, UTC.
        changed: Claims with other values.
        without: Claims that are left out.
        header: Fields of the header with other values.
        key: The signing key.
    """

    demanded: Sequence[TokenTrust]
    clock: Callable[[], datetime]
    changed: Mapping[str, object] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    header: Mapping[str, object] = field(default_factory=dict)
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: derive_key(PUBLIC_SEED, "token service")
    )

    def tokens(self, report_data: bytes) -> bytes:
        """The tokens, one a line."""
        return b"\n".join(self.token(one, report_data) for one in self.demanded)

    def token(self, demanded: TokenTrust, report_data: bytes) -> bytes:
        """One token."""
        now = self.clock()
        claims: dict[str, object] = {
            "iss": demanded.issuer,
            "aud": demanded.audience,
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int((now + _LIFETIME).timestamp()),
            demanded.nonce_claim: report_data[:32].hex(),
            **{name: accepted[0] for name, accepted in demanded.claims.items()},
            **self.changed,
        }
        for name in self.without:
            del claims[name]
        return self.signed(json.dumps(claims).encode())

    def signed(self, payload: bytes) -> bytes:
        """A token of any payload."""
        header = json.dumps({"alg": "ES256", "typ": "JWT", **self.header}).encode()
        signed = _encoded(header) + b"." + _encoded(payload)
        return signed + b"." + _encoded(sign_raw(self.key, signed))

    @property
    def public_key(self) -> str:
        """Its public key as contracts name it."""
        spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(spki).decode()


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
