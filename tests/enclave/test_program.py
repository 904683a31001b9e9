"""What a TensorFlow program's contract meets in an image that cannot run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.contract import load_contract
from coterie.enclave import program
from coterie.enclave.layout import Mounts
from coterie.enclave.program import start_program, with_data_that_is_there
from coterie.errors import EnvironmentUnfit
from coterie.nodes.options import NodeOptions
from tests.conftest import REPOSITORY

CONTRACT = REPOSITORY / "examples" / "tensorflow" / "cluster.toml"


def start(root: Path) -> None:
    contract = load_contract(CONTRACT)
    options = NodeOptions()
    start_program(contract, contract.nodes[0], Mounts(root), options)


def test_an_image_without_the_layer_names_the_one_that_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(program, "_LAYER", "coterie.not_in_this_image")
    with pytest.raises(EnvironmentUnfit, match="which this image cannot run") as refused:
        start(tmp_path)
    assert "--image tensorflow" in refused.value.remedy


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnfit, match=r"coterie/inputs/program\.py cannot be read"):
        start(tmp_path)


def test_a_host_that_gives_no_data_gives_none_and_anything_else_must_be_sealed(
    tmp_path: Path,
) -> None:
    def seen(folder: Path | None) -> Path | None:
        return with_data_that_is_there(NodeOptions(data=folder, sealed_only=True)).data

    assert seen(None) is None
    assert seen(tmp_path / "absent") is None
    assert seen(tmp_path) is None
    (tmp_path / "anything").touch()
    assert seen(tmp_path) == tmp_path
