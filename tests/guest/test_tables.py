"""Tables for a contract: they can be pasted, and say only what the image determines."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import replace

import pytest

from coterie.contract import parse_contract
from coterie.contract.vtpm_trust import VtpmTrust
from coterie.errors import ContractInvalid
from coterie.guest.tables import Measurements, kind_of, table_names, trust_tables
from coterie.kinds import TeeKind
from tests.contract.test_alternatives import TEXT

MEASURED = Measurements(
    program=b"\1" * 32,
    pcrs={pcr: bytes([pcr]) * 32 for pcr in (4, 5, 8, 9, 11, 12, 13, 14, 15)},
    rtmrs={number: bytes([number]) * 48 for number in (1, 2, 3)},
)
PS = ("trust.roles.ps",)


def test_tdx_gets_the_registers_of_the_image_and_a_note_of_the_rest() -> None:
    text = trust_tables(MEASURED, ("trust.roles.worker", "trust.roles.chief"), "tdx")
    roles = tomllib.loads(text)["trust"]["roles"]
    expected = {f"rtmr{number}": [f"0{number}" * 48] for number in (1, 2, 3)}
    assert roles == {"worker": expected, "chief": expected}
    assert "# mrtd: of the host's firmware and machine" in text


def test_a_simulated_guest_gets_its_program_and_the_warning() -> None:
    text = trust_tables(MEASURED, PS, "simulated")
    assert tomllib.loads(text) == {"trust": {"roles": {"ps": {"mrenclave": ["01" * 32]}}}}
    assert "SIMULATED: proves nothing" in text


def test_snp_gets_the_launch_digest_if_the_firmware_is_known() -> None:
    known = trust_tables(replace(MEASURED, launch=b"\2" * 48), PS, "snp")
    table = {"trust": {"roles": {"ps": {"snp": {"launch_measurement": ["02" * 48]}}}}}
    assert tomllib.loads(known) == table
    unknown = trust_tables(MEASURED, PS, "snp")
    assert tomllib.loads(unknown) == {"trust": {"roles": {"ps": {"snp": {}}}}}
    assert "# launch_measurement: give the firmware with --ovmf" in unknown


def test_a_simulated_snp_guest_gets_its_program_in_the_length_of_a_launch_digest() -> None:
    text = trust_tables(MEASURED, PS, "simulated-snp")
    measured = tomllib.loads(text)["trust"]["roles"]["ps"]["snp"]["launch_measurement"]
    assert measured == ["01" * 32 + "00" * 16]
    assert "SIMULATED: proves nothing" in text


@pytest.mark.parametrize(
    ("tee", "below"),
    [
        ("azure-snp", "# [trust.roles.ps.snp]: of the paravisor"),
        ("azure-tdx", "# mrtd, rtmr0 to rtmr3, ... of [trust.roles.ps]: of the paravisor"),
    ],
)
def test_a_guest_of_azure_gets_its_pcrs_and_a_note_of_the_paravisor(
    tee: TeeKind, below: str
) -> None:
    text = trust_tables(MEASURED, PS, tee)
    said = tomllib.loads(text)["trust"]["roles"]["ps"]["vtpm"]
    pcrs = {str(pcr): [f"{pcr:02x}" * 32] for pcr in (4, 9, 11, 12, 13)}
    assert said == {"secure_boot": [False], "pcrs": pcrs}
    assert below in text
    read = VtpmTrust.model_validate(said)
    assert (read.numbers, read.missing()) == ((4, 9, 11, 12, 13), "console")


@pytest.mark.parametrize("tee", ["simulated-azure-snp", "simulated-azure-tdx"])
def test_a_simulated_guest_of_azure_gets_its_program_as_its_simulated_tpm_has_it(
    tee: TeeKind,
) -> None:
    text = trust_tables(MEASURED, PS, tee)
    expected = hashlib.sha256(bytes(32) + MEASURED.program).hexdigest()
    assert tomllib.loads(text)["trust"]["roles"]["ps"]["vtpm"] == {"pcrs": {"11": [expected]}}
    assert "SIMULATED: proves nothing" in text


def test_a_kind_among_several_gets_the_table_that_names_it() -> None:
    mixed = parse_contract(TEXT.encode(), "t")
    first = list(table_names(mixed, "worker", "simulated-snp"))
    second = list(table_names(mixed, "worker", "simulated-azure-snp"))
    assert first == ["trust.roles.worker", "trust.roles.chief"]
    assert second == ["trust.roles.worker.alternatives", "trust.roles.chief"]
    assert list(table_names(mixed, "ps", "simulated")) == ["trust.roles.ps"]
    assert list(table_names(mixed, "ps", "snp")) == []


@pytest.mark.parametrize(
    ("tee", "path"),
    [("tdx", "rtmr1"), ("snp", "snp"), ("azure-snp", "vtpm"), ("azure-tdx", "vtpm")],
)
def test_a_table_among_several_names_its_kind(tee: TeeKind, path: str) -> None:
    measured = replace(MEASURED, launch=b"\2" * 48)
    said = tomllib.loads(trust_tables(measured, ("trust.roles.ps.alternatives",), tee))
    (table,) = said["trust"]["roles"]["ps"]["alternatives"]
    alone = tomllib.loads(trust_tables(measured, PS, tee))["trust"]["roles"]["ps"]
    assert table == {"tee": tee, **alone}
    assert table[path]


def test_pcrs_are_told_except_those_that_clouds_write_anew() -> None:
    lines = [line for line in trust_tables(MEASURED, PS, "tdx").splitlines() if "PCR" in line]
    assert lines == [f'# SHA-256 PCR {pcr}: "{f"{pcr:02x}" * 32}"' for pcr in (4, 9, 11, 12, 13)]


def test_an_image_is_for_one_kind_of_tee() -> None:
    mixed = parse_contract(TEXT.encode(), "t")
    assert kind_of(mixed, "ps") == "simulated"
    for kind in ("simulated-snp", "simulated-azure-snp"):
        assert kind_of(mixed, "worker", kind) == kind
    with pytest.raises(ContractInvalid, match="several kinds") as refusal:
        kind_of(mixed, "worker")
    assert refusal.value.seen == "simulated-azure-snp, simulated-snp"
    with pytest.raises(ContractInvalid, match="no node that runs the image ps") as refusal:
        kind_of(mixed, "ps", "simulated-snp")
    assert (refusal.value.expected, refusal.value.seen) == ("simulated", "simulated-snp")
