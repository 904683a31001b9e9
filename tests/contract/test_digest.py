"""The digest: the same for what means the same, another one for everything else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from coterie.contract import (
    Contract,
    canonical_json,
    contract_digest,
    contract_from_json,
    data_digest,
    differences,
    parse_contract,
)
from coterie.contract.section import Section
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
TEXT = (EXAMPLES / "hfl.toml").read_text()
CONTRACT = parse_contract(TEXT.encode(), "hfl.toml")

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
Leaf = tuple[str | int, ...]


def tree(contract: Contract) -> Json:
    value: Json = json.loads(canonical_json(contract))
    return value


def leaves(value: Json, path: Leaf = ()) -> Iterator[tuple[Leaf, Json]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for i, item in enumerate(value):
            yield from leaves(item, (*path, i))
    else:
        yield path, value


def flipped(value: Json, path: Leaf, new: Json) -> Json:
    if not path:
        return new
    if isinstance(value, dict) and isinstance(path[0], str):
        return {**value, path[0]: flipped(value[path[0]], path[1:], new)}
    if isinstance(value, list) and isinstance(path[0], int):
        changed = list(value)
        changed[path[0]] = flipped(value[path[0]], path[1:], new)
        return changed
    raise AssertionError(path)


def another(value: Json) -> Json:
    """Another value of the same kind; whether the schema allows it does not matter here."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return ["00"]
    if isinstance(value, dict):
        return {"C1": 7}
    return "00"


def built_without_checks(value: Json) -> Contract:
    """A contract object of values that the schema might refuse, to test the digest alone."""
    assert isinstance(value, dict)
    contract = parse_contract(TEXT.encode(), "hfl.toml")

    def sections(old: object, new: Json) -> object:
        if isinstance(old, BaseModel) and isinstance(new, dict):
            update = {key: sections(getattr(old, key), item) for key, item in new.items()}
            return BaseModel.model_copy(old, update=update)
        if isinstance(old, tuple) and isinstance(new, list) and len(old) == len(new):
            return tuple(sections(a, b) for a, b in zip(old, new, strict=True))
        return tuple(new) if isinstance(new, list) else new

    built = sections(contract, value)
    assert isinstance(built, Contract)
    return built


def test_every_section_has_leaves_to_flip() -> None:
    paths = [path for path, _ in leaves(tree(CONTRACT))]
    assert {path[0] for path in paths} == set(Contract.model_fields) - {"tensorflow", "start"}
    assert len(paths) > 100


# pydantic warns of values that the schema does not know: these are meant.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_value_changes_the_digest_and_is_named() -> None:
    """One test for all values: alone each takes less time than to be a test."""
    value = tree(CONTRACT)
    for path, old in leaves(value):
        other = built_without_checks(flipped(value, path, another(old)))
        assert contract_digest(other) != contract_digest(CONTRACT), path
        changed = data_digest(other.data) != data_digest(CONTRACT.data)
        assert changed == (path[0] == "data"), path
        lines = differences(canonical_json(CONTRACT), canonical_json(other))
        key = [part for part in path if isinstance(part, str)][-1]
        assert lines, path
        if key != "name" or len(path) == 1:
            assert len(lines) == 1, path
        for line in lines:  # another name makes another item: all of its values differ
            assert key in line or key == "name", path
            assert " here, " in line
            assert line.endswith(" there")


@given(st.randoms(use_true_random=False))
def test_key_order_comments_spaces_and_addresses_do_not_change_the_digest(random: Random) -> None:
    blocks = TEXT.split("\n\n")
    head, tables = blocks[0], blocks[1:]
    lines = [line for line in head.split("\n") if not line.startswith("#")]
    random.shuffle(lines)
    shuffled = ["\n".join(lines)]
    single = [block for block in tables if not block.startswith("[[")]
    random.shuffle(single)
    for block in [block for block in tables if block.startswith("[[")] + single:
        title, *rest = block.strip().split("\n")
        random.shuffle(rest)
        rest = [line.replace(" = ", random.choice(["=", " =  ", "\t=\t"])) for line in rest]
        shuffled.append("\n".join([f"{title} # {random.random()}", *rest, ""]))
    address = f"host-{random.randrange(99)}:{random.randrange(65_535)}"
    text = "\n\n".join(shuffled).replace("127.0.0.1:7440", address)
    other = parse_contract(text.encode(), "shuffled")
    assert contract_digest(other) == contract_digest(CONTRACT)
    assert differences(canonical_json(CONTRACT), canonical_json(other)) == []


