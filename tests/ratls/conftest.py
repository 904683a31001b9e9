"""A small world of parties and nodes for the tests: real keys, real TLS, a clock to turn."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel

from coterie.address import Address
from coterie.attestation.collateral_source import CollateralSource
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.contract import Contract, Node, parse_contract
from coterie.contract.signatures import public_key_text
from coterie.errors import CoterieError
from coterie.ratls.credentials import Credentials
from coterie.ratls.handshake import AttestedPeer, accept, dial
from coterie.ratls.peer import Peer
from coterie.ratls.trust import TrustContext, make_trust
from coterie.ratls.voucher import PartyKeyVouchers, VoucherSource
from tests.ratls.net import Net

MEASUREMENT = bytes(range(32))
PARTIES = ("operator", "acme", "bolt")
GRPC_PORT = 4711

CONTRACT = """
format = 1
name = "test"
mode = "hfl"

[[parties]]
name = "operator"
key = "{operator}"

[[parties]]
name = "acme"
key = "{acme}"

[[parties]]
name = "bolt"
key = "{bolt}"

[[nodes]]
name = "ps0"
role = "ps"
party = "operator"

[[nodes]]
name = "acme-worker"
role = "worker"
party = "acme"

[[nodes]]
name = "bolt-worker"
role = "worker"
party = "bolt"

[trust]
tee = "simulated"
certificate_minutes = 720
reattestation_minutes = 60

[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]

[trust.roles.worker]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""


class Clock:
    """Real time, moved by what a test adds; or, once it is stopped, that alone."""

    def __init__(self) -> None:
        self._shift = timedelta()
        self._stopped: datetime | None = None

    def __call__(self) -> datetime:
        return (self._stopped or datetime.now(UTC)) + self._shift

    def stop(self) -> None:
        """From now on time passes only when a test says so, however slow the machine is."""
        self._stopped = datetime.now(UTC)

    def advance(self, shift: timedelta) -> None:
        self._shift += shift


class FixedCredentials:
    """In place of a CredentialKeeper: shows what a forger made."""

    def __init__(self, shown: Credentials) -> None:
        self._shown = shown

    incarnation = 1

    def current(self) -> Credentials:
        return self._shown

    def held(self) -> tuple[Credentials, ...]:
        return (self._shown,)

    def is_own_key(self, spki_sha256: bytes) -> bool:
        return spki_sha256 == self._shown.identity.spki_digest


def attested(peer: AttestedPeer | None) -> AttestedPeer:
    """What a listener that receives no visitors accepts."""
    assert peer is not None
    return peer


@dataclass(frozen=True)
class Outcome:
    """How a handshake ended on both sides."""

    dialler: AttestedPeer | CoterieError
    listener: AttestedPeer | CoterieError

    @property
    def attested(self) -> tuple[AttestedPeer, AttestedPeer]:
        for side in (self.dialler, self.listener):
            if isinstance(side, CoterieError):
                raise side
        assert isinstance(self.dialler, AttestedPeer)
        assert isinstance(self.listener, AttestedPeer)
        return self.dialler, self.listener


@dataclass
class World:
    """Parties with keys, one contract, one clock."""

    clock: Clock = field(default_factory=Clock)
    keys: dict[str, Ed25519PrivateKey] = field(
        default_factory=lambda: {name: Ed25519PrivateKey.generate() for name in PARTIES}
    )

    @property
    def contract(self) -> Contract:
        keys = {name: public_key_text(key) for name, key in self.keys.items()}
        return parse_contract(CONTRACT.format(**keys).encode(), "test")

    def changed(self, *path: str, value: object) -> Contract:
        """The contract with one value of a section changed, whatever the schema says of it."""
        contract = self.contract
        section, name = path
        part = BaseModel.model_copy(getattr(contract, section), update={name: value})
        return BaseModel.model_copy(contract, update={section: part})

    def node(self, name: str) -> Node:
        return next(node for node in self.contract.nodes if node.name == name)

    def vouchers(self, party: str, lifetime: timedelta = timedelta(hours=24)) -> PartyKeyVouchers:
        return PartyKeyVouchers(self.keys[party], clock=self.clock, lifetime=lifetime)

    def trust(
        self,
        name: str,
        *,
        contract: Contract | None = None,
        measurement: bytes = MEASUREMENT,
        vouchers: VoucherSource | None = None,
        collateral: CollateralSource | None = None,
        incarnation: int | None = None,
    ) -> TrustContext:
        return make_trust(
            contract or self.contract,
            name,
            SimulatedTee(measurement),
            vouchers or self.vouchers(self.node(name).party),
            self.clock,
            collateral=collateral,
            incarnation=incarnation,
        )

    def showing(self, trust: TrustContext, credentials: Credentials) -> TrustContext:
        """The same node, but showing other credentials than it should."""
        forged: object = FixedCredentials(credentials)
        return replace(trust, credentials=forged)  # type: ignore[arg-type]

    def handshake(
        self,
        dialler: TrustContext,
        listener: TrustContext,
        *,
        expected_node: str = "ps0",
        admit: Callable[[Peer], int] = lambda _: GRPC_PORT,
        seconds: float = 10.0,
    ) -> Outcome:
        """One whole handshake over loopback."""
        ended: list[AttestedPeer | CoterieError] = []

        def answer(server: socket.socket) -> None:
            sock, _ = server.accept()
            try:
                ended.append(attested(accept(sock, listener, admit, seconds=seconds)))
            except CoterieError as error:
                ended.append(error)

        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=answer, args=(server,))
            thread.start()
            address = Address(*server.getsockname())
            ours: AttestedPeer | CoterieError
            try:
                ours = dial(address, expected_node, dialler, seconds=seconds)
            except CoterieError as error:
                ours = error
            thread.join()
        return Outcome(ours, ended[0])


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """Every thread that a test starts has ended when it ends."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
        assert not thread.is_alive(), f"{thread.name} is still running"


@pytest.fixture
def net(world: World) -> Iterator[Net]:
    made = Net(world)
    yield made
    made.close()
