"""Drafts are contracts: whatever is answered, the text is valid and says what was answered."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.local_steps import RECIPES
from coterie.cli.drafting import Draft, demonstration, draft_contract, sizes_for
from coterie.cli.drafting_trust import TDX_VALUES, Accepted
from coterie.contract import TrainingSection, contract_digest, load_contract, parse_contract
from coterie.kinds import OF_SNP, SIMULATED, Mode, TeeKind
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
KEY = "ed25519:" + "ab" * 32
LENGTHS = {"td_attributes": 8, "xfam": 8}

TDX = {name: ["ab" * LENGTHS.get(name, 48)] for name in TDX_VALUES}
SNP = {
    "launch_measurement": ["cd" * 48],
    "guest_policy": ["000000000003001f"],
    "vmpl": ["0"],
    "signing_key": ["vcek"],
}
FLOORS = {"milan": {"bootloader": 4, "tee": 0, "snp": 22, "microcode": 213}}
PCRS = {4: "04" * 32, 11: "11" * 32}
MACHINE = {"secure_boot": "true", "console": "false"}
ACCEPTED: dict[TeeKind, Accepted] = {
    "sgx": Accepted({"mrenclave": ["cd" * 32, "ef" * 32]}, minimum_evaluation=17),
    "tdx": Accepted(TDX, minimum_evaluation=18),
    "snp": Accepted(SNP, FLOORS),
    "azure-snp": Accepted(SNP, FLOORS, PCRS, MACHINE),
    "azure-tdx": Accepted(TDX, {}, PCRS, MACHINE, minimum_evaluation=19),
}

names = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?\Z")


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    mode: Mode = draw(st.sampled_from(["hfl", "sdt"]))
    owners = tuple(
        draw(st.lists(names, min_size=1, max_size=5 if mode == "hfl" else 1, unique=True))
    )
    operator = draw(names) if mode == "hfl" else owners[0]
    real = draw(st.booleans())
    kinds = st.sampled_from([*ACCEPTED] if real else sorted(SIMULATED))
    draft = Draft(
        name=draw(names),
        mode=mode,
        owners=owners,
        operator=operator,
        workers=draw(st.integers(1, 20)),
        tee=draw(kinds),
        keys={party: KEY for party in {operator, *owners} if real or draw(st.booleans())},
        table_rows=draw(st.integers(2, 1_000_000)),
        batch=draw(st.integers(1, 4096)),
        local_steps=draw(st.sampled_from([1, 2, 64])),
        epochs=draw(st.integers(1, 100)),
        accepted=ACCEPTED if real else {},
    )
    others = ("ps", "worker", *(node.name for node in draft.nodes))
    tees = draw(st.dictionaries(st.sampled_from(others), kinds, max_size=4))
    return replace(draft, tees=tees)


@given(drafts())
def test_a_draft_is_a_valid_contract_that_says_it(draft: Draft) -> None:
    contract = parse_contract(draft_contract(draft).encode(), "draft")
    assert (contract.name, contract.mode, contract.trust.tee) == (draft.name, draft.mode, draft.tee)
    assert {party.name for party in contract.parties} == set(draft.parties)
    assert {p.name: p.key for p in contract.parties if p.key} == dict(draft.keys)
    assert [node.party for node in contract.data_owners()] == list(draft.owners)
    workers = len(draft.owners) if draft.mode == "hfl" else draft.workers
    assert len(contract.by_role("worker")) == workers
    assert contract.data.rows == draft.table_rows
    assert (contract.training.batch, contract.training.epochs) == (draft.batch, draft.epochs)
    assert contract.training.local_steps == draft.local_steps
    assert (contract.training.local is not None) == (draft.local_steps > 1)
    for node, drafted in zip(contract.nodes, draft.nodes, strict=True):
        kind, table = contract.kind_of(node), contract.table_of(node)
        assert (node.name, kind) == (drafted.name, draft.kind_of(drafted))
        accepted = draft.accepted.get(kind)
        assert (table.measurement == "own") == (accepted is None)
        if accepted is None:
            continue
        assert table.minimum_tcb_evaluation_number == accepted.minimum_evaluation
        listed = table.snp if kind in OF_SNP else table
        for name, values in accepted.reference.items():
            assert list(map(str, getattr(listed, name))) == list(values)
        if table.vtpm is not None:
            assert table.vtpm.numbers == tuple(accepted.pcrs)
        assert (table.vtpm is not None) == bool(accepted.pcrs)


@given(drafts())
def test_sections_are_explained(draft: Draft) -> None:
    blocks = draft_contract(draft).split("\n\n")
    for title in ("format =", "[[nodes]]", "[data]", "[trust]"):
        first = next(block for block in blocks if title in block)
        assert first.startswith("# "), first


@pytest.mark.parametrize("mode", ["hfl", "sdt"])
def test_the_demonstration_is_the_example(mode: Mode) -> None:
    drafted = parse_contract(draft_contract(demonstration(mode)).encode(), "draft")
    assert contract_digest(drafted) == contract_digest(load_contract(EXAMPLES / f"{mode}.toml"))


def test_sizes_grow_with_the_data() -> None:
    assert sizes_for(14) == sizes_for(999_999) == (100_000, 128, 1)
    assert sizes_for(1_000_000) == sizes_for(45_000_000) == (1_000_000, 2048, 1)


def test_over_thin_lines_small_batches_are_trained_between_exchanges() -> None:
    assert sizes_for(14, "thin") == sizes_for(999_999, "thin") == (100_000, 128, 16)
    assert sizes_for(1_000_000, "thin") == (1_000_000, 128, 64)


def test_thin_lines_have_the_recipe_that_the_benchmark_measures() -> None:
    """What docs/learning.md's table says is what people get."""
    draft = replace(demonstration("hfl"), local_steps=16)
    training = parse_contract(draft_contract(draft).encode(), "draft").training
    recipe = TrainingSection.model_validate(RECIPES["16: the recipe, bfloat16"])
    for key in ("local_steps", "exchange", "local", "dense", "rows"):
        assert getattr(training, key) == getattr(recipe, key), key
