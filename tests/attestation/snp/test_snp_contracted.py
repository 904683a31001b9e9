"""A contract's table for SNP guests becomes policies: every value that it lists must hold."""

from __future__ import annotations

import pytest

from coterie.attestation.appraiser import Appraisal
from coterie.attestation.snp.contracted import snp_policies_of
from coterie.attestation.tee.simulated.snp_vendor import GuestFields
from coterie.contract.snp_trust import SnpTrust, TcbFloor, TcbFloors, TurinTcbFloor
from coterie.contract.trust import RoleTrust
from tests.attestation.snp.forgeries import TURIN, VLEK, Row

GUEST = GuestFields(
    measurement=b"\x33" * 32 + bytes(16),
    vmpl=1,
    guest_svn=2,
    family_id=b"\4" * 16,
    image_id=b"\5" * 16,
    id_key_digest=b"\6" * 48,
    author_key_digest=b"\7" * 48,
    host_data=b"\x08" * 32,
    platform_info=0b01_0100,
)
GOOD = SnpTrust(
    launch_measurement=("00" * 48, "33" * 32 + "00" * 16),
    guest_policy=("000000000003001f",),
    vmpl=(0, 1),
    minimum_guest_svn=2,
    family_id=("04" * 16,),
    image_id=("05" * 16,),
    id_key_digest=("06" * 48,),
    author_key_digest=("07" * 48,),
    host_data=("08" * 32,),
    signing_key=("vlek",),
    csp_id=(VLEK.csp_id,),
    chip_id=(VLEK.chip_id.hex(),),
    minimum_tcb=TcbFloors(milan=TcbFloor(bootloader=4, tee=0, snp=22, microcode=213)),
    minimum_firmware="1.55.40",
    required_platform=("smt_disabled", "ciphertext_hiding"),
)
OTHER = {"bootloader": 4, "tee": 0, "snp": 22, "microcode": 213}


def judged(table: RoleTrust, own: bytes | None = None) -> Appraisal:
    policies = snp_policies_of(table, own)
    return Row("", "", vendor=VLEK, guest=GUEST, policies=policies).assess()


def test_what_the_table_lists_is_accepted() -> None:
    outcome = judged(RoleTrust(snp=GOOD))
    assert outcome.refusal is None
    assert [check.name for check in outcome.checks[-20:]] == [
        *("launch_measurement", "guest_policy", "vmpl", "family_id", "image_id", "id_key_digest"),
        *("author_key_digest", "host_data", "signing_key", "guest_svn", "csp_id"),
        *("platform_chip_id", "platform_product", "committed_tcb", "reported_tcb", "current_tcb"),
        *("launch_tcb", "firmware", "platform_smt_disabled", "platform_ciphertext_hiding"),
    ]


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"launch_measurement": ("00" * 48,)}, "launch_measurement"),
        ({"guest_policy": ("000000000002001f",)}, "guest_policy"),
        ({"vmpl": (0,)}, "vmpl"),
        ({"minimum_guest_svn": 3}, "guest_svn"),
        ({"family_id": ("00" * 16,)}, "family_id"),
        ({"image_id": ("00" * 16,)}, "image_id"),
        ({"id_key_digest": ("00" * 48,)}, "id_key_digest"),
        ({"author_key_digest": ("00" * 48,)}, "author_key_digest"),
        ({"host_data": ("00" * 32,)}, "host_data"),
        ({"signing_key": ("vcek",)}, "signing_key"),
        ({"csp_id": ("CN=other.example",)}, "csp_id"),
        ({"csp_id": ()}, "csp_id"),
        ({"chip_id": ("00" * 64,)}, "platform_chip_id"),
        ({"minimum_tcb": TcbFloors(genoa=TcbFloor(**OTHER))}, "platform_product"),
        *(
            ({"minimum_tcb": TcbFloors(milan=TcbFloor(**OTHER | {part: 255}))}, "committed_tcb")
            for part in OTHER
        ),
        ({"minimum_firmware": "1.55.41"}, "firmware"),
        ({"minimum_firmware": "1.100.0"}, "firmware"),
        ({"required_platform": ("tsme_enabled",)}, "platform_tsme_enabled"),
        ({"required_platform": ("alias_check_complete",)}, "platform_alias_check_complete"),
    ],
)
def test_one_value_that_differs_refuses(change: dict[str, object], check: str) -> None:
    refusal = judged(RoleTrust(snp=GOOD.model_copy(update=change))).refusal
    assert refusal is not None
    assert refusal.failed_check == check


OWN = SnpTrust(csp_id=(VLEK.csp_id,))


@pytest.mark.parametrize(
    ("own", "check"),
    [(b"\x33" * 32, None), (b"\x34" * 32, "launch_measurement"), (None, "launch_measurement")],
    ids=["the same program", "another program", "a node that does not know its own"],
)
def test_a_nodes_own_measurement_stands_for_a_digest(own: bytes | None, check: str | None) -> None:
    refusal = judged(RoleTrust(measurement="own", snp=OWN), own).refusal
    assert (refusal and refusal.failed_check) == check


def test_without_a_table_no_cloud_providers_key_is_accepted() -> None:
    refusal = judged(RoleTrust(measurement="own"), b"\x33" * 32).refusal
    assert refusal is not None
    assert refusal.failed_check == "csp_id"


@pytest.mark.parametrize(("fmc", "check"), [(1, None), (2, "committed_tcb")])
def test_a_floor_of_turin_has_a_part_more(fmc: int, check: str | None) -> None:
    floor = TurinTcbFloor(fmc=fmc, bootloader=1, tee=1, snp=4, microcode=71)
    section = SnpTrust(minimum_tcb=TcbFloors(turin=floor))
    policies = snp_policies_of(RoleTrust(snp=section), None)
    refusal = Row("", "", vendor=TURIN, policies=policies).assess().refusal
    assert (refusal and refusal.failed_check) == check
