"""What nodes load of Coterie goes into images; what reads raw files and serves models does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

import coterie
from coterie.enclave.contents import IMAGES, USUAL_IMAGES, belongs
from coterie.tensorflow.building import NATIVE_PART
from coterie.tensorflow.digests import tensorflow_folder

# Everything that a node of any role imports, late imports among them.
NODES = (
    "import sys, coterie.nodes, coterie.training, coterie.ps, coterie.keys\n"
    "import coterie.enclave.starting, coterie.nodes.process, coterie.nodes.starting\n"
    "import coterie.nodes.attested, coterie.nodes.chief_node, coterie.nodes.server_node, coterie.nodes.worker_node\n"
    "import coterie.sealed.sealed_dataset, coterie.keys.server.client, coterie.models.keras_model\n"
    "from coterie.training.step import WorkerStep\n"
    "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'coterie'\n"
    "        and m.__file__), sep='\\n')"
)
# And what a node of a TensorFlow program's cluster imports, before the program.
PROGRAMS = (
    "import coterie.enclave.program, coterie.tensorflow.cluster, coterie.tensorflow.digests\n"
    "import coterie.tensorflow.node\n"
)
SITE = Path(coterie.__file__).parents[1]


def named(path: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(SITE).as_posix())


@pytest.mark.system
def test_every_module_that_a_node_loads_is_in_its_image() -> None:
    run = subprocess.run([sys.executable, "-c", NODES], check=True, capture_output=True, text=True)
    files = [named(Path(line)) for line in run.stdout.split()]
    assert len(files) > 80
    assert [str(file) for file in files if not belongs(file)] == []


@pytest.mark.system
def test_every_module_below_a_tensorflow_program_is_in_its_image() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAMS + NODES], check=True, capture_output=True, text=True
    )
    files = [named(Path(line)) for line in run.stdout.split()]
    files += [
        named(file) for file in (*NATIVE_PART.sources, *NATIVE_PART.headers, NATIVE_PART.path)
    ]
    assert [str(file) for file in files if not belongs(file, "tensorflow")] == []


def test_the_image_for_tensorflow_programs_has_all_code_that_the_wheels_digest_covers() -> None:
    folder = tensorflow_folder()
    code = [path for pattern in ("*.py", "*.so", "*.so.*") for path in folder.rglob(pattern)]
    assert len(code) > 1000
    inside = [PurePosixPath(path.relative_to(folder.parent).as_posix()) for path in code]
    assert [str(path) for path in inside if not belongs(path, "tensorflow")] == []


def test_nodes_of_coteries_own_training_have_nothing_of_that_layer() -> None:
    for image in USUAL_IMAGES:
        assert not belongs(PurePosixPath("coterie/tensorflow/node.py"), image)


def test_what_no_node_loads_is_not() -> None:
    for module in ("api", "serving/export", "serving/layers", "data/prepare/reader", "data/prepare/numeric",
                   "cli/main", "plaintext/fabric"):  # fmt: skip
        assert (SITE / "coterie" / f"{module}.py").exists()
        for image in IMAGES:
            assert not belongs(PurePosixPath(f"coterie/{module}.py"), image)
