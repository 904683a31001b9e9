"""Handshakes between a server in a simulated enclave and workers in simulated SNP guests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coterie.attestation.collateral_source import StapledOnly
from coterie.attestation.tee.base import Tee, TeeDescription
from coterie.attestation.tee.simulated import SimulatedTee
from coterie.attestation.tee.simulated.snp import SimulatedSnpTee
from coterie.attestation.tee.simulated.snp_vendor import SimulatedAmd
from coterie.contract import Contract, parse_contract
from coterie.contract.signatures import public_key_text
from coterie.errors import EvidenceRefused, HandshakeFailed
from coterie.ratls.trust import TrustContext, make_trust
from tests.ratls.conftest import CONTRACT, MEASUREMENT, Outcome, World

WORKER = """[trust.roles.worker]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""
SNP_WORKER = """[trust.roles.worker]
tee = "simulated-snp"
measurement = "own"
"""


def mixed(world: World, section: str = "") -> Contract:
    keys = {name: public_key_text(key) for name, key in world.keys.items()}
    assert WORKER in CONTRACT
    text = CONTRACT.format(**keys).replace(WORKER, SNP_WORKER + section)
    return parse_contract(text.encode(), "test")


def trust(world: World, contract: Contract, name: str, tee: Tee) -> TrustContext:
    vouchers = world.vouchers(world.node(name).party)
    return make_trust(contract, name, tee, vouchers, world.clock)


def handshake(world: World, tee: Tee, section: str = "") -> Outcome:
    contract = mixed(world, section)
    worker = trust(world, contract, "acme-worker", tee)
    server = trust(world, contract, "ps0", SimulatedTee(MEASUREMENT))
    return world.handshake(worker, server)


def refusal(outcome: Outcome) -> EvidenceRefused:
    """Why the server refused the worker, which is told so."""
    assert isinstance(outcome.dialler, HandshakeFailed)
    assert isinstance(outcome.listener, EvidenceRefused)
    return outcome.listener


def test_an_enclave_and_a_guest_attest_each_other(world: World) -> None:
    worker, server = handshake(world, SimulatedSnpTee(MEASUREMENT)).attested
    assert (worker.peer.verdict.tee, server.peer.verdict.tee) == ("simulated", "simulated-snp")
    verdict = server.peer.verdict
    assert verdict.simulated
    assert verdict.fmspc == "Milan"
    assert dict(verdict.measurements)["launch_measurement"].startswith(MEASUREMENT.hex())
    assert server.peer.proof is not None
    assert "amd_crl" in server.peer.proof.collateral.to_json()


@pytest.mark.parametrize("product", ["Genoa", "Turin"])
@pytest.mark.parametrize("key", ["vcek", "vlek"])
def test_every_product_line_and_kind_of_key_is_served(world: World, product: str, key: str) -> None:
    chip = bytes(range(1, 9)).ljust(64, b"\0")
    tcb = replace(SimulatedAmd().tcb, fmc=2 if product == "Turin" else None)
    vendor = SimulatedAmd(product=product, key=key, chip_id=chip, tcb=tcb)  # type: ignore[arg-type]
    section = '[trust.roles.worker.snp]\ncsp_id = ["CN=cc-us-east-2.example"]\n'
    _, server = handshake(world, SimulatedSnpTee(MEASUREMENT, vendor=vendor), section).attested
    assert server.peer.verdict.fmspc == product


class Altered(SimulatedSnpTee):
    """An altered program, which says of itself that it is the agreed one, and accepts that one."""

    def describe(self) -> TeeDescription:
        return SimulatedSnpTee(MEASUREMENT).describe()


def test_another_program_is_refused(world: World) -> None:
    refused = refusal(handshake(world, Altered(bytes(32))))
    assert refused.failed_check == "launch_measurement"


