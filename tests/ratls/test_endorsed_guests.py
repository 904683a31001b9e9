"""Handshakes in which the contract demands a launch endorsement of the worker's guest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coterie.attestation.appraiser import Appraiser
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.attestation.tee.simulated.snp import SimulatedSnpTee
from coterie.contract.endorsement_trust import SIMULATED_PUBLISHER
from tests.ratls.conftest import MEASUREMENT, Outcome, World
from tests.ratls.kinds import mixed, refusal, trust

DEMANDED = f'[trust.roles.worker.endorsement]\nroots = ["{SIMULATED_PUBLISHER}"]\n'


def handshake(world: World, section: str, *, held: bool = True) -> Outcome:
    contract = mixed(world, "simulated", "simulated-snp", section)
    server = trust(world, contract, "ps0", SimulatedTee(MEASUREMENT))
    if not held:
        poor = Appraiser(contract.trust, own_measurement=MEASUREMENT)
        server = replace(server, appraiser=poor)
    return world.handshake(
        trust(world, contract, "acme-worker", SimulatedSnpTee(MEASUREMENT)), server
    )


def test_an_endorsed_guest_is_accepted_and_the_checks_say_so(world: World) -> None:
    _, server = handshake(world, DEMANDED).attested
    made = {check.name for check in server.peer.verdict.checks}
    assert {"launch_measurement", "endorsement_signature", "endorsement_measurement"} <= made


def test_a_listed_measurement_is_endorsed_too(world: World) -> None:
    listed = f'[trust.roles.worker.snp]\nlaunch_measurement = ["{MEASUREMENT.hex() + "00" * 16}"]\n'
    assert handshake(world, listed + DEMANDED).attested


@pytest.mark.parametrize(
    ("more", "check"),
    [
        ("minimum_svn = 4", "endorsement_svn"),
        ("vcpus = [2]", "endorsement_size"),
        ('issued_from = "2026-01-02T00:00:00Z"', "endorsement_issued"),
    ],
)
def test_what_the_endorsement_does_not_say_is_refused(world: World, more: str, check: str) -> None:
    assert refusal(handshake(world, DEMANDED + more)).failed_check == check


def test_without_the_document_the_guest_is_refused(world: World) -> None:
    refused = refusal(handshake(world, DEMANDED, held=False))
    assert refused.failed_check == "endorsement"
    assert refused.expected.endswith(".binarypb in the directory of collateral")
