"""What nodes load of Coterie goes into images; what reads raw files and serves models does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

import coterie
from coterie.enclave.contents import belongs

# Everything that a node of any role imports, late imports among them.
NODES = (
    "import sys, coterie.nodes, coterie.training, coterie.ps, coterie.sealing\n"
    "import coterie.enclave.starting, coterie.nodes.process, coterie.nodes.starting\n"
    "import coterie.nodes.attested, coterie.nodes.roles, coterie.criteo.dataset\n"
    "import coterie.sealing.dataset, coterie.keyserver.client, coterie.models.own\n"
    "from coterie.training.step import WorkerStep\n"
    "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'coterie'\n"
    "        and m.__file__), sep='\\n')"
)
SITE = Path(coterie.__file__).parents[1]


def named(path: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(SITE).as_posix())


def test_every_module_that_a_node_loads_is_in_its_image() -> None:
    run = subprocess.run([sys.executable, "-c", NODES], check=True, capture_output=True, text=True)
    files = [named(Path(line)) for line in run.stdout.split()]
    assert len(files) > 80
    assert [str(file) for file in files if not belongs(file)] == []


def test_what_no_node_loads_is_not() -> None:
    for module in ("api", "serving/export", "serving/layers", "criteo/reader", "criteo/numeric",
                   "cli/main", "plaintext/fabric"):  # fmt: skip
        assert (SITE / "coterie" / f"{module}.py").exists()
        assert not belongs(PurePosixPath(f"coterie/{module}.py"))
