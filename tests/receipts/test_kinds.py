"""Receipts of runs whose workers are in two kinds of TEE: evidence of each is judged again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import pytest
from typing_extensions import override

from coterie.contract import Contract
from coterie.kinds import TeeKind
from coterie.ratls.trust import TrustContext
from tests.ratls.conftest import World
from tests.ratls.kinds import TEES, of_two
from tests.ratls.kinds import trust as trust_of
from tests.receipts.conftest import Scene

MEASURED: dict[TeeKind, str] = {
    "simulated": "mrenclave",
    "simulated-snp": "launch_measurement",
    "simulated-azure-snp": "pcr11",
    "simulated-azure-tdx": "mrtd",
}


@dataclass
class TwoKinds(World):
    """Workers in two kinds of TEE, and the server in an enclave."""

    acme: TeeKind = "simulated"
    bolt: TeeKind = "simulated"

    @property
    @override
    def contract(self) -> Contract:
        return of_two(self, self.acme, self.bolt)

    @override
    def trust(self, name: str, **options: object) -> TrustContext:
        contract, incarnation = self.contract, options["incarnation"]
        assert isinstance(incarnation, int)
        tee = TEES[contract.kind_of(contract.node(name))]
        return trust_of(self, contract, name, tee, incarnation=incarnation)


@pytest.mark.parametrize(("acme", "bolt"), list(permutations(TEES, 2)))
def test_a_receipt_with_evidence_of_two_kinds_is_accepted(
    tmp_path: Path, acme: TeeKind, bolt: TeeKind
) -> None:
    scene = Scene(TwoKinds(acme=acme, bolt=bolt), tmp_path)
    scene.whole()
    found = scene.verify()
    assert found.stamp == "SIMULATED"
    kinds = {"ps0": "simulated", "acme-worker": acme, "bolt-worker": bolt}
    assert {proved.node: proved.tee for proved in found.proved} == kinds
    for proved in found.proved:
        assert MEASURED[proved.tee] in dict(proved.measurements)
