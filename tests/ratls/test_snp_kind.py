"""Handshakes between a server in a simulated enclave and workers in simulated SNP guests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coterie.attestation.tee.base import TeeDescription
from coterie.attestation.tee.simulated.snp import SimulatedSnpTee
from coterie.attestation.tee.simulated.snp_vendor import SimulatedAmd
from tests.ratls.conftest import MEASUREMENT, World
from tests.ratls.kinds import handshake, refusal


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
