"""Several kinds of TEE for one role: every node of it names its own, and nothing else is accepted."""

from __future__ import annotations

import pytest

from coterie.contract import (
    Contract,
    canonical_json,
    contract_digest,
    contract_from_json,
    parse_contract,
)
from coterie.contract.digest import differences
from coterie.contract.terms import changes_between, terms_of
from coterie.errors import ContractInvalid
from tests.contract.mixed import FLOORS, SNP, TABLE, contract

W1 = '{name = "w1", role = "worker", party = "a"}'
W2 = '{name = "w2", role = "worker", party = "b"}'


def named(text: str, first: str, second: str) -> str:
    """The contract with the kinds of its workers."""
    for node, kind in ((W1, first), (W2, second)):
        assert text.count(node) == 1
        text = text.replace(node, f'{node[:-1]}, tee = "{kind}"}}')
    return text


AZURE = """
[[trust.roles.worker.alternatives]]
tee = "simulated-azure-snp"
measurement = "own"
[trust.roles.worker.alternatives.vtpm]
secure_boot = [true]
[trust.roles.worker.alternatives.vtpm.pcrs]
7 = ["0000000000000000000000000000000000000000000000000000000000000000"]
"""
SERVER = """[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""
OF_SNP = """[trust.roles.worker]
tee = "simulated-snp"
measurement = "own"
[trust.roles.worker.snp]
vmpl = [0]
"""
UNNAMED = contract("simulated", SERVER + OF_SNP + AZURE)
TEXT = named(UNNAMED, "simulated-snp", "simulated-azure-snp")
GUEST = f"""
[[trust.roles.worker.alternatives]]
tee = "snp"
[trust.roles.worker.alternatives.snp]
{TABLE}
[trust.roles.worker.alternatives.snp.minimum_tcb]
{FLOORS}
"""
REAL = named(SNP + GUEST, "snp", "sgx")


def parse(text: str) -> Contract:
    return parse_contract(text.encode(), "t")


@pytest.mark.parametrize(
    ("text", "kinds", "stamp"),
    [
        (TEXT, ["simulated", "simulated-snp", "simulated-azure-snp"], "SIMULATED"),
        (REAL, ["snp", "snp", "sgx"], "mixed"),
    ],
)
def test_nodes_of_one_role_run_in_the_kinds_that_they_name(
    text: str, kinds: list[str], stamp: str
) -> None:
    agreed = parse(text)
    assert [agreed.kind_of(node) for node in agreed.nodes] == kinds
    assert agreed.trust.kinds == set(kinds)
    assert agreed.trust.stamp == stamp


def test_a_node_is_judged_by_the_table_of_its_kind() -> None:
    agreed = parse(TEXT)
    first, second = (agreed.table_of(agreed.node(name)) for name in ("w1", "w2"))
    assert first.snp is not None
    assert first.snp.vmpl == (0,)
    assert first.vtpm is None
    assert second.snp is None
    assert second.vtpm is not None
    assert second.vtpm.numbers == (7,)


def test_a_node_may_name_the_only_kind_of_its_role() -> None:
    agreed = parse(named(SNP, "sgx", "sgx"))
    assert [agreed.kind_of(node) for node in agreed.by_role("worker")] == ["sgx", "sgx"]
    assert contract_digest(agreed) != contract_digest(parse(SNP))


SECOND = AZURE.replace("simulated-azure-snp", "simulated-snp")
SECOND = SECOND[: SECOND.index("[trust.roles.worker.alternatives.vtpm]")]
NESTED = 'alternatives = [{tee = "simulated"}]\n'
REFUSED = [
    (UNNAMED, "", "", "node w1 names no tee, and trust.roles.worker lists several: name simulated-snp or simulated-azure-snp"),
    (named(UNNAMED, "simulated-snp", "simulated-azure-tdx"), "", "", "node w2 names tee 'simulated-azure-tdx', which trust.roles.worker does not list: name simulated-snp or simulated-azure-snp"),
    (named(UNNAMED, "simulated", "simulated-snp"), "", "", "node w1 names tee 'simulated', which trust.roles.worker does not list"),
    (named(SNP, "snp", "sgx"), "", "", "node w1 names tee 'snp', which trust.roles.worker does not list: name sgx"),
    (TEXT, 'party = "a", address', 'party = "a", tee = "simulated-snp", address', "node ps names tee 'simulated-snp', which trust.roles.ps does not list: name simulated"),
    (TEXT, 'tee = "simulated-azure-snp"\n', "", "trust.roles.worker.alternatives[0].tee is missing"),
    (TEXT, 'tee = "simulated-azure-snp"\n', f'tee = "simulated-azure-snp"\n{NESTED}', "trust.roles.worker.alternatives[0] has alternatives itself"),
    (TEXT + SECOND, "", "", "trust.roles.worker.alternatives[1] is a second table for simulated-snp"),
    (TEXT + AZURE, "", "", "trust.roles.worker.alternatives[1] is a second table for simulated-azure-snp"),
    (TEXT, 'tee = "simulated-azure-snp"\n', 'tee = "azure-snp"\n', "trust.roles.worker.alternatives[0].tee = 'azure-snp' under trust.tee = 'simulated'"),
    (TEXT, 'tee = "simulated-azure-snp"\n', 'tee = "simulated"\n', "alternatives[0].vtpm is for Azure's guests"),
    (TEXT, 'tee = "simulated-azure-snp"\n', 'tee = "simulated-azure-tdx"\n', "alternatives[0].accepted_tcb_statuses is empty"),
    (REAL, "[trust.roles.worker.alternatives.snp]\n\n", "[trust.roles.worker.alternatives.snp]\n#", "alternatives[0].snp.launch_measurement is missing"),
    (REAL, 'tee = "snp"\n[trust.roles.worker', 'tee = "snp"\nmeasurement = "own"\n[trust.roles.worker', "alternatives[0].measurement = \"own\" is for simulated TEEs only"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "old", "new", "said"), REFUSED, ids=[row[3] for row in REFUSED])
def test_what_leaves_a_kind_open_is_refused(text: str, old: str, new: str, said: str) -> None:
    assert old in text
    with pytest.raises(ContractInvalid) as refusal:
        parse(text.replace(old, new, 1) if old else text)
    assert said in f"{refusal.value}"


@pytest.mark.parametrize("depth", [1, 200, 300, 600])
def test_a_peers_contract_with_tables_in_tables_is_refused(depth: int) -> None:
    """However deep they are: the schema, its reader or JSON's ends it, each with an error."""
    inner = b'{"tee":"simulated"}'
    for _ in range(depth):
        inner = b'{"tee":"simulated","alternatives":[' + inner + b"]}"
    text = canonical_json(parse(TEXT))
    before = b'"alternatives":['
    assert text.count(before) == 1
    with pytest.raises(ContractInvalid):
        contract_from_json(text.replace(before, before + inner + b","), "peer")


