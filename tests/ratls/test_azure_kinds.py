"""Handshakes between enclaves, SNP guests and Azure's guests, all simulated, under mixed contracts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coterie.attestation.collateral_source import StapledOnly
from coterie.attestation.tee.base import Tee, TeeDescription
from coterie.attestation.tee.simulated import SimulatedTee
from coterie.attestation.tee.simulated.azure import PARAVISOR, SimulatedAzureTee, SimulatedVm
from coterie.attestation.tee.simulated.snp import SimulatedSnpTee
from coterie.attestation.tee.simulated.snp_vendor import SimulatedAmd
from coterie.attestation.vtpm.contracted import extended
from coterie.contract import Contract, parse_contract
from coterie.contract.signatures import public_key_text
from coterie.errors import EvidenceRefused, HandshakeFailed
from coterie.ratls.trust import TrustContext, make_trust
from tests.ratls.conftest import CONTRACT, MEASUREMENT, Outcome, World

STATUSES = 'accepted_tcb_statuses = ["UpToDate"]\n'
TABLES = {
    "simulated": f'measurement = "own"\n{STATUSES}',
    "simulated-snp": 'tee = "simulated-snp"\nmeasurement = "own"\n',
    "simulated-azure-snp": 'tee = "simulated-azure-snp"\nmeasurement = "own"\n',
    "simulated-azure-tdx": f'tee = "simulated-azure-tdx"\nmeasurement = "own"\n{STATUSES}',
}
TEES: dict[str, Tee] = {
    "simulated": SimulatedTee(MEASUREMENT),
    "simulated-snp": SimulatedSnpTee(MEASUREMENT),
    "simulated-azure-snp": SimulatedAzureTee(MEASUREMENT),
    "simulated-azure-tdx": SimulatedAzureTee(MEASUREMENT, vm=SimulatedVm(tdx=True)),
}
AZURE = ("simulated-azure-snp", "simulated-azure-tdx")


def mixed(world: World, server: str, worker: str, section: str = "") -> Contract:
    """A contract whose server and workers run in the named kinds."""
    keys = {name: public_key_text(key) for name, key in world.keys.items()}
    head, _, _ = CONTRACT.format(**keys).partition("[trust.roles.ps]")
    roles = f"[trust.roles.ps]\n{TABLES[server]}\n[trust.roles.worker]\n{TABLES[worker]}{section}"
    return parse_contract((head + roles).encode(), "test")


def trust(world: World, contract: Contract, name: str, tee: Tee) -> TrustContext:
    return make_trust(contract, name, tee, world.vouchers(world.node(name).party), world.clock)


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


@pytest.mark.parametrize("server", TEES)
@pytest.mark.parametrize("worker", AZURE)
def test_nodes_of_all_kinds_attest_azures_guests_and_are_attested(
    world: World, server: str, worker: str
) -> None:
    contract = mixed(world, server, worker)
    ours, theirs = world.handshake(
        trust(world, contract, "acme-worker", TEES[worker]),
        trust(world, contract, "ps0", TEES[server]),
    ).attested
    assert (ours.peer.verdict.tee, theirs.peer.verdict.tee) == (server, worker)
    verdict = theirs.peer.verdict
    assert verdict.simulated
    measured = dict(verdict.measurements)
    assert measured["pcr11"] == extended(MEASUREMENT).hex()
    assert measured["secure_boot"] == "true"


@pytest.mark.parametrize("kind", AZURE)
def test_an_azure_guest_may_be_the_server(world: World, kind: str) -> None:
    contract = mixed(world, kind, "simulated")
    ours, _ = world.handshake(
        trust(world, contract, "acme-worker", TEES["simulated"]),
        trust(world, contract, "ps0", TEES[kind]),
    ).attested
    assert ours.peer.verdict.tee == kind


class Altered(SimulatedAzureTee):
    """An altered program, which says of itself that it is the agreed one, and accepts that one."""

    def describe(self) -> TeeDescription:
        return replace(super().describe(), measurement=MEASUREMENT.hex())


@pytest.mark.parametrize("tdx", [False, True])
def test_another_program_is_refused(world: World, tdx: bool) -> None:
    refused = refusal(handshake(world, Altered(bytes(32), vm=SimulatedVm(tdx=tdx))))
    assert refused.failed_check == "pcr11"


PCR4 = "04" * 32
OF_SNP = "[trust.roles.worker.snp]\n"
OF_VTPM = "[trust.roles.worker.vtpm]\n"
NOT_LISTED = [
    (False, f'{OF_VTPM}pcrs.4 = ["{PCR4}"]', "pcr4"),
    (False, f"{OF_VTPM}secure_boot = [false]", "secure_boot"),
    (False, f"{OF_VTPM}console = [true]", "console"),
    (False, f'{OF_SNP}launch_measurement = ["{"00" * 48}"]', "launch_measurement"),
    (False, f"{OF_SNP}vmpl = [1]", "vmpl"),
    (False, f'{OF_SNP}minimum_firmware = "2.0.0"', "firmware"),
    (False, f"{OF_SNP}minimum_tcb.genoa = {{bootloader = 0, tee = 0, snp = 0, microcode = 0}}", "platform_product"),
    (True, f'{OF_VTPM}pcrs.4 = ["{PCR4}"]', "pcr4"),
    (True, f'mrtd = ["{"00" * 48}"]', "mrtd"),
    (True, f'rtmr0 = ["{"01" * 48}"]', "rtmr0"),
    (True, 'td_attributes = ["0000001000000000"]', "td_attributes"),
    (True, "minimum_tcb_evaluation_number = 2", "evaluation_number"),
    (True, 'fmspc = ["000000000000"]', "platform_fmspc"),
]  # fmt: skip


@pytest.mark.parametrize(("tdx", "section", "check"), NOT_LISTED)
def test_what_the_contract_does_not_list_is_refused(
    world: World,
    tdx: bool,
    section: str,
    check: str,
) -> None:
    tee = SimulatedAzureTee(MEASUREMENT, vm=SimulatedVm(tdx=tdx), pcrs=(4,))
    assert refusal(handshake(world, tee, section)).failed_check == check


@pytest.mark.parametrize("tdx", [False, True])
def test_what_the_contract_lists_is_accepted(world: World, tdx: bool) -> None:
    vm = SimulatedVm(tdx=tdx, pcrs={4: bytes.fromhex(PCR4)})
    measured = f'mrtd = ["{PARAVISOR.hex()}"]\ntd_attributes = ["{"00" * 8}"]\n'
    below = measured if tdx else f'{OF_SNP}launch_measurement = ["{PARAVISOR.hex()}"]\n'
    vtpm = f'{OF_VTPM}secure_boot = [true]\nconsole = [false]\npcrs.4 = ["{PCR4}", "{"05" * 32}"]\n'
    tee = SimulatedAzureTee(MEASUREMENT, vm=vm, pcrs=(4,))
    assert handshake(world, tee, below + vtpm).attested


@pytest.mark.parametrize(
    ("kind", "shown"), [(kind, shown) for kind in AZURE for shown in TEES if shown != kind]
)
def test_a_role_is_not_taken_in_another_kind(world: World, kind: str, shown: str) -> None:
    """It runs under a contract of its own making, so the peer must be the one that refuses."""
    server = trust(world, mixed(world, "simulated", kind), "ps0", TEES["simulated"])
    worker = trust(world, mixed(world, "simulated", shown), "acme-worker", TEES[shown])
    assert refusal(world.handshake(worker, server)).failed_check == "tee_kind"


@pytest.mark.parametrize("kind", AZURE)
def test_a_node_in_another_tee_than_its_roles_does_not_start(world: World, kind: str) -> None:
    contract = mixed(world, "simulated", kind)
    for tee in TEES.values():
        if tee.kind != kind:
            with pytest.raises(EvidenceRefused) as refused:
                trust(world, contract, "acme-worker", tee)
            assert (refused.value.failed_check, refused.value.expected) == ("tee_kind", kind)


@pytest.mark.parametrize("kind", AZURE)
def test_collateral_is_stapled_in_both_directions(world: World, kind: str) -> None:
    contract = mixed(world, "simulated", kind)
    poor = make_trust(
        contract,
        "ps0",
        TEES["simulated"],
        world.vouchers(world.node("ps0").party),
        world.clock,
        collateral=StapledOnly(),
    )
    worker = trust(world, contract, "acme-worker", TEES[kind])
    _, seen = world.handshake(worker, poor).attested
    assert seen.peer.verdict.tee == kind


class Relay:
    """A TEE that shows evidence by two machines: one for the certificate, one for sessions."""

    def __init__(self, first: SimulatedAzureTee, then: SimulatedAzureTee) -> None:
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

    def quote(self, report_data: bytes) -> bytes:
        return self._shown[0] if self._shown else super().quote(report_data)


OTHERS = {
    "another virtual TPM": SimulatedVm(key="another vtpm"),
    "another virtual TPM above TDX": SimulatedVm(tdx=True, key="another vtpm"),
    "another chip": SimulatedVm(amd=SimulatedAmd(chip_id=b"\x11" * 64)),
    "a guest that booted otherwise": SimulatedVm(secure_boot=False),
    "a guest that booted otherwise above TDX": SimulatedVm(tdx=True, secure_boot=False),
}


@pytest.mark.parametrize("why", OTHERS)
def test_evidence_of_two_machines_for_certificate_and_session_is_refused(
    world: World, why: str
) -> None:
    other = OTHERS[why]
    relay = Relay(
        SimulatedAzureTee(MEASUREMENT, vm=SimulatedVm(tdx=other.tdx)),
        SimulatedAzureTee(MEASUREMENT, vm=other),
    )
    assert refusal(handshake(world, relay)).failed_check == "session_binding"


@pytest.mark.parametrize("tdx", [False, True])
def test_old_evidence_for_a_session_is_refused(world: World, tdx: bool) -> None:
    honest = SimulatedAzureTee(MEASUREMENT, vm=SimulatedVm(tdx=tdx))
    assert refusal(handshake(world, Replay(honest, honest))).failed_check == "session_binding"


class Spliced(SimulatedAzureTee):
    """Puts the TPM's part of an honest machine onto hardware of its own."""

    def quote(self, report_data: bytes) -> bytes:
        honest, own = SimulatedVm(), SimulatedVm(key="another vtpm")
        data = super().quote(report_data)
        return data.replace(honest.hardware, own.hardware)


def test_a_tpm_above_other_hardware_is_refused(world: World) -> None:
    spliced = Spliced(MEASUREMENT)
    assert refusal(handshake(world, spliced)).failed_check == "runtime_data_binding"
