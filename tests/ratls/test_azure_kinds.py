"""Handshakes with simulated guests of Azure: what the TPM and the paravisor say of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coterie.attestation.tee.base import TeeDescription
from coterie.attestation.tee.simulated.azure import PARAVISOR, SimulatedAzureTee, SimulatedVm
from coterie.attestation.vtpm.contracted import extended
from coterie.kinds import TeeKind
from tests.ratls.conftest import MEASUREMENT, World
from tests.ratls.kinds import AZURE, TEES, Relay, handshake, refusal


@pytest.mark.parametrize("kind", AZURE)
def test_a_guest_is_measured_by_its_tpm(world: World, kind: TeeKind) -> None:
    _, server = handshake(world, TEES[kind]).attested
    measured = dict(server.peer.verdict.measurements)
    assert measured["pcr11"] == extended(MEASUREMENT).hex()
    assert measured["secure_boot"] == "true"


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


OTHERS = {
    "another virtual TPM": SimulatedVm(key="another vtpm"),
    "another virtual TPM above TDX": SimulatedVm(tdx=True, key="another vtpm"),
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


class Spliced(SimulatedAzureTee):
    """Puts the TPM's part of an honest machine onto hardware of its own."""

    def quote(self, report_data: bytes) -> bytes:
        honest, own = SimulatedVm(), SimulatedVm(key="another vtpm")
        data = super().quote(report_data)
        return data.replace(honest.hardware, own.hardware)


def test_a_tpm_above_other_hardware_is_refused(world: World) -> None:
    spliced = Spliced(MEASUREMENT)
    assert refusal(handshake(world, spliced)).failed_check == "runtime_data_binding"