@pytest.mark.parametrize(
    ("section", "spelled", "as_if"),
    [
        ("[training]", "threads = 1", ""),
        ("[data]", "row_limit = 14\nnumeric = ['I1']", "numeric = ['I1']\nrow_limit = 14"),
        ("[data]", "column_rows = {C1 = 2, C2 = 3}", "column_rows = {C2 = 3, C1 = 2}"),
        ("[trust]", "[enclave]\n[trust]", ""),
        (
            "[trust]",
            "[limits]\nstep_seconds = 60\n[trust]",
            "[limits]\nstep_seconds = 6e1\n[trust]",
        ),
    ],
)
def test_what_means_the_same_has_the_same_digest(section: str, spelled: str, as_if: str) -> None:
    digests = set()
    for lines in (spelled, as_if):
        new = lines if section in lines else f"{section}\n{lines}"
        digests.add(contract_digest(parse_contract(TEXT.replace(section, new, 1).encode(), "t")))
    assert len(digests) == 1


@pytest.mark.parametrize("name", ["hfl.toml", "sdt.toml"])
def test_canonical_json_round_trips(name: str) -> None:
    contract = parse_contract((EXAMPLES / name).read_bytes(), name)
    back = contract_from_json(canonical_json(contract), "peer")
    assert canonical_json(back) == canonical_json(contract)
    assert contract_digest(back) == contract_digest(contract)
    assert all(node.address is None for node in back.nodes)


def test_canonical_json_is_sorted_dense_utf8_and_without_addresses() -> None:
    octets = canonical_json(CONTRACT)
    value = json.loads(octets)
    again = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert octets == again
    assert b"address" not in octets


def test_digests_are_32_bytes_and_of_separate_domains() -> None:
    assert len(contract_digest(CONTRACT)) == len(data_digest(CONTRACT.data)) == 32
    assert contract_digest(CONTRACT) != data_digest(CONTRACT.data)


def test_differences_name_values_on_both_sides() -> None:
    other = TEXT.replace("batch = 128", "batch = 256").replace(
        "hash_seed = 2022", "hash_seed = 2022\ncolumn_rows = { C7 = 9 }"
    )
    theirs = canonical_json(parse_contract(other.encode(), "peer"))
    assert differences(canonical_json(CONTRACT), theirs) == [
        "data.column_rows.C7: absent here, 9 there",
        "training.batch: 128 here, 256 there",
    ]


def test_differences_name_list_items_by_their_name() -> None:
    other = TEXT.replace('name = "dune-worker"\nrole = "worker"', 'name = "eve"\nrole = "worker"')
    lines = differences(
        canonical_json(CONTRACT), canonical_json(parse_contract(other.encode(), "peer"))
    )
    assert 'nodes[dune-worker].role: "worker" here, absent there' in lines
    assert 'nodes[eve].role: absent here, "worker" there' in lines


def test_differences_bound_what_they_quote() -> None:
    mine, theirs = canonical_json(CONTRACT), json.dumps({"x": "y" * 10_000}).encode()
    assert max(len(line) for line in differences(mine, theirs)) < 200


def test_what_is_no_json_has_no_differences() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        differences(canonical_json(CONTRACT), b"not JSON")


# the workers' order fixes the order of sums and so the digest, but is not named.
def test_nodes_in_another_order_are_a_difference_that_is_named() -> None:
    nodes = CONTRACT.nodes
    other = CONTRACT.model_copy(update={"nodes": (nodes[0], nodes[2], nodes[1], *nodes[3:])})
    assert contract_digest(other) != contract_digest(CONTRACT)
    assert differences(canonical_json(CONTRACT), canonical_json(other)) != []


