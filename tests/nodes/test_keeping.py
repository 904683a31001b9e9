"""Where a node keeps the trained model: its party says so, and nothing that lies on its host."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.contract import Contract, Node, ResultsSection
from coterie.errors import KeyRefused
from coterie.nodes.in_process import InProcessFabric, InProcessHub
from coterie.nodes.participant import _keepers
from coterie.sealed.sealed_model import SealedModelFile
from coterie.trained.trained_model import PlainModelFile
from tests.ps.conftest import small_contract

CONTRACT = small_contract()


class Asked(InProcessFabric):
    """A node whose party's key server answers as a test says; counts how often it was asked."""

    def __init__(
        self, contract: Contract, node: Node, answer: tuple[bytes, bytes] | KeyRefused | None
    ) -> None:
        super().__init__(InProcessHub(contract), node)
        self._answer = answer
        self.asked = 0

    def model_key(self) -> tuple[bytes, bytes] | None:
        self.asked += 1
        if isinstance(self._answer, KeyRefused):
            raise self._answer
        return self._answer


def node(name: str) -> Node:
    return next(node for node in CONTRACT.nodes if node.name == name)


def test_a_key_seals_the_model(tmp_path: Path) -> None:
    fabric = Asked(CONTRACT, node("w0"), (b"\1" * 32, b"\2" * 32))
    for keeper, name in zip(
        _keepers(CONTRACT, node("w0"), fabric, tmp_path), ("model", "optimizer"), strict=True
    ):
        assert isinstance(keeper, SealedModelFile)
        assert keeper.path == tmp_path / f"{name}.coterie.sealed"
        assert keeper.name == f"{name}.coterie"
        assert (keeper.key.party, keeper.key.set_id, keeper.key.key) == (
            "p0",
            b"\1" * 32,
            b"\2" * 32,
        )


def test_a_party_that_says_so_gets_it_open(tmp_path: Path) -> None:
    keepers = _keepers(CONTRACT, node("w0"), Asked(CONTRACT, node("w0"), None), tmp_path)
    assert keepers == tuple(
        PlainModelFile(tmp_path / name) for name in ("model.coterie", "optimizer.coterie")
    )


def test_a_party_that_refuses_ends_the_node_before_it_trains(tmp_path: Path) -> None:
    fabric = Asked(CONTRACT, node("w0"), KeyRefused("no [model]"))
    with pytest.raises(KeyRefused, match="no \\[model\\]"):
        _keepers(CONTRACT, node("w0"), fabric, tmp_path)


@pytest.mark.parametrize("name", ["ps0", "w1"])
def test_who_does_not_get_the_model_asks_for_no_key(name: str, tmp_path: Path) -> None:
    contract = CONTRACT.model_copy(update={"results": ResultsSection(model_parties=("p0",))})
    fabric = Asked(contract, node(name), None)
    assert _keepers(contract, node(name), fabric, tmp_path) == (None, None)
    assert fabric.asked == 0


def test_without_a_folder_nothing_is_kept() -> None:
    fabric = Asked(CONTRACT, node("w0"), None)
    assert _keepers(CONTRACT, node("w0"), fabric, None) == (None, None)
    assert fabric.asked == 0
