"""The benchmark of recipes: each is a contract, and bytes are those that messages have."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.local_steps import RECIPES, Line, train, with_recipe
from coterie.contract import Contract, load_contract
from coterie.data.dataset import open_dataset
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.synthetic import synthesize
from coterie.nodes.launch import run_in_process
from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "criteo-hfl.toml"


def small(recipe: str) -> Contract:
    """The example with one example per batch in 64, and small tables."""
    example = load_contract(EXAMPLE)
    model = example.model.model_copy(update={"embedding_dim": 4, "bottom": (8, 4), "top": (8, 1)})
    data = example.data.model_copy(update={"rows": 50})
    limits = example.limits.model_copy(update={"evaluation_minimum": 1})
    contract = example.model_copy(update={"model": model, "data": data, "limits": limits})
    return with_recipe(contract, {"batch": 8, **RECIPES[recipe]}, seed=5)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_a_contract(recipe: str) -> None:
    example = load_contract(EXAMPLE)
    contract = with_recipe(example, RECIPES[recipe], seed=5)
    assert contract.training.local_steps == int(recipe.partition(":")[0])
    assert (contract.training.batch, contract.training.seed) == (example.training.batch, 5)


def test_a_line_counts_what_it_carries() -> None:
    line = Line()
    line.carry(b"12345")
    line.carry(b"678")
    assert line.octets == 8


@pytest.mark.tensorflow
def test_lines_do_not_show_in_the_model_and_count_both_ways(tmp_path: Path) -> None:
    contract = small("16: the recipe")
    synthesize(tmp_path / "raw.tsv", rows=2000, seed=1)
    prepare(tmp_path / "raw.tsv", tmp_path / "data", contract, deal="round-robin")
    sets = {
        owner.party: open_dataset(tmp_path / "data" / owner.party, contract.data, party=owner.party)
        for owner in contract.data_owners()
    }
    trained = train(contract, sets)
    result = run_in_process(contract, tmp_path / "data", lambda _: None)
    assert trained.steps == result.steps == 4
    assert trained.test.examples == sum(one.test.rows for one in sets.values())
    assert trained.test.log_loss == pytest.approx(result.test_logloss, abs=1e-3)
    exchanged = trained.bytes_per_example * result.examples
    # Four workers push and are answered four times, and pull once before.
    dense = 4 * contract.exchanged_dense * 4 * (2 * 4 + 1)
    rows = (8 + 8 * contract.exchanged_width) * contract.data.total_rows * 4 * 4
    assert dense < exchanged < dense + rows
