"""The functions of ``import coterie`` that start processes give what the command line gives."""

from __future__ import annotations

from pathlib import Path

import pytest

import coterie
from tests.system.conftest import Scene

pytestmark = pytest.mark.system


def test_an_attested_run_from_python(hfl: Scene, hfl_digest: str, tmp_path: Path) -> None:
    heard: list[str] = []
    contract = coterie.load_contract(hfl.contract)
    result = coterie.run(
        contract,
        hfl.data,
        tmp_path / "run",
        on_event=lambda event: heard.append(type(event).__name__),
    )
    assert result.model_digest == hfl_digest
    assert (result.tee, result.transport) == ("SIMULATED", "ra-tls")
    assert "StepDone" in heard
    assert coterie.read_result(tmp_path / "run") == result
    assert coterie.load_model(tmp_path / "run").digest.hex() == hfl_digest
    assert coterie.run(contract, hfl.data, tmp_path / "run") == result  # it has finished