def test_the_digest_counts_tables_and_nodes_and_no_defaults() -> None:
    agreed = parse(TEXT)
    again = contract_from_json(canonical_json(agreed), "peer")
    assert canonical_json(again) == canonical_json(agreed)
    for old, new in (
        ("secure_boot = [true]", ""),
        ('b", tee = "simulated-azure-snp"', 'b", tee = "simulated-snp"'),
    ):
        assert old in TEXT
        assert contract_digest(parse(TEXT.replace(old, new))) != contract_digest(agreed)
    assert b"alternatives" not in canonical_json(parse(SNP))


def test_a_difference_names_the_kind() -> None:
    mine, theirs = (
        canonical_json(parse(text)) for text in (TEXT, TEXT.replace("[true]", "[false]"))
    )
    assert differences(mine, theirs) == [
        "trust.roles.worker.alternatives[simulated-azure-snp].vtpm.secure_boot[0]: true here, false there"
    ]


def test_terms_are_shown_by_kind() -> None:
    keys = {term.key for term in terms_of(parse(TEXT))}
    assert "trust.roles.worker.alternatives[simulated-azure-snp].vtpm.pcrs" in keys
    assert "nodes[w1].tee" in keys


AT = "trust.roles.worker.alternatives[simulated-azure-snp]"
CHANGES = [
    (TEXT.replace(AZURE, "").replace("simulated-azure-snp", "simulated-snp"), TEXT, {AT: "looser", "nodes[w2].tee": "other"}),
    (TEXT, TEXT.replace("[true]", "[true, false]"), {f"{AT}.vtpm.secure_boot": "looser"}),
    (TEXT, TEXT.replace("7 = [", "8 = ["), {f"{AT}.vtpm.pcrs": "looser"}),
    (TEXT, TEXT.replace('b", tee = "simulated-azure-snp"', 'b", tee = "simulated-snp"'), {"nodes[w2].tee": "other"}),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "told"), CHANGES)
def test_a_change_is_told_with_its_effect(before: str, after: str, told: dict[str, str]) -> None:
    changes = changes_between(parse(before), parse(after))
    assert {change.key: change.effect for change in changes} == told
    assert {change.group for change in changes} == {"trust"}
    assert all(change.meaning for change in changes)


def test_a_kind_less_is_tighter() -> None:
    less = TEXT.replace(AZURE, "").replace("simulated-azure-snp", "simulated-snp")
    changes = changes_between(parse(TEXT), parse(less))
    assert {change.key: change.effect for change in changes} == {
        AT: "tighter",
        "nodes[w2].tee": "other",
    }
