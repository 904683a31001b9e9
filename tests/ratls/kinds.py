"""All simulated kinds of TEE, and contracts whose roles run in them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from coterie.attestation.tee.base import Tee, TeeDescription
from coterie.attestation.tee.simulated.azure import SimulatedAzureTee, SimulatedVm
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.snp import SimulatedSnpTee
from coterie.attestation.tee.simulated.snp_vendor import SimulatedAmd
from coterie.contract import Contract, parse_contract
from coterie.contract.signatures import public_key_text
from coterie.errors import EvidenceRefused, HandshakeFailed
from coterie.kinds import TeeKind
from coterie.ratls.trust import TrustContext, make_trust
from tests.ratls.conftest import CONTRACT, MEASUREMENT, Outcome

if TYPE_CHECKING:
    from tests.ratls.conftest import World

STATUSES = 'accepted_tcb_statuses = ["UpToDate"]\n'
TABLES: dict[TeeKind, str] = {
    "simulated": f'measurement = "own"\n{STATUSES}',
    "simulated-snp": 'measurement = "own"\n',
    "simulated-azure-snp": 'measurement = "own"\n',
    "simulated-azure-tdx": f'measurement = "own"\n{STATUSES}',
}
TEES: dict[TeeKind, Tee] = {
    "simulated": SimulatedTee(MEASUREMENT),
    "simulated-snp": SimulatedSnpTee(MEASUREMENT),
    "simulated-azure-snp": SimulatedAzureTee(MEASUREMENT),
    "simulated-azure-tdx": SimulatedAzureTee(MEASUREMENT, vm=SimulatedVm(tdx=True)),
}
# The same programs on other machines of the same kind.
CHIP = SimulatedAmd(chip_id=b"\x11" * 64)
ELSEWHERE: dict[TeeKind, Tee] = {
    "simulated": SimulatedTee(MEASUREMENT, pki=replace(SimulatedPki(), ppid=b"\x11" * 16)),
    "simulated-snp": SimulatedSnpTee(MEASUREMENT, vendor=CHIP),
    "simulated-azure-snp": SimulatedAzureTee(MEASUREMENT, vm=SimulatedVm(amd=CHIP)),
    "simulated-azure-tdx": SimulatedAzureTee(
        MEASUREMENT, vm=SimulatedVm(tdx=True, key="another vtpm")
    ),
}
AZURE: tuple[TeeKind, ...] = ("simulated-azure-snp", "simulated-azure-tdx")


def mixed(world: World, server: TeeKind, worker: TeeKind, section: str = "") -> Contract:
    """A contract whose server and workers run in these kinds."""
    return _contract(
        world, server, f'[trust.roles.worker]\ntee = "{worker}"\n{TABLES[worker]}{section}'
    )


def of_two(world: World, acme: TeeKind, bolt: TeeKind, section: str = "") -> Contract:
    """A contract whose workers run in two kinds, and the server in an enclave."""
    roles = f'[trust.roles.worker]\ntee = "{acme}"\n{TABLES[acme]}'
    roles += f'[[trust.roles.worker.alternatives]]\ntee = "{bolt}"\n{TABLES[bolt]}{section}'
    return _contract(world, "simulated", roles, {"acme": acme, "bolt": bolt})


def _contract(
    world: World, server: TeeKind, workers: str, kinds: dict[str, TeeKind] | None = None
) -> Contract:
    keys = {name: public_key_text(key) for name, key in world.keys.items()}
    text, _, _ = CONTRACT.format(**keys).partition("[trust.roles.ps]")
    for party, kind in (kinds or {}).items():
        node = f'name = "{party}-worker"\n'
        assert node in text
        text = text.replace(node, f'{node}tee = "{kind}"\n')
    roles = f'[trust.roles.ps]\ntee = "{server}"\n{TABLES[server]}\n{workers}'
    return parse_contract((text + roles).encode(), "test")


def trust(
    world: World, contract: Contract, name: str, tee: Tee, *, incarnation: int | None = None
) -> TrustContext:
    """A node's trust, which its party vouches for."""
    vouchers = world.vouchers(contract.node(name).party)
    return make_trust(contract, name, tee, vouchers, world.clock, incarnation=incarnation)


def handshake(world: World, tee: Tee, section: str = "") -> Outcome:
    """A worker in a TEE dials a server in an enclave."""
    contract = mixed(world, "simulated", tee.kind, section)
    worker = trust(world, contract, "acme-worker", tee)
    return world.handshake(worker, trust(world, contract, "ps0", TEES["simulated"]))


def refusal(outcome: Outcome) -> EvidenceRefused:
    """Why the server refused the worker, which is told so."""
    assert isinstance(outcome.dialler, HandshakeFailed)
    assert isinstance(outcome.listener, EvidenceRefused)
    return outcome.listener


class Relay:
    """A TEE that shows evidence by two machines: one for the certificate, one for sessions."""

    def __init__(self, first: Tee, then: Tee) -> None:
        self.kind = first.kind
        self._next = [first, then]
        self._shown: list[bytes] = []

    def quote(self, report_data: bytes) -> bytes:
        tee = self._next.pop(0) if len(self._next) > 1 else self._next[0]
        self._shown.append(tee.quote(report_data))
        return self._shown[-1]

    def describe(self) -> TeeDescription:
        return self._next[-1].describe()


class Replay(Relay):
    """Shows its certificate's evidence for every session."""

    def __init__(self, tee: Tee) -> None:
        super().__init__(tee, tee)

    def quote(self, report_data: bytes) -> bytes:
        return self._shown[0] if self._shown else super().quote(report_data)
