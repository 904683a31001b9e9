"""``coterie contract pin``: what it writes and what it says."""

from __future__ import annotations

import json
from pathlib import Path

from coterie.contract import contract_digest, load_contract
from coterie.errors import OutputInUse
from tests.cli.conftest import Run
from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "hfl.toml"
VALUES = {"mrenclave": ["11" * 32]}


def test_it_writes_a_new_contract_and_says_both_digests(run: Run, tmp_path: Path) -> None:
    values, out = tmp_path / "values.json", tmp_path / "new.toml"
    values.write_text(json.dumps({"format": 1, "tee": "simulated", "values": VALUES}))
    command = ("contract", "pin", EXAMPLE, values, "--role", "worker", "--out", out)
    ran = run(*command, "--json")
    assert ran.code == 0
    assert ran.value["contract_digest"] == contract_digest(load_contract(out)).hex()
    assert ran.value["digest_before"] == contract_digest(load_contract(EXAMPLE)).hex()
    assert ran.value["values"] == VALUES
    again = run(*command, "--json")
    assert (again.code, again.value["error"]) == (OutputInUse.exit_code, "OutputInUse")
    out.unlink()
    assert "worker may be mrenclave" in run(*command).out


def test_a_contract_that_cannot_be_read_is_an_error(run: Run, tmp_path: Path) -> None:
    values = tmp_path / "values.json"
    values.write_text(json.dumps({"format": 1, "tee": "simulated", "values": VALUES}))
    rest = (values, "--role", "ps", "--out", tmp_path / "new.toml", "--json")
    ran = run("contract", "pin", tmp_path / "none.toml", *rest)
    assert (ran.code, ran.value["error"]) == (4, "ContractInvalid")