# As the version before any key of LATER computed them.
BEFORE = """
format = 1
name = "tiny"
mode = "hfl"
parties = [{name = "a"}, {name = "b"}]
nodes = [
  {name = "ps", role = "ps", party = "a"},
  {name = "w1", role = "worker", party = "a"},
  {name = "w2", role = "worker", party = "b"},
]
[training]
[trust]
tee = "simulated"
[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate", "OutOfDate"]
[trust.roles.worker]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""
DIGEST_BEFORE = "69070634756f225baa7c7b659c9856d57135cc23d25f51dc563871d6ca798815"
DATA_DIGEST_BEFORE = "fbc40a2ea9cb530f1a5ddc1f4593ee9ad5fc6e313def3647eb6a80f6111adc4a"
# Table, the default spelled out if TOML can, and another value.
LATER = {
    "not_after": ("[trust]", None, '"2030-01-01T00:00:00Z"'),
    "refused_advisories": ("[trust.roles.ps]", "[]", '["INTEL-SA-00001"]'),
    "out_of_date_grace_days": ("[trust.roles.ps]", None, "0"),
    "refuse_smt": ("[trust.roles.ps]", "false", "true"),
    "refuse_dynamic_platform": ("[trust.roles.ps]", "false", "true"),
    "refuse_cached_keys": ("[trust.roles.ps]", "false", "true"),
    "order": ("[training]", '"file"', '"shuffled"'),
    "validation": ("[training]", "{keep = 'last'}", "{every_steps = 5}"),
    "exchange": ("[training]", '"float32"', '"bfloat16"'),
    "optimizer_state": ("[results]", "false", "true"),
    "traces": ("[results]", "false", "true"),
}


def of_before(table: str = "", line: str = "") -> Contract:
    text = BEFORE if not table or table in BEFORE else f"{BEFORE}\n{table}\n"
    return parse_contract(text.replace(table, f"{table}\n{line}", 1).encode(), "t")


def test_a_contract_without_later_keys_keeps_its_digest() -> None:
    assert contract_digest(of_before()).hex() == DIGEST_BEFORE
    assert data_digest(of_before().data).hex() == DATA_DIGEST_BEFORE


@pytest.mark.parametrize("key", LATER)
def test_a_later_key_counts_when_it_says_something_new(key: str) -> None:
    table, default, other = LATER[key]
    if default is not None:
        same = of_before(table, f"{key} = {default}")
        assert contract_digest(same).hex() == DIGEST_BEFORE
        assert key.encode() not in canonical_json(same)
    changed = of_before(table, f"{key} = {other}")
    assert contract_digest(changed).hex() != DIGEST_BEFORE
    assert contract_from_json(canonical_json(changed), "peer") == changed
    assert any(
        key in line and "absent here" in line
        for line in differences(canonical_json(of_before()), canonical_json(changed))
    )


@pytest.mark.parametrize(
    "line", [f'next_key = "ed25519:{"cd" * 32}"', 'key_not_after = "2030-01-01T00:00:00Z"']
)
def test_a_later_key_of_a_party_counts_when_it_is_there(line: str) -> None:
    key = f'key = "ed25519:{"ab" * 32}"'
    without, having = (
        parse_contract(BEFORE.replace('{name = "a"}', f'{{name = "a", {text}}}').encode(), "t")
        for text in (key, f"{key}, {line}")
    )
    name = line.partition(" ")[0].encode()
    assert name not in canonical_json(without)
    assert name in canonical_json(having)
    assert contract_digest(without) != contract_digest(having)


def test_local_optimizers_count_when_they_are_there() -> None:
    short = of_before(
        "[training]", "local_steps = 2\nlocal_learning_rate = 0.1\ndense = {}\nrows = {}"
    )
    spelled = "local_steps = 2\nlocal = { dense = {}, rows = {} }\ndense = {}\nrows = {}"
    having = of_before("[training]", spelled)
    assert b'"local":' not in canonical_json(short)
    assert b'"local":{' in canonical_json(having)
    assert contract_from_json(canonical_json(having), "peer") == having
    assert 'training.local.row_merge: absent here, "mean" there' in differences(
        canonical_json(short), canonical_json(having)
    )


def test_a_share_of_the_largest_counts_when_it_is_there() -> None:
    having = of_before("[training]", 'exchange = "top-k"\nexchange_share = 0.1')
    assert b'"exchange":"top-k","exchange_share":0.1' in canonical_json(having)
    assert contract_from_json(canonical_json(having), "peer") == having
    other = of_before("[training]", 'exchange = "top-k"\nexchange_share = 0.2')
    assert contract_digest(other) != contract_digest(having)


def test_a_start_counts_when_it_is_there() -> None:
    lines = "\n".join(f'{key} = "{"ab" * 32}"' for key in ("model", "contract"))
    having = of_before("[start]", f"{lines}\nstep = 3")
    assert b'"start"' not in canonical_json(of_before())
    assert contract_digest(having).hex() != DIGEST_BEFORE
    assert contract_from_json(canonical_json(having), "peer") == having


def test_every_later_key_is_tried() -> None:
    def later(section: type[Section]) -> set[str]:
        return set(section.LATER).union(*(later(one) for one in section.__subclasses__()))

    # A contract with [tensorflow] has no model to train: tests/tensorflow tries it. What SNP,
    # virtual TPMs and several kinds need is tried by test_snp_trust.py, test_vtpm_trust.py and
    # test_alternatives.py, what is demanded besides by test_endorsement_trust.py and
    # test_token_trust.py.
    assert later(Section) == {
        *LATER,
        *(
            "next_key",
            "key_not_after",
            "tensorflow",
            "local",
            "start",
            "exchange_share",
            "operations",
            "tee",
            "snp",
            "vtpm",
            "alternatives",
            "endorsement",
            "tokens",
            "launcher",
        ),
    }
