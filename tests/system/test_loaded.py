"""A node's process loads only what its role needs: lines of code are counted, and capped.

The nodes are those of attested runs of both modes, each a process that ``coterie node`` is. Their contracts
are simulated, with party keys on this machine: the code of real TEEs, of key servers' clients and of sealed
checkpoints is not loaded, and that of the simulated vendor is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from coterie.contract import load_contract
from coterie.kinds import Role
from coterie.nodes.launch import run_processes
from tests.system.conftest import Scene
from tests.system.loaded import LISTED, check_lines

pytestmark = pytest.mark.system

# Measured, and 3 % more. Whoever raises one says in the commit why that role needs the code.
CAPS: dict[Role, int] = {"ps": 22_250, "worker": 21_430, "chief": 20_610}
# What each loaded when its cap was set, for the message: `ROLE MODULE` a line.
KNOWN = Path(__file__).with_name("loaded_modules.txt")
EVERY_ROLE = (
    "coterie.api", "coterie.data.prepare", "coterie.enclave", "coterie.keys.server.server",
    "coterie.keys.server.service", "coterie.nodes.in_process", "coterie.nodes.local",
    "coterie.nodes.supervisor", "coterie.plaintext", "coterie.report", "coterie.serving",
    "coterie.tensorflow",
)  # fmt: skip
FOREIGN: dict[Role, tuple[str, ...]] = {
    "ps": (
        "coterie.data", "coterie.models.backend", "coterie.models.core", "coterie.models.dlrm",
        "coterie.models.keras_model", "coterie.nodes.chief_node", "coterie.nodes.participant",
        "coterie.nodes.worker_node", "coterie.ps.warm_start", "coterie.training",
    ),
    "worker": (
        "coterie.nodes.chief_node", "coterie.nodes.server_node", "coterie.ps.checkpoints.store",
        "coterie.ps.core.leader", "coterie.ps.driver", "coterie.ps.service", "coterie.receipts",
        "coterie.status", "coterie.training.chief",
    ),
    "chief": (
        "coterie.nodes.server_node", "coterie.nodes.worker_node", "coterie.ps.checkpoints.store",
        "coterie.ps.core.leader", "coterie.ps.driver", "coterie.ps.service", "coterie.receipts",
        "coterie.status",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def loaded(
    hfl: Scene, sdt: Scene, tmp_path_factory: pytest.TempPathFactory
) -> dict[Role, set[str]]:
    """What the processes of each role had loaded when they ended."""
    found: dict[Role, set[str]] = {"ps": set(), "worker": set(), "chief": set()}
    for scene in (hfl, sdt):
        contract = load_contract(scene.contract)
        out = tmp_path_factory.mktemp(contract.mode) / "run"
        command = (sys.executable, "-m", "tests.system.loaded", "node")
        run_processes(contract, scene.data, out, lambda _: None, command=command)
        for node in contract.nodes:
            found[node.role] |= set((out / "nodes" / node.name / LISTED).read_text().split())
    return found


def below(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("role", CAPS)
def test_a_role_loads_nothing_of_the_others(loaded: dict[Role, set[str]], role: Role) -> None:
    assert [name for name in sorted(loaded[role]) if below(name, EVERY_ROLE + FOREIGN[role])] == []


@pytest.mark.parametrize("role", CAPS)
def test_a_role_loads_no_more_code_than_it_may(loaded: dict[Role, set[str]], role: Role) -> None:
    known = {
        module for said, module in map(str.split, KNOWN.read_text().splitlines()) if said == role
    }
    check_lines(role, loaded[role], CAPS[role], known)
