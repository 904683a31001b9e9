"""A contract's terms: none is left out, and changes come in the order of their danger."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from coterie.contract import Contract, canonical_json, contract_digest, parse_contract
from coterie.contract.terms import GROUPS, Change, changes_between, terms_of
from tests.conftest import REPOSITORY
from tests.contract.test_endorsement_trust import GOOGLES, TDX
from tests.contract.test_token_trust import P256, TABLE
from tests.contract.test_vtpm_trust import AZURE_SNP

EXAMPLES = REPOSITORY / "examples"
KEYS = {name: f"ed25519:{digit * 64}" for name, digit in (("a", "a"), ("b", "b"), ("c", "c"))}
ROLE = f"""
mrenclave = ["{"11" * 32}", "{"22" * 32}"]
accepted_tcb_statuses = ["UpToDate"]
accepted_advisories = ["INTEL-SA-00001"]
minimum_tcb_evaluation_number = 17
fmspc = ["000000000000"]
"""
SGX = (
    """
format = 1
name = "tiny"
mode = "hfl"
parties = [
  {name = "a", key = "KEY_A"},
  {name = "b", key = "KEY_B"},
]
nodes = [
  {name = "ps", role = "ps", party = "a", address = "127.0.0.1:7440"},
  {name = "w1", role = "worker", party = "a"},
  {name = "w2", role = "worker", party = "b"},
]
[results]
model_parties = ["a"]
[training]
batch = 128
[limits]
evaluation_minimum = 100
[trust]
tee = "sgx"
[trust.roles.ps]
""".replace("KEY_A", KEYS["a"]).replace("KEY_B", KEYS["b"])
    + ROLE
    + "[trust.roles.worker]\n"
    + ROLE
)


def parse(text: str) -> Contract:
    return parse_contract(text.encode(), "t")


def changed(*edits: tuple[str, str]) -> tuple[Change, ...]:
    text = SGX
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    return changes_between(parse(SGX), parse(text))


# Edit, key, group, effect, words. The first role in the text is the parameter server.
CASES = [
    (('["UpToDate"]', '["UpToDate", "OutOfDate"]'), "trust.roles.ps.accepted_tcb_statuses", "trust", "looser", "also OutOfDate"),
    (('"INTEL-SA-00001"', ""), "trust.roles.ps.accepted_advisories", "trust", "tighter", "INTEL-SA-00001 -> none"),
    (("number = 17", "number = 16"), "trust.roles.ps.minimum_tcb_evaluation_number", "trust", "looser", "17 -> 16"),
    (('["000000000000"]', "[]"), "trust.roles.ps.fmspc", "trust", "looser", "000000000000 -> none"),
    (('["000000000000"]', '["111111111111"]'), "trust.roles.ps.fmspc", "trust", "looser", "also 111111111111; no longer 000000000000"),
    ((f'"{"11" * 32}", ', ""), "trust.roles.ps.mrenclave", "trust", "tighter", f"no longer {'11' * 32}"),
    (("fmspc =", "refuse_smt = true\nfmspc ="), "trust.roles.ps.refuse_smt", "trust", "tighter", "no -> yes"),
    (('tee = "sgx"', 'tee = "sgx"\nreattestation_minutes = 90'), "trust.reattestation_minutes", "trust", "looser", "60 -> 90"),
    (('tee = "sgx"', 'tee = "sgx"\n[enclave]\nsize_gib = 8'), "enclave.size_gib", "trust", "other", "16 -> 8"),
    (("batch = 128", "update_norm = 1.0"), "training.update_norm", "trust", "tighter", "not set -> 1.0"),
    (('key = "KEY_B"'.replace("KEY_B", KEYS["b"]), f'key = "{KEYS["b"]}", next_key = "{KEYS["c"]}"'), "parties[b].next_key", "trust", "looser", f"not set -> {KEYS['c']}"),
    (('tee = "sgx"', 'tee = "sgx"\nnot_after = "2030-01-01T00:00:00Z"'), "trust.not_after", "trust", "tighter", "not set -> 2030-01-01T00:00:00Z"),
    ((KEYS["b"], KEYS["c"]), "parties[b].key", "trust", "other", f"{KEYS['b']} -> {KEYS['c']}"),
    (('"ps", party = "a"', '"ps", party = "b"'), "nodes[ps].party", "trust", "other", "a -> b"),
    (("batch = 128", "batch = 1"), "training.batch", "release", "looser", "128 -> 1"),
    (("minimum = 100", "minimum = 1"), "limits.evaluation_minimum", "release", "looser", "100 -> 1"),
    (("evaluation_minimum = 100", "quorum = 2\ngrace_seconds = 5"), "limits.quorum", "release", "looser", "not set -> 2"),
    (("[results]", "[results]\noptimizer_state = true"), "results.optimizer_state", "release", "looser", "no -> yes"),
    (("[results]", "[results]\ntraces = true"), "results.traces", "release", "looser", "no -> yes"),
    (("batch = 128", "epochs = 2"), "training.epochs", "training", "other", "1 -> 2"),
    (("[results]", "[data]\nrows = 9\n[results]"), "data.rows", "data", "other", "10000 -> 9"),
    (("evaluation_minimum = 100", "join_seconds = 5"), "limits.join_seconds", "limits", "other", "300.0 -> 5.0"),
    (('name = "tiny"', 'name = "huge"'), "name", "limits", "other", "tiny -> huge"),
    (("7440", "7450"), "nodes[ps].address", "limits", "other", "127.0.0.1:7440 -> 127.0.0.1:7450"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("edit", "key", "group", "effect", "what"),
    CASES,
    ids=[f"{row[1]}: {row[4][:40]}" for row in CASES],
)
def test_a_change_is_told_in_words(
    edit: tuple[str, str], key: str, group: str, effect: str, what: str
) -> None:
    (change, *others) = changed(edit)
    assert (change.key, change.group, change.effect, change.what) == (key, group, effect, what)
    assert change.meaning
    assert {other.key for other in others} <= {"limits.grace_seconds"}


@pytest.mark.parametrize(
    ("edit", "effect", "what"),
    [
        (('parties = ["a"]', 'parties = ["a", "b"]'), "looser", "also b"),
        (('parties = ["a"]', 'parties = ["b"]'), "looser", "also b; no longer a"),
        # Without a list the owners of data get the model: both parties.
        (('model_parties = ["a"]', ""), "looser", "also b"),
    ],
)
def test_who_gets_the_model_is_told_by_who_really_does(
    edit: tuple[str, str], effect: str, what: str
) -> None:
    first, second = changed(edit)
    assert (first.key, first.effect, first.what) == ("results (recipients)", effect, what)
    assert (second.key, second.effect) == ("results.model_parties", "other")
    assert first.group == second.group == "release"


def test_a_start_is_told_key_by_key() -> None:
    digest = "ab" * 32
    start = f'[start]\nmodel = "{digest}"\ncontract = "{digest}"\nstep = 7\n'
    found = {change.key: change for change in changed(("[training]", f"{start}[training]"))}
    assert found["start.model"].what == f"not set -> {digest}"
    assert found["start.step"].new == 7
    assert {change.group for change in found.values()} == {"training"}
    assert found["start.grown"].meaning


def test_the_dangerous_comes_first() -> None:
    found = changed(
        ('name = "tiny"', 'name = "huge"'),
        ("[results]", "[data]\nrows = 9\n[results]"),
        ("minimum = 100", "minimum = 1\njoin_seconds = 5"),
        ("batch = 128", "batch = 256\nepochs = 2"),
        ("number = 17", "number = 18"),
        ('tee = "sgx"', 'tee = "sgx"\n[enclave]\nsize_gib = 8'),
        ('["UpToDate"]', '["UpToDate", "OutOfDate"]'),
    )
    assert [(change.group, change.effect) for change in found] == [
        ("trust", "looser"),
        ("trust", "other"),
        ("trust", "tighter"),
        ("release", "looser"),
        ("release", "tighter"),
        ("training", "other"),
        ("data", "other"),
        ("limits", "other"),
        ("limits", "other"),
    ]


def test_a_party_that_joins_is_one_change_and_its_node_another() -> None:
    found = changed(
        (
            f'  {{name = "b", key = "{KEYS["b"]}"}},\n',
            f'  {{name = "b", key = "{KEYS["b"]}"}},\n  {{name = "c", key = "{KEYS["c"]}"}},\n',
        ),
        (
            '  {name = "w2", role',
            '  {name = "w3", role = "worker", party = "c"},\n  {name = "w2", role',
        ),
    )
    assert [(change.key, change.what, change.effect) for change in found] == [
        ("parties[c]", "is new", "looser"),
        ("nodes[w3]", "is new", "looser"),
    ]


def test_another_order_of_workers_is_a_change() -> None:
    one, other = (
        '{name = "w1", role = "worker", party = "a"}',
        '{name = "w2", role = "worker", party = "b"}',
    )
    (change,) = changed((f"  {one},\n  {other},", f"  {other},\n  {one},"))
    assert change.key == "nodes (order)"


def leaves(value: object, path: str = "") -> Iterator[str]:
    """Keys of canonical JSON, spelled as terms are."""
    if isinstance(value, dict) and value and not path.endswith((".column_rows", ".options")):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for i, item in enumerate(value):
            yield from leaves(item, f"{path}[{item.get('name', i)}]")
    else:
        yield path


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.toml")))
def test_no_value_of_a_contract_is_left_out(name: str) -> None:
    contract = parse((EXAMPLES / name).read_text())
    terms = {term.key for term in terms_of(contract)}
    agreed = set(leaves(json.loads(canonical_json(contract))))
    assert agreed - terms == set()
    assert all(term.group in GROUPS for term in terms_of(contract))


def test_every_rule_is_for_a_key_that_there_is() -> None:
    from coterie.contract.terms import _RELEASE, _RULES, _TRUST

    federated = (EXAMPLES / "tensorflow" / "federated.toml").read_text()
    endorsed = f'[trust.roles.ps.endorsement]\nroots = ["{GOOGLES}"]\n'
    besides = TDX + endorsed + TABLE.replace("worker", "ps").format(keys=f'"{P256}"')
    keys = {
        term.key for text in (SGX, federated, AZURE_SNP, besides) for term in terms_of(parse(text))
    }
    tables = ("trust.roles.ps.", "parties[a].")
    roles = {key.rpartition(".")[2] for key in keys if key.startswith(tables)}
    whole = {key for key in _RULES if "." in key or " " in key}
    assert whole | _RELEASE | _TRUST <= keys
    assert set(_RULES) - whole <= roles


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.toml")))
def test_the_same_contract_has_no_changes(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert changes_between(parse(text), parse(text)) == ()


def test_changes_and_digests_agree() -> None:
    for edit, *_ in CASES:
        other = parse(SGX.replace(*edit, 1))
        same = contract_digest(other) == contract_digest(parse(SGX))
        outside = all(change.key.endswith(".address") for change in changed(edit))
        assert same == outside


def test_more_operations_of_tensorflow_are_looser_and_fewer_tighter() -> None:
    text = (EXAMPLES / "tensorflow" / "federated.toml").read_text()
    less = text.replace('"AddV2", ', "")
    wide, narrow = (parse_contract(one.encode(), "contract") for one in (text, less))
    (added,) = changes_between(narrow, wide)
    (removed,) = changes_between(wide, narrow)
    assert (added.key, added.effect, added.what) == (
        "tensorflow.operations", "looser", "also AddV2",
    )  # fmt: skip
    assert (removed.effect, removed.what) == ("tighter", "no longer AddV2")
