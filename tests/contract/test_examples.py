"""Every contract in examples/ loads, and the paper's set-up is the paper's."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.contract import Contract, canonical_json, contract_from_json, load_contract
from tests.conftest import REPOSITORY

EXAMPLES = sorted((REPOSITORY / "examples").glob("*.toml"))
PAPER = [path for path in EXAMPLES if path.name.startswith("paper-")]

# Distinct ids of Criteo Kaggle's 26 columns add up to this (Naumov et al., 2019).
KAGGLE_ROWS = 33_762_577


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_loads(path: Path) -> None:
    contract = load_contract(path)
    assert canonical_json(contract_from_json(canonical_json(contract), "json")) == canonical_json(
        contract
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_named_after_its_mode(path: Path) -> None:
    assert path.stem.split("-")[-1] == load_contract(path).mode


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_listening_node_of_an_example_has_an_address_of_its_own(path: Path) -> None:
    contract = load_contract(path)
    listening = [
        node
        for node in contract.nodes
        if node.role == "ps" or (node.role == "worker" and contract.mode == "sdt")
    ]
    addresses = {node.address for node in listening}
    assert None not in addresses
    assert len(addresses) == len(listening)


def papers() -> list[Contract]:
    if not PAPER:
        pytest.skip("examples/paper-*.toml are not there yet")
    return [load_contract(path) for path in PAPER]


def test_the_papers_contracts_have_kaggles_tables() -> None:
    for contract in papers():
        assert contract.data.total_rows == KAGGLE_ROWS


def test_the_papers_contracts_train_as_the_paper_does() -> None:
    for contract in papers():
        assert contract.training.batch == 128
        assert contract.training.dense.kind == contract.training.rows.kind == "sgd"
        assert contract.training.dense.learning_rate == 0.1
        assert contract.training.rows.learning_rate == 0.1
        assert (contract.enclave.size_gib, contract.enclave.max_threads) == (32, 1024)
        assert contract.data.row_limit is not None


def test_the_papers_clusters_have_the_papers_size() -> None:
    for contract in papers():
        workers, chiefs = len(contract.by_role("worker")), len(contract.by_role("chief"))
        assert (workers, chiefs) == ((4, 0) if contract.mode == "hfl" else (2, 1))
