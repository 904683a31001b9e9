"""The node's program in a guest: it runs contracts of the measured kind of TEE, and no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from coterie.enclave.layout import Mounts
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.system

# As the guest's first process starts it, over another file tree.
PROGRAM = """
import sys
from pathlib import Path
from coterie.guest.node import main
sys.exit(main(sys.argv[2:], root=Path(sys.argv[1])))
"""
OTHER = "this image runs contracts of another kind of TEE"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    mounts = Mounts(tmp_path)
    mounts.inputs.mkdir(parents=True)
    mounts.contract.write_bytes((REPOSITORY / "examples" / "paper-hfl.toml").read_bytes())
    mounts.node.write_text('name = "ps0"\n')
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["simulated"], 3, "nobody vouches for node ps0"),
        (["tdx"], 4, OTHER),
        (["sgx"], 4, OTHER),
        ([], 4, OTHER),
        (["simulated", "tdx"], 4, OTHER),
    ],
)
def test_contracts_of_other_kinds_are_refused(
    root: Path, arguments: list[str], code: int, said: str
) -> None:
    command = [sys.executable, "-c", PROGRAM, str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
