"""What a role's table demands beside reference values becomes a policy of its appraiser."""

from __future__ import annotations

from coterie.attestation.appraiser import Appraiser
from coterie.attestation.endorsed.policy import EndorsedBy
from coterie.attestation.policy import MeasurementIn
from coterie.contract.snp_trust import SnpTrust
from coterie.contract.trust import RolesTrust, RoleTrust, TrustSection
from tests.attestation.endorsed.test_endorsed_policy import GUEST, HONEST, IN_SNP


def test_a_roles_table_asks_for_it_beside_its_reference_values() -> None:
    table = RoleTrust(snp=SnpTrust(launch_measurement=(GUEST.hex(),)), endorsement=IN_SNP)
    trust = TrustSection.model_construct(tee="snp", roles=RolesTrust(ps=table), not_after=None)
    documents = {GUEST: HONEST.document()}
    policies = Appraiser(trust, own_measurement=None, endorsements=documents).policies("ps", "snp")
    assert MeasurementIn("launch_measurement", (GUEST.hex(),)) in policies
    assert policies[-1] == EndorsedBy(IN_SNP, documents)
