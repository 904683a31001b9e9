"""``coterie attest verify`` and the certificate of a node, which names the node: its kind of TEE counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.attestation.measurement import own_package_measurement
from coterie.attestation.tee.base import Tee
from coterie.attestation.tee.simulated.azure import SimulatedAzureTee
from coterie.attestation.tee.simulated.snp import SimulatedSnpTee
from coterie.contract import parse_contract
from coterie.ratls.identity import NodeIdentity
from tests.cli.conftest import Run
from tests.contract.test_alternatives import TEXT
from tests.ratls.conftest import Clock


def tee(kind: str) -> Tee:
    measurement = own_package_measurement(tensorflow=False)
    if kind == "simulated-snp":
        return SimulatedSnpTee(measurement)
    return SimulatedAzureTee(measurement, pcrs=(7,))


@pytest.mark.parametrize(
    ("node", "kind", "check"),
    [
        ("w1", "simulated-snp", None),
        ("w2", "simulated-azure-snp", None),
        ("w1", "simulated-azure-snp", "tee_kind"),
        ("w2", "simulated-snp", "tee_kind"),
    ],
)
def test_a_certificate_is_judged_by_the_kind_of_its_node(
    run: Run, tmp_path: Path, node: str, kind: str, check: str | None
) -> None:
    agreed = parse_contract(TEXT.encode(), "t")
    contract = tmp_path / "contract.toml"
    contract.write_text(TEXT)
    identity = NodeIdentity.create(
        agreed, agreed.node(node), tee(kind), incarnation=1, at=Clock()()
    )
    certificate = tmp_path / "node.der"
    certificate.write_bytes(identity.certificate_der)
    ran = run("attest", "verify", certificate, "--contract", contract, "--role", "worker", "--json")
    assert (ran.code, ran.value["failed_check"]) == (3 if check else 0, check)
