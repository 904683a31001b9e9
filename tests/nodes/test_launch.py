"""Whole runs: what is refused before anything is started or left behind."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from coterie.contract import load_contract, parse_contract
from coterie.errors import ContractExpired, DataError
from coterie.nodes.launch import run_processes
from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "hfl.toml"


def test_a_contract_that_has_ended_starts_nothing(tmp_path: Path) -> None:
    text = EXAMPLE.read_text().replace("[trust]", '[trust]\nnot_after = "2027-01-31T12:00:00Z"', 1)
    contract = parse_contract(text.encode(), "t")
    arguments = (contract, tmp_path / "data", tmp_path / "out", lambda _: None)
    with pytest.raises(ContractExpired, match="ended at 2027-01-31T12:00:00Z"):
        run_processes(*arguments, host_clock=lambda: datetime(2027, 2, 1, tzinfo=UTC))
    assert not (tmp_path / "out").exists()
    # Until then the first thing that is missing is the data.
    with pytest.raises(DataError):
        run_processes(*arguments, host_clock=lambda: datetime(2027, 1, 1, tzinfo=UTC))
    with pytest.raises(DataError):
        run_processes(load_contract(EXAMPLE), *arguments[1:])
