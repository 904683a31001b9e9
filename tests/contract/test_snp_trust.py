"""The contract's tables for SEV-SNP: nothing by default, and no mixture of simulated and real."""

from __future__ import annotations

import pytest

from coterie.contract import canonical_json, contract_digest, contract_from_json, parse_contract
from coterie.contract.terms import changes_between
from coterie.errors import ContractInvalid
from tests.contract.mixed import FLOORS, SNP, contract

SIMULATED = contract(
    "simulated",
    """[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
[trust.roles.worker]
tee = "simulated-snp"
measurement = "own"
""",
)


def parse(text: str) -> object:
    return parse_contract(text.encode(), "t")


def test_roles_run_in_the_kinds_that_the_contract_gives_them() -> None:
    agreed = parse_contract(SNP.encode(), "t")
    assert [agreed.kind_of(node) for node in agreed.nodes] == ["snp", "sgx", "sgx"]
    trust = agreed.trust
    assert trust.kinds == {"snp", "sgx"}
    assert (trust.stamp, trust.simulated, trust.signatures_demanded) == ("mixed", False, True)
    simulated = parse_contract(SIMULATED.encode(), "t").trust
    assert simulated.kinds == {"simulated", "simulated-snp"}
    assert (simulated.stamp, simulated.checkpoints_sealed) == ("SIMULATED", False)


def line(name: str) -> str:
    """A line of the contract, whole."""
    return next(one for one in SNP.splitlines() if one.startswith(f"{name} ="))


REFUSED = [
    *(((line(key), ""), f"snp.{key} is missing") for key in ("launch_measurement", "guest_policy", "vmpl", "signing_key", "csp_id")),
    ((f"[trust.roles.ps.snp.minimum_tcb]\n{FLOORS}", ""), "snp.minimum_tcb is missing"),
    ((FLOORS, "milan = { bootloader = 4, tee = 0, snp = 22 }"), "microcode"),
    ((FLOORS, "turin = { bootloader = 1, tee = 1, snp = 4, microcode = 71 }"), "fmc"),
    ((FLOORS, "milan = { fmc = 1, bootloader = 4, tee = 0, snp = 22, microcode = 213 }"), "fmc"),
    ((FLOORS, "rome = { bootloader = 4, tee = 0, snp = 22, microcode = 213 }"), "rome"),
    (("snp = 22", "snp = 256"), "snp"),
    (("vmpl = [0]", "vmpl = [4]"), "vmpl"),
    (('["vcek", "vlek"]', '["none"]'), "signing_key"),
    (('"1.55.22"', '"1.55"'), "minimum_firmware"),
    (('"smt_disabled"', '"smt"'), "required_platform"),
    (('guest_policy = ["0', 'guest_policy = ["'), "guest_policy"),
    (('tee = "snp"', 'tee = "sgx"\naccepted_tcb_statuses = ["UpToDate"]'), "trust.roles.ps.snp is for SEV-SNP"),
    (('tee = "snp"', 'tee = "snp"\naccepted_tcb_statuses = ["UpToDate"]'), "accepted_tcb_statuses means nothing for SEV-SNP"),
    (('tee = "snp"', 'tee = "snp"\nrefuse_smt = true'), "refuse_smt means nothing for SEV-SNP"),
    (('tee = "snp"', 'tee = "snp"\nmeasurement = "own"'), "simulated TEEs only"),
    (('tee = "snp"', 'tee = "simulated-snp"'), "simulated and real never mix"),
    (('tee = "sgx"', 'tee = "simulated"'), "simulated and real never mix"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "said"), REFUSED, ids=[row[1] for row in REFUSED])
def test_a_table_that_leaves_something_open_is_refused(edit: tuple[str, str], said: str) -> None:
    assert edit[0] in SNP
    with pytest.raises(ContractInvalid) as refusal:
        parse(SNP.replace(*edit, 1))
    assert said in f"{refusal.value}"


def test_a_simulated_guest_needs_a_measurement() -> None:
    with pytest.raises(ContractInvalid, match=r"snp\.launch_measurement"):
        parse(SIMULATED.replace('"simulated-snp"\nmeasurement = "own"', '"simulated-snp"'))


def test_the_digest_counts_what_is_there_and_no_defaults() -> None:
    contract = parse_contract(SNP.encode(), "t")
    again = contract_from_json(canonical_json(contract), "peer")
    assert canonical_json(again) == canonical_json(contract)
    other = parse_contract(SNP.replace("snp = 22", "snp = 23").encode(), "t")
    assert contract_digest(other) != contract_digest(contract)
    text = canonical_json(parse_contract(SIMULATED.encode(), "t"))
    assert b'"snp"' not in text
    assert text.count(b'"tee"') == 2


CHANGES = [
    (("snp = 22", "snp = 21"), "trust.roles.ps.snp.minimum_tcb.milan.snp", "looser"),
    (("microcode = 213", "microcode = 214"), "trust.roles.ps.snp.minimum_tcb.milan.microcode", "tighter"),
    (("tee = 0,", "tee = 1,"), "trust.roles.ps.snp.minimum_tcb.milan.tee", "tighter"),
    (("svn = 2", "svn = 1"), "trust.roles.ps.snp.minimum_guest_svn", "looser"),
    (("vmpl = [0]", "vmpl = [0, 1]"), "trust.roles.ps.snp.vmpl", "looser"),
    (('"1.55.22"', '"1.55.9"'), "trust.roles.ps.snp.minimum_firmware", "looser"),
    (('"1.55.22"', '"1.55.100"'), "trust.roles.ps.snp.minimum_firmware", "tighter"),
    ((', "smt_disabled"', ""), "trust.roles.ps.snp.required_platform", "looser"),
    ((f'chip_id = ["{"49" * 64}"]', ""), "trust.roles.ps.snp.chip_id", "looser"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "key", "effect"), CHANGES, ids=[row[1] for row in CHANGES])
def test_a_change_is_told_with_its_effect(edit: tuple[str, str], key: str, effect: str) -> None:
    old, new = (parse_contract(text.encode(), "t") for text in (SNP, SNP.replace(*edit, 1)))
    (change,) = changes_between(old, new)
    assert (change.key, change.effect, change.group) == (key, effect, "trust")
    assert change.meaning


def test_a_product_line_more_is_looser() -> None:
    more = FLOORS + "genoa = { bootloader = 9, tee = 0, snp = 21, microcode = 72 }\n"
    old, new = (parse_contract(text.encode(), "t") for text in (SNP, SNP.replace(FLOORS, more)))
    changes = changes_between(old, new)
    assert {change.effect for change in changes} <= {"looser", "other"}
    assert {change.effect for change in changes_between(new, old)} <= {"tighter", "other"}