@pytest.mark.parametrize(
    ("section", "check"),
    [
        ('guest_policy = ["0000000000020000"]', "guest_policy"),
        ("vmpl = [1, 2]", "vmpl"),
        ("minimum_guest_svn = 1", "guest_svn"),
        ('signing_key = ["vlek"]', "signing_key"),
        ('required_platform = ["ciphertext_hiding"]', "platform_ciphertext_hiding"),
        ('minimum_firmware = "2.0.0"', "firmware"),
        (f'chip_id = ["{"00" * 64}"]', "platform_chip_id"),
        ("minimum_tcb.milan = {bootloader = 5, tee = 0, snp = 0, microcode = 0}", "committed_tcb"),
        ("minimum_tcb.genoa = {bootloader = 0, tee = 0, snp = 0, microcode = 0}", "platform_product"),
    ],
)  # fmt: skip
def test_what_the_contract_does_not_list_is_refused(world: World, section: str, check: str) -> None:
    outcome = handshake(
        world, SimulatedSnpTee(MEASUREMENT), f"[trust.roles.worker.snp]\n{section}\n"
    )
    assert refusal(outcome).failed_check == check


def test_a_worker_in_an_enclave_is_refused_where_a_guest_is_demanded(world: World) -> None:
    """It runs under a contract of its own making, so the peer must be the one that refuses."""
    contract = mixed(world)
    server = trust(world, contract, "ps0", SimulatedTee(MEASUREMENT))
    outcome = world.handshake(world.trust("acme-worker"), server)
    assert refusal(outcome).failed_check == "tee_kind"


def test_a_node_in_another_tee_than_its_roles_does_not_start(world: World) -> None:
    with pytest.raises(EvidenceRefused) as refused:
        trust(world, mixed(world), "acme-worker", SimulatedTee(MEASUREMENT))
    assert (refused.value.failed_check, refused.value.expected) == ("tee_kind", "simulated-snp")


def test_collateral_is_stapled_in_both_directions(world: World) -> None:
    contract = mixed(world)
    poor = StapledOnly()
    worker, server = (
        make_trust(
            contract, name, tee, world.vouchers(world.node(name).party), world.clock, collateral=source
        )
        for name, tee, source in (
            ("acme-worker", SimulatedSnpTee(MEASUREMENT), None),
            ("ps0", SimulatedTee(MEASUREMENT), poor),
        )
    )  # fmt: skip
    _, seen = world.handshake(worker, server).attested
    assert seen.peer.verdict.tee == "simulated-snp"


class Relay:
    """A TEE that shows a quote which another guest made: for other report data, or on its behalf."""

    kind = "simulated-snp"

    def __init__(self, first: SimulatedSnpTee, then: SimulatedSnpTee) -> None:
        self._next = [first, then]
        self._shown: list[bytes] = []

    def quote(self, report_data: bytes) -> bytes:
        tee = self._next.pop(0) if len(self._next) > 1 else self._next[0]
        self._shown.append(tee.quote(report_data))
        return self._shown[-1]

    def describe(self) -> object:
        return self._next[-1].describe()


def test_evidence_of_two_chips_for_certificate_and_session_is_refused(world: World) -> None:
    other = SimulatedAmd(chip_id=b"\x11" * 64)
    relay: object = Relay(SimulatedSnpTee(MEASUREMENT), SimulatedSnpTee(MEASUREMENT, vendor=other))
    outcome = handshake(world, relay)  # type: ignore[arg-type]
    assert refusal(outcome).failed_check == "session_binding"


class Replay(Relay):
    """Shows its certificate's evidence for every session."""

    def quote(self, report_data: bytes) -> bytes:
        return self._shown[0] if self._shown else super().quote(report_data)


def test_old_evidence_for_a_session_is_refused(world: World) -> None:
    honest = SimulatedSnpTee(MEASUREMENT)
    replay: object = Replay(honest, honest)
    outcome = handshake(world, replay)  # type: ignore[arg-type]
    assert refusal(outcome).failed_check == "session_binding"
