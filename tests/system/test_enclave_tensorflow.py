"""A TensorFlow cluster from the enclave image `tensorflow`: the same losses as plain TensorFlow, bit for bit.

The image's own interpreter runs all nodes; and, where Gramine is installed, its library OS runs the chief and
a worker of them, with the native part in front of its C library. Neither is SGX.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.clusters import run_plain_cluster
from coterie.attestation.measurement import package_measurement
from coterie.contract import EnclaveSection, load_contract
from coterie.enclave.building import BuildOptions, build_image
from coterie.enclave.gramine import GramineTools
from coterie.errors import EnvironmentUnfit
from coterie.tensorflow.building import NATIVE_PART
from coterie.tensorflow.digests import read_program, tensorflow_folder, wheel_digest
from faults.loopback import free_address
from tests.conftest import REPOSITORY
from tests.sharing import turn
from tests.system.conftest import SDT_NODES, Federation, Scene
from tests.system.enclaves import EnclaveNode, Image, python_command
from tests.system.sealed import KeyServers

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.slow,
    pytest.mark.usefixtures("loopback"),
]

EXAMPLE = REPOSITORY / "examples" / "tensorflow" / "dlrm_in_graph.py"
# Programs of enclaves get no arguments, so these are the program's own.
DEFAULTS = {
    "steps": ("50", "5"),
    "batch": ("128", "16"),
    "rows": ('DATA.get("table_rows", 100_000)', "2000"),
}
# As the manifest sets it: oneDNN's kernels round otherwise.
ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "0"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    try:
        NATIVE_PART.build()
    except EnvironmentUnfit as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("image")
    options = BuildOptions(EnclaveSection(size_gib=8), direct=True)
    yield Image(build_image("tensorflow", out, options, GramineTools.installed()))
    shutil.rmtree(out)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, with few and small steps."""
    text = EXAMPLE.read_text()
    for name, (usual, small) in DEFAULTS.items():
        option = f'"--{name}", type=int, default='
        assert option + usual in text
        text = text.replace(option + usual, option + small)
    path = tmp_path_factory.mktemp("program") / "program.py"
    path.write_text(text)
    return path


@pytest.fixture
def contract(image: Image, program: Path, tmp_path: Path) -> Federation:
    """One owner's cluster: the chief only dials out. It accepts the image's program and no other."""
    (site,) = image.home.glob("lib/python3.*/site-packages")
    wheel = wheel_digest(site / "tensorflow")
    assert wheel == wheel_digest(tensorflow_folder()), (
        "`coterie tensorflow measure` tells another one"
    )
    text = SDT_NODES
    while "127.0.0.1:0" in text:
        text = text.replace("127.0.0.1:0", free_address(), 1)
    measured = package_measurement(site / "coterie", tensorflow=True).hex()
    roles = "".join(
        f'\n[trust.roles.{role}]\nmrenclave = ["{measured}"]\naccepted_tcb_statuses = ["UpToDate"]\n'
        for role in ("ps", "worker", "chief")
    )
    digest = read_program(program).digest
    text += f'\n[tensorflow]\nprogram = "{digest}"\nwheel = "{wheel}"\n'
    text += '\n[limits]\njoin_seconds = 400\n\n[trust]\ntee = "simulated"\n' + roles
    scene = tmp_path / "scene.toml"
    scene.write_text(text)
    folder = tmp_path / "cluster"
    folder.mkdir()
    return Federation(folder, Scene(scene, tmp_path))


@pytest.fixture(scope="module")
def plain(program: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The losses of plain TensorFlow."""
    contract = load_contract(EXAMPLE.with_name("cluster.toml"))
    # It is made before `loopback` takes its turn for the first test.
    with (
        turn(tmp_path_factory, "loopback", alone=False),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        lines = run_plain_cluster(contract, program, [])
    return [line for line in lines if line.startswith("step ")]


@pytest.mark.parametrize("under_gramine", [(), ("worker0", "chief")], ids=["python", "gramine"])
def test_a_cluster_from_the_image_gives_the_plain_ones_losses(
    image: Image,
    program: Path,
    contract: Federation,
    plain: list[str],
    under_gramine: tuple[str, ...],
) -> None:
    gramine = shutil.which("gramine-direct")
    if under_gramine and gramine is None:
        pytest.skip(
            "gramine-direct is not installed here: the image runs without a library OS only"
        )
    keys = KeyServers()
    nodes: dict[str, EnclaveNode] = {}
    try:
        server = keys(contract, "owner").address
        for name in ("worker0", "chief", "ps0", "worker1"):
            folder = contract.folder / f"node-{name}"
            image.place(folder, {"name": name, "key_servers": {"owner": server}}, contract)
            shutil.copy(program, folder / "inputs" / "program.py")
            command, env = python_command(image, folder)
            if name in under_gramine:
                command, env = [str(gramine), "coterie"], dict(os.environ)
            nodes[name] = EnclaveNode(command, folder, {**env, **ENVIRONMENT})
        assert nodes["chief"].finish() == 0, "".join(nodes["chief"].said[-9:])
    finally:
        for node in nodes.values():
            node.process.kill()
            node.process.communicate()
        keys.close()
    said = [line.rstrip() for line in nodes["chief"].said if line.startswith("step ")]
    assert len(said) == int(DEFAULTS["steps"][1])
    assert said == plain
