"""The contract's demand of a launch endorsement: beside the reference values, and only for guests that have one."""

from __future__ import annotations

import pytest

from coterie.contract import Contract, canonical_json, parse_contract
from coterie.contract.endorsement_trust import SIMULATED_PUBLISHER
from coterie.contract.terms import changes_between
from coterie.errors import ContractInvalid
from tests.contract.mixed import SNP

GOOGLES = "1c" * 32
REGISTERS = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
TDX = SNP.replace(
    SNP[SNP.index("[trust.roles.ps]") : SNP.index("[trust.roles.worker]")],
    f"""[trust.roles.ps]
tee = "tdx"
accepted_tcb_statuses = ["UpToDate"]
minimum_tcb_evaluation_number = 17
td_attributes = ["{"01" * 8}"]
xfam = ["{"02" * 8}"]
"""
    + "".join(f'{name} = ["{"33" * 48}"]\n' for name in REGISTERS),
)


def demanded(text: str, section: str) -> Contract:
    table = f"[trust.roles.ps.endorsement]\n{section}\n[trust.roles.worker]"
    return parse_contract(text.replace("[trust.roles.worker]", table).encode(), "test")


def test_a_contract_without_it_has_the_digest_that_it_had() -> None:
    assert b"endorsement" not in canonical_json(parse_contract(SNP.encode(), "test"))


def test_to_demand_less_is_told_as_looser() -> None:
    without = parse_contract(SNP.encode(), "test")
    strict = demanded(SNP, f'roots = ["{GOOGLES}"]\nminimum_svn = 3\nvcpus = [4]')
    for old, new, effect in ((without, strict, "tighter"), (strict, without, "looser")):
        found = {one.key.rpartition(".")[2]: one.effect for one in changes_between(old, new)}
        assert (found["roots"], found["minimum_svn"], found["vcpus"]) == (effect,) * 3


@pytest.mark.parametrize(
    ("section", "key", "effect"),
    [
        (f'roots = ["{GOOGLES}", "{"2c" * 32}"]', "roots", "looser"),
        (f'roots = ["{GOOGLES}"]\nminimum_svn = 1', "minimum_svn", "tighter"),
        (f'roots = ["{GOOGLES}"]\nvcpus = [4]', "vcpus", "tighter"),
        (f'roots = ["{GOOGLES}"]\ncommits = ["{"ab" * 20}"]', "commits", "tighter"),
        (f'roots = ["{GOOGLES}"]\nchangelists = [1]', "changelists", "tighter"),
        (f'roots = ["{GOOGLES}"]\nissued_from = "2026-01-31T12:00:00Z"', "issued_from", "tighter"),
    ],
)
def test_changes_of_a_demand_are_told_with_their_direction(
    section: str, key: str, effect: str
) -> None:
    (change,) = changes_between(demanded(SNP, f'roots = ["{GOOGLES}"]'), demanded(SNP, section))
    assert (change.key, change.effect) == (f"trust.roles.ps.endorsement.{key}", effect)


@pytest.mark.parametrize(("text", "size"), [(SNP, "vcpus = [2, 4]"), (TDX, "ram_gib = [16]")])
def test_all_keys_fit_together(text: str, size: str) -> None:
    section = f"""roots = ["{GOOGLES}"]
issued_from = "2026-01-31T12:00:00Z"
minimum_svn = 4
changelists = [1]
commits = ["{"ab" * 20}"]
{size}"""
    table = demanded(text, section).trust.roles.ps
    assert table is not None
    assert table.endorsement is not None
    assert table.endorsement.minimum_svn == 4


@pytest.mark.parametrize(
    ("text", "section", "seen"),
    [
        (SNP, "", "endorsement.roots is empty: nothing would be accepted"),
        (
            SNP,
            f'roots = ["{GOOGLES}", "{SIMULATED_PUBLISHER}"]',
            "endorsement.roots: simulated TEEs have the simulated publisher, and no real one has it",
        ),
        (
            SNP.replace('"snp"', '"azure-snp"'),
            f'roots = ["{GOOGLES}"]',
            "endorsement is for guests in TDX or SEV-SNP, and the role runs in azure-snp",
        ),
        (
            SNP,
            f'roots = ["{GOOGLES}"]\nram_gib = [16]',
            "endorsement.ram_gib means nothing for snp",
        ),
        (TDX, f'roots = ["{GOOGLES}"]\nvcpus = [4]', "endorsement.vcpus means nothing for tdx"),
    ],
)
def test_what_has_no_meaning_is_refused(text: str, section: str, seen: str) -> None:
    with pytest.raises(ContractInvalid) as refused:
        demanded(text, section)
    assert seen in str(refused.value)


def test_a_simulated_guest_has_the_simulated_publisher_only() -> None:
    text = (
        TDX[: TDX.index("[trust]")]
        + """[trust]
tee = "simulated-snp"
[trust.roles.ps]
measurement = "own"
[trust.roles.worker]
measurement = "own"
"""
    )
    demanded(text, f'roots = ["{SIMULATED_PUBLISHER}"]')
    with pytest.raises(ContractInvalid) as refused:
        demanded(text, f'roots = ["{GOOGLES}"]')
    assert "simulated TEEs have the simulated publisher" in str(refused.value)


def test_a_launcher_is_for_guests_in_tdx() -> None:
    line = 'launcher = "confidential-space"\n[trust.roles.worker]'
    table = parse_contract(TDX.replace("[trust.roles.worker]", line).encode(), "test")
    assert table.trust.roles.ps is not None
    assert table.trust.roles.ps.launcher == "confidential-space"
    with pytest.raises(ContractInvalid) as refused:
        parse_contract(SNP.replace('tee = "snp"\n', f'tee = "snp"\n{line[:31]}\n').encode(), "test")
    assert "trust.roles.ps.launcher is for guests in TDX" in str(refused.value)


@pytest.mark.parametrize("name", ["mrtd", "launch_measurement"])
def test_it_replaces_no_reference_value(name: str) -> None:
    text = "".join(
        line
        for line in (SNP if name == "launch_measurement" else TDX).splitlines(keepends=True)
        if not line.startswith(name)
    )
    with pytest.raises(ContractInvalid) as refused:
        demanded(text, f'roots = ["{GOOGLES}"]')
    assert f"{name} is missing" in str(refused.value)
