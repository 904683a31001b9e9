"""The contract's tables for Azure's guests: the guest's PCRs and the paravisor below, nothing by default."""

from __future__ import annotations

import pytest

from coterie.contract import canonical_json, contract_digest, contract_from_json, parse_contract
from coterie.contract.terms import changes_between
from coterie.errors import ContractInvalid
from tests.contract.mixed import SNP, contract

PCRS = f"""
4 = ["{"04" * 32}"]
11 = ["{"11" * 32}", "{"12" * 32}"]
"""
VTPM = f"""
[trust.roles.ps.vtpm]
secure_boot = [true]
console = [false]
[trust.roles.ps.vtpm.pcrs]
{PCRS}
"""
AZURE_SNP = SNP.replace('tee = "snp"', 'tee = "azure-snp"') + VTPM
TDX = "".join(
    f'{name} = ["{"00" * size}"]\n'
    for name, size in (
        *((one, 48) for one in ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")),
        *((one, 8) for one in ("td_attributes", "xfam")),
    )
)
DCAP = 'accepted_tcb_statuses = ["UpToDate"]\nminimum_tcb_evaluation_number = 17\n'
HEAD, _, REST = SNP.partition("[trust.roles.ps]")
AZURE_TDX = (
    f'{HEAD}[trust.roles.ps]\ntee = "azure-tdx"\n{TDX}{DCAP}{VTPM}'
    + REST[REST.index("[trust.roles.worker]") :]
)
SIMULATED = contract(
    "simulated-azure-snp",
    """[trust.roles.ps]
measurement = "own"
[trust.roles.worker]
tee = "simulated-azure-tdx"
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
""",
)


def test_roles_run_above_the_hardware_that_the_contract_gives_them() -> None:
    snp, tdx, simulated = (
        parse_contract(text.encode(), "t") for text in (AZURE_SNP, AZURE_TDX, SIMULATED)
    )
    assert [snp.kind_of(node) for node in snp.nodes] == ["azure-snp", "sgx", "sgx"]
    assert snp.trust.stamp == "mixed"
    server = tdx.node("ps")
    assert tdx.kind_of(server) == "azure-tdx"
    table = tdx.table_of(server)
    assert table.vtpm is not None
    assert table.vtpm.numbers == (4, 11)
    assert simulated.trust.kinds == {"simulated-azure-snp", "simulated-azure-tdx"}
    assert simulated.trust.stamp == "SIMULATED"
    assert not simulated.trust.signatures_demanded


@pytest.mark.parametrize("kind", ["azure-snp", "azure-tdx"])
def test_the_stamp_names_the_kind(kind: str) -> None:
    text = AZURE_SNP if kind == "azure-snp" else AZURE_TDX
    worker = text[text.index("[trust.roles.worker]") :]
    worker = worker.partition("[trust.roles.ps")[0]
    same = text[text.index("[trust.roles.ps]") :].replace("roles.ps", "roles.worker")
    same = same.replace(worker, "")
    trust = parse_contract((text.replace(worker, "") + same).encode(), "t").trust
    assert trust.stamp == kind


REFUSED = [
    (AZURE_SNP, (PCRS, ""), "vtpm.pcrs is missing"),
    (AZURE_SNP, (f'4 = ["{"04" * 32}"]', "4 = []"), "vtpm.pcrs.4 is missing"),
    (AZURE_SNP, ("secure_boot = [true]", ""), "vtpm.secure_boot is missing"),
    (AZURE_SNP, ("console = [false]", ""), "vtpm.console is missing"),
    (AZURE_SNP, (VTPM, ""), "vtpm.pcrs is missing"),
    (AZURE_SNP, ("4 = [", "24 = ["), "pcrs"),
    (AZURE_SNP, ("4 = [", "04 = ["), "pcrs"),
    (AZURE_SNP, ('4 = ["04', '4 = ["'), "pcrs"),
    (AZURE_SNP, ("secure_boot = [true]", 'secure_boot = ["yes"]'), "secure_boot"),
    (AZURE_SNP, ("console = [false]", "console = false"), "console"),
    (AZURE_SNP, ('"azure-snp"', '"snp"'), "vtpm is for Azure's guests"),
    (AZURE_SNP, ('"azure-snp"', '"sgx"'), "vtpm is for Azure's guests"),
    (AZURE_SNP, (f'launch_measurement = ["{"33" * 48}"]', ""), "snp.launch_measurement is missing"),
    (AZURE_SNP, ("vmpl = [0]", ""), "snp.vmpl is missing"),
    (AZURE_SNP, ('"azure-snp"', '"azure-snp"\nmeasurement = "own"'), "simulated TEEs only"),
    (AZURE_SNP, ('"azure-snp"', '"azure-snp"\nmrtd = []\nrefuse_smt = true'), "refuse_smt means nothing"),
    (AZURE_SNP, ('"azure-snp"', '"simulated-azure-snp"'), "simulated and real never mix"),
    *(
        (AZURE_TDX, (line, ""), f"ps.{line.partition(' ')[0]} is missing: a TDX reference value")
        for line in TDX.splitlines()
    ),
    (AZURE_TDX, (VTPM, ""), "vtpm.pcrs is missing"),
    (AZURE_TDX, ('accepted_tcb_statuses = ["UpToDate"]', ""), "accepted_tcb_statuses is empty"),
    (AZURE_TDX, ("minimum_tcb_evaluation_number = 17", ""), "minimum_tcb_evaluation_number is missing"),
    (AZURE_TDX, ('"azure-tdx"', '"azure-tdx"\nmeasurement = "own"'), "simulated TEEs only"),
    (AZURE_TDX, ('"azure-tdx"', '"azure-tdx"\nsnp = {vmpl = [0]}'), "ps.snp is for SEV-SNP"),
    (SIMULATED, ('measurement = "own"\n', ""), 'needs measurement = "own" or vtpm.pcrs'),
    (SIMULATED, ('accepted_tcb_statuses = ["UpToDate"]', ""), "accepted_tcb_statuses is empty"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "edit", "said"), REFUSED, ids=[f"{row[1][0][:20]}: {row[2]}" for row in REFUSED]
)
def test_a_table_that_leaves_something_open_is_refused(
    text: str, edit: tuple[str, str], said: str
) -> None:
    assert edit[0] in text
    with pytest.raises(ContractInvalid) as refusal:
        parse_contract(text.replace(*edit, 1).encode(), "t")
    assert said in f"{refusal.value}"


def test_the_digest_counts_what_is_there_and_no_defaults() -> None:
    contract = parse_contract(AZURE_SNP.encode(), "t")
    again = contract_from_json(canonical_json(contract), "peer")
    assert canonical_json(again) == canonical_json(contract)
    other = parse_contract(AZURE_SNP.replace("12" * 32, "13" * 32).encode(), "t")
    assert contract_digest(other) != contract_digest(contract)
    assert b'"vtpm"' not in canonical_json(parse_contract(SNP.encode(), "t"))


CHANGES = [
    ((f'4 = ["{"04" * 32}"]', f'4 = ["{"04" * 32}", "{"05" * 32}"]'), "looser"),
    ((f'4 = ["{"04" * 32}"]', f'4 = ["{"05" * 32}"]'), "looser"),
    ((f'4 = ["{"04" * 32}"]', ""), "looser"),
    ((f', "{"12" * 32}"', ""), "tighter"),
    ((PCRS, f'{PCRS}7 = ["{"07" * 32}"]'), "tighter"),
    ((PCRS, f'4 = ["{"04" * 32}", "{"05" * 32}"]\n11 = ["{"11" * 32}"]\n'), "looser"),
    (("secure_boot = [true]", "secure_boot = [true, false]"), "looser"),
    (("console = [false]", "console = [true]"), "looser"),
]


@pytest.mark.parametrize(("edit", "effect"), CHANGES)
def test_changes_are_told_by_what_they_let_in(edit: tuple[str, str], effect: str) -> None:
    assert edit[0] in AZURE_SNP
    old, new = (
        parse_contract(text.encode(), "t") for text in (AZURE_SNP, AZURE_SNP.replace(*edit, 1))
    )
    assert [change.effect for change in changes_between(old, new)] == [effect]
