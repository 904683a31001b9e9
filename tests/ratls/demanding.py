"""A world whose contract demands tokens of attestation services, and sources that give other ones."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from coterie.attestation.tokens.sources import TokenSource
from coterie.contract import Contract, parse_contract
from coterie.contract.signatures import public_key_text
from coterie.contract.token_trust import SIMULATED_SERVICE
from coterie.errors import EnvironmentUnfit
from coterie.kinds import Role
from tests.ratls.conftest import CONTRACT, World

DEMAND = f"""
[[trust.roles.ROLE.tokens]]
service = "google"
issuer = "https://tokens.example"
audience = "coterie"
keys = ["{SIMULATED_SERVICE}"]
algorithms = ["ES256"]
nonce_claim = "eat_nonce"
claims = {{ dbgstat = ["disabled-since-boot"] }}
"""


@dataclass
class DemandingWorld(World):
    """A world whose contract demands a token of one role's nodes."""

    of: Role = "worker"

    @property
    @override
    def contract(self) -> Contract:
        keys = {name: public_key_text(key) for name, key in self.keys.items()}
        text = CONTRACT.format(**keys) + DEMAND.replace("ROLE", self.of)
        return parse_contract(text.encode(), "test")


@dataclass(frozen=True)
class Given(TokenSource):
    """These bytes, whatever they are about; an error if there are none."""

    shown: bytes | None

    @override
    def tokens(self, report_data: bytes) -> bytes:
        assert len(report_data) == 64
        if self.shown is None:
            raise EnvironmentUnfit("no", expected="a token", seen="none", remedy="none")
        return self.shown
