"""Accuracy on real data: the example contracts on the Criteo Kaggle sample, one epoch.

The sample is licensed for research use and never copied: the tests read it where it lies.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.system.conftest import coterie, result_json

pytestmark = [pytest.mark.system, pytest.mark.slow]

SAMPLE = REPOSITORY.parent / "shared" / "data" / "criteo_kaggle_sample.tsv.xz"


def test_federated_training_is_as_accurate_as_pooled_training(tmp_path: Path) -> None:
    if not SAMPLE.exists():
        pytest.skip(f"the Criteo sample is not at {SAMPLE}")
    auc = {}
    for name in ("criteo-sdt", "criteo-hfl"):
        contract, data = REPOSITORY / "examples" / f"{name}.toml", tmp_path / name
        prepared = coterie("prepare", SAMPLE, data, "--contract", contract, "--json")
        assert prepared.returncode == 0, prepared.stderr
        result = result_json(coterie("local", contract, "--data", data, "--json"))
        assert result["examples"] == 117_548
        assert isinstance(result["test_auc"], float)
        auc[name] = result["test_auc"]
    assert auc["criteo-sdt"] >= 0.765
    assert auc["criteo-hfl"] >= 0.765
    assert auc["criteo-hfl"] >= auc["criteo-sdt"] - 0.005
