"""Programs of a plain cluster: their environment, what they print, and that none is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.contract import Contract
from coterie.errors import NodeFailed
from coterie.paper.plan import cases, contract_of
from coterie.plaintext.cluster import run_plain_cluster

pytestmark = pytest.mark.system

# Servers never end by themselves, as TensorFlow's; each tells its process.
PROGRAM = """
import json, os, sys, time
from pathlib import Path
task = json.loads(os.environ["TF_CONFIG"])["task"]
Path(sys.argv[1], f"{task['type']}-{task['index']}").write_text(str(os.getpid()))
print(task["type"], task["index"], os.environ.get("COTERIE_DATA"), flush=True)
if task["type"] == "ps":
    time.sleep(600)
if len(sys.argv) > 2 and task["index"] == 2:
    sys.exit("no more of this")
"""


def federated() -> Contract:
    return contract_of(cases()[1], rows=4000, tables=100)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def alive(folder: Path) -> list[str]:
    return [one.name for one in folder.glob("*-[0-9]") if Path(f"/proc/{one.read_text()}").exists()]


def test_owners_are_told_of_their_examples_and_servers_end_with_the_workers(
    tmp_path: Path, program: Path
) -> None:
    data = {party: f"those of {party}" for party in ("acme", "bolt", "corn", "dune")}
    said: list[tuple[str, str]] = []
    run_plain_cluster(
        federated(),
        program,
        [str(tmp_path)],
        tmp_path / "run",
        printed=lambda node, line: said.append((node, line)),
        data=data,
    )
    assert ("ps0", "ps 0 None") in said
    assert ("bolt-worker", "worker 1 those of bolt") in said
    assert len(list(tmp_path.glob("*-[0-9]"))) == 5
    assert alive(tmp_path) == []


def test_a_program_that_fails_ends_all_and_its_words_are_told(
    tmp_path: Path, program: Path
) -> None:
    with pytest.raises(NodeFailed, match="corn-worker") as raised:
        run_plain_cluster(
            federated(),
            program,
            [str(tmp_path), "fail"],
            tmp_path / "run",
            printed=lambda _node, _line: None,
        )
    assert "no more of this" in str(raised.value)
    assert alive(tmp_path) == []
