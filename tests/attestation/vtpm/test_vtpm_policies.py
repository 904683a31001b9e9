"""What a contract demands of Azure's guests: of the paravisor by its hardware, of the guest by its TPM."""

from __future__ import annotations

import pytest

from coterie.attestation.appraiser import Appraiser
from coterie.attestation.policy import MeasurementIn
from coterie.attestation.tee.simulated.azure import SimulatedVm
from coterie.attestation.vtpm.contracted import extended
from coterie.contract import parse_contract
from coterie.contract.trust import TrustSection
from coterie.kinds import Role
from tests.attestation.vtpm.forgeries import AT, DATA, ISSUED, SNP, TDX
from tests.contract.test_vtpm_trust import AZURE_SNP, AZURE_TDX, SIMULATED

OWN = bytes(range(32))


def trust(text: str) -> TrustSection:
    return parse_contract(text.encode(), "t").trust


def compared(text: str, role: Role = "ps") -> dict[str, tuple[str, ...]]:
    """What is compared with lists, by its name."""
    terms = trust(text)
    (kind,) = terms.tables(role)
    policies = Appraiser(terms, own_measurement=OWN).policies(role, kind)
    return {one.check: one.accepted for one in policies if isinstance(one, MeasurementIn)}


@pytest.mark.parametrize("text", [AZURE_SNP, AZURE_TDX])
def test_all_that_a_contract_lists_is_compared(text: str) -> None:
    found = compared(text)
    assert found["pcr4"] == ("04" * 32,)
    assert found["pcr11"] == ("11" * 32, "12" * 32)
    assert (found["secure_boot"], found["console"]) == (("true",), ("false",))
    if text == AZURE_SNP:
        assert found["launch_measurement"] == ("33" * 48,)
    else:
        assert found.keys() >= {"mrtd", "rtmr0", "rtmr3", "td_attributes", "xfam"}


def test_the_own_program_is_measured_by_the_tpm_and_not_by_the_hardware() -> None:
    """What the hardware measures is the paravisor."""
    assert compared(SIMULATED, "ps") == {"pcr11": (extended(OWN).hex(),)}
    assert compared(SIMULATED, "worker") == {"pcr11": (extended(OWN).hex(),)}
    appraiser = Appraiser(trust(SIMULATED), own_measurement=None)
    policies = appraiser.policies("ps", "simulated-azure-snp")
    (policy,) = (one for one in policies if isinstance(one, MeasurementIn))
    assert policy.accepted == ()


@pytest.mark.parametrize(("role", "machine"), [("ps", SNP), ("worker", TDX)])
def test_a_contract_judges_a_guest(role: Role, machine: SimulatedVm) -> None:
    vendor = machine.pki if machine.tdx else machine.amd
    outcome = Appraiser(trust(SIMULATED), own_measurement=OWN).assess(
        machine.evidence(DATA, (11,)),
        report_data=DATA,
        role=role,
        kind="simulated-azure-tdx" if machine.tdx else "simulated-azure-snp",
        collateral=vendor.issue(ISSUED),
        at=AT,
    )
    assert outcome.refusal is not None
    assert outcome.refusal.failed_check == "pcr11"
