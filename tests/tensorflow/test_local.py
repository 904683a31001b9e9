"""A cluster on this machine: what its nodes are started with, what it keeps, and which directories it takes.

The nodes are short scripts, started by the same command as nodes of Coterie.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from coterie.contract import load_contract
from coterie.errors import NodeFailed, OutputInUse
from coterie.tensorflow.digests import read_program
from coterie.tensorflow.local import run_cluster
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.usefixtures("native_part")]

CONTRACT = load_contract(REPOSITORY / "examples" / "tensorflow" / "federated.toml")
TELLS = "import json, sys; print(json.dumps(sys.argv[1:]), flush=True)"
FAILS = "import sys; sys.exit('no such tensor')"


def run(script: str, folder: Path, out: Path | None, text: str = "print(1)\n") -> dict[str, object]:
    """Runs a script in place of each node; what each printed."""
    program, told = folder / "program.py", {}
    program.write_text(text)
    run_cluster(
        CONTRACT,
        read_program(program),
        ["--steps", "3"],
        out,
        data=None,
        say=lambda _: None,
        printed=lambda node, line: told.update({node: json.loads(line)}),
        command=(sys.executable, "-c", script),
    )
    return told


def test_nodes_are_started_by_the_given_command(tmp_path: Path) -> None:
    told = run(TELLS, tmp_path, tmp_path / "run")
    assert set(told) >= {"worker0", "worker1"}
    for words in told.values():
        assert isinstance(words, list)
        assert words[-3:] == ["--", "--steps", "3"]


def test_nodes_keep_files_only_if_the_run_does(tmp_path: Path) -> None:
    """A program that wants to keep checkpoints in a folder that is removed must hear of it."""
    kept = run(TELLS, tmp_path, tmp_path / "run")["worker0"]
    assert isinstance(kept, list)
    assert kept[kept.index("--out") + 1] == str(tmp_path / "run" / "nodes" / "worker0")
    lost = run(TELLS, tmp_path, None)["worker0"]
    assert isinstance(lost, list)
    assert "--out" not in lost


def test_the_error_of_a_program_names_the_file_of_what_was_said(tmp_path: Path) -> None:
    with pytest.raises(NodeFailed) as kept:
        run(FAILS, tmp_path, tmp_path / "run")
    log = Path(kept.value.remedy.rpartition(" ")[2])
    assert log.read_text() == "no such tensor\n"
    with pytest.raises(NodeFailed) as lost:
        run(FAILS, tmp_path, None)
    assert lost.value.remedy.endswith("/stderr.log with --out DIR")


def test_a_failed_run_goes_on_with_its_own_program_only(tmp_path: Path) -> None:
    with pytest.raises(NodeFailed):
        run(FAILS, tmp_path, tmp_path / "run")
    with pytest.raises(OutputInUse) as refused:
        run(TELLS, tmp_path, tmp_path / "run", text="print(2)\n")
    assert refused.value.expected == "the contract of this run"
    assert refused.value.seen.startswith("tensorflow.program: ")
    assert refused.value.remedy == (
        "name another --out DIR; only the same program and TensorFlow resume this run"
    )
    assert "worker0" in run(TELLS, tmp_path, tmp_path / "run")
