"""A party's key server on loopback, and nodes that ask it; the world is that of the handshake tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coterie.address import Address
from coterie.attestation.appraiser import Appraiser
from coterie.attestation.collateral_source import CachedCollateral, SimulatedCollateral
from coterie.attestation.tee.base import Tee
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.contract import Contract
from coterie.errors import CoterieError
from coterie.keys.server.client import KeyServerClient
from coterie.keys.server.journal import Journal
from coterie.keys.server.policy import KeyPolicy, Release
from coterie.keys.server.service import KeyService
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.listener import AttestationListener, ListenerLimits, listen
from coterie.ratls.refusals import Refused
from coterie.ratls.trust import RelyingParty
from coterie.sealed.data_key import DataKey
from tests.ratls.conftest import MEASUREMENT, World

KEY = DataKey("acme", b"\1" * 32, b"\2" * 32)
MODEL_KEY = DataKey("acme", b"\3" * 32, b"\4" * 32)


@dataclass
class Owner:
    """Acme's key server: its policy, its log, and what it refused."""

    world: World
    folder: Path
    address: Address = field(default_factory=lambda: Address("127.0.0.1", 1))
    refused: list[CoterieError] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    def policy(self, contract: Contract | None = None) -> KeyPolicy:
        agreed = contract or self.world.contract
        releases = {KEY.set_id: Release(KEY, frozenset({"worker"}))}
        path = self.folder / "contract.toml"
        return KeyPolicy("acme", agreed, path, agreed.trust, releases, MODEL_KEY)

    @contextmanager
    def serving(
        self,
        policy: KeyPolicy | None = None,
        *,
        signer: str = "acme",
        port: int = 0,
        limits: ListenerLimits | None = None,
        refused: Refused | None = None,
    ) -> Iterator[None]:
        policy = policy or self.policy()
        trust = RelyingParty(
            contract=policy.contract,
            appraiser=Appraiser(policy.trust, own_measurement=MEASUREMENT),
            collateral=CachedCollateral(SimulatedCollateral(), kinds=policy.contract.trust.kinds),
            clock=self.world.clock,
        )
        journal = Journal(self.log)
        service = KeyService(policy, self.world.keys[signer], trust, journal)
        sock = listen(Address("127.0.0.1", port))
        self.address = Address(*sock.getsockname())
        listener = AttestationListener(
            sock,
            service.handle,
            refused=refused or (lambda _, error, __: self.refused.append(error)),
            limits=limits,
        )
        listener.start()
        try:
            yield
        finally:
            listener.stop()
            journal.close()

    def client(
        self,
        *,
        measurement: bytes = MEASUREMENT,
        tee: Tee | None = None,
        party: str = "acme",
        contract: Contract | None = None,
    ) -> KeyServerClient:
        return KeyServerClient(
            self.address,
            contract or self.world.contract,
            party,
            tee or SimulatedTee(measurement),
            SimulatedCollateral(),
            self.world.clock,
        )

    def identity(
        self,
        node: str = "acme-worker",
        *,
        contract: Contract | None = None,
        measurement: bytes = MEASUREMENT,
        tee: Tee | None = None,
    ) -> NodeIdentity:
        return NodeIdentity.create(
            contract or self.world.contract,
            self.world.node(node),
            tee or SimulatedTee(measurement),
            incarnation=7,
            at=self.world.clock(),
        )


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(World(), tmp_path)


Serving = Callable[..., AbstractContextManager[None]]
