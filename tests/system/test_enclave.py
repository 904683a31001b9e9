"""Nodes from enclave images: a federated run with nothing of this machine but what the images hold.

The images' own interpreters run them; and, where Gramine is installed, its library OS does, with every
file checked against the manifest. Neither is SGX: that needs the hardware.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from coterie.attestation.measurement import package_measurement
from coterie.contract import EnclaveSection
from coterie.enclave.building import BuildOptions, build_image
from coterie.enclave.contents import ImageName
from coterie.enclave.gramine import GramineTools
from coterie.nodes.stopping import EXIT_CODE
from coterie.sealed.sealed_model import SEALED_MODEL_NAME
from coterie.trained.trained_model import TrainedModel
from tests.system.conftest import Federation, coterie, result_json
from tests.system.enclaves import EnclaveNode, Image, python_command
from tests.system.loaded import LISTED, check_lines
from tests.system.sealed import PARTIES, KeyServers, demanding, seal, seal_key

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

# Lines of code that a process loads, as in test_loaded.py: here with key servers, and all sealed.
IMAGE_CAPS = {"ps": 22_240, "worker": 20_750}
StartEnclave = Callable[[Image, Path], EnclaveNode]


@pytest.fixture
def start_image() -> Iterator[Callable[[Sequence[str], Path, dict[str, str]], EnclaveNode]]:
    started: list[EnclaveNode] = []

    def start(command: Sequence[str], folder: Path, env: dict[str, str]) -> EnclaveNode:
        started.append(EnclaveNode(command, folder, env))
        return started[-1]

    yield start
    for node in started:
        if node.process.poll() is None:
            node.process.kill()
        node.process.communicate()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[ImageName, Image]]:
    """Both images, for ``gramine-direct`` where that is installed."""
    out = tmp_path_factory.mktemp("images")
    options = BuildOptions(EnclaveSection(size_gib=8, ps_size_gib=4), direct=True)
    tools = GramineTools.installed()
    yield {name: Image(build_image(name, out, options, tools)) for name in ("ps", "worker")}
    shutil.rmtree(out)


@pytest.fixture(params=["python", "gramine-direct"])
def start(
    request: pytest.FixtureRequest,
    start_image: Callable[[Sequence[str], Path, dict[str, str]], EnclaveNode],
) -> StartEnclave:
    """Starts a node from its folder: by the image's interpreter, or by Gramine's library OS."""
    if request.param == "python":

        def by_python(image: Image, folder: Path) -> EnclaveNode:
            command, env = python_command(image, folder)
            return start_image(command, folder, env)

        return by_python
    program = shutil.which("gramine-direct")
    if program is None:
        pytest.skip("gramine-direct is not installed here: images run without a library OS only")

    def by_gramine(_image: Image, folder: Path) -> EnclaveNode:
        # The host's environment goes along, and must not matter.
        return start_image([program, "coterie"], folder, {**os.environ, "PYTHONPATH": "/nowhere"})

    return by_gramine


def of_images(federation: Federation, image: Image) -> Federation:
    """The same under a contract that accepts the images' program and no other."""
    (package,) = image.home.glob("lib/python3.*/site-packages/coterie")
    measured = package_measurement(package).hex()
    text = federation.text.replace('measurement = "own"', f'mrenclave = ["{measured}"]')
    assert text != federation.text
    federation.text = text
    return demanding(federation, "seal_checkpoints = true")


@pytest.fixture
def key_server() -> Iterator[KeyServers]:
    servers = KeyServers()
    yield servers
    servers.close()


@pytest.mark.slow
def test_a_federated_run_from_images_gives_the_same_model(
    images: dict[ImageName, Image],
    start: StartEnclave,
    federation: Federation,
    hfl_digest: str,
    key_server: KeyServers,
) -> None:
    contract = of_images(federation, images["worker"])
    sealed = {party: seal(contract, party) for party in ("acme", "bolt")}
    for party in ("acme", "bolt"):
        seal_key(contract, party)
    servers = {party: key_server(contract, party).address for party in PARTIES}
    ps = contract.folder / "node-ps0"
    images["ps"].place(
        ps,
        {"name": "ps0", "listen": "127.0.0.1:0", "key_servers": servers},
        contract,
    )
    server = start(images["ps"], ps)
    address = str(server.wait_event("Listening")["address"])
    workers = []
    for party in ("acme", "bolt"):
        folder = contract.folder / f"node-{party}"
        images["worker"].place(
            folder,
            {
                "name": f"{party}-worker",
                "addresses": {"ps0": address},
                "key_servers": {party: servers[party]},
            },
            contract,
        )
        shutil.copytree(sealed[party], folder / "data", dirs_exist_ok=True)
        workers.append(start(images["worker"], folder))
    result = server.wait_event("Finished")["result"]
    assert isinstance(result, dict)
    assert result["model_digest"] == hfl_digest
    assert [node.finish() for node in (server, *workers)] == [0, 0, 0]
    for role, folder in (("ps", ps), ("worker", contract.folder / "node-acme")):
        if (folder / LISTED).exists():  # not where a library OS keeps it from being written
            loaded = set((folder / LISTED).read_text().split())
            check_lines(f"{role} in an image", loaded, IMAGE_CAPS[role], set())
    # What leaves the enclaves is sealed: the checkpoints, and the model for each company.
    assert next((ps / "out" / "checkpoints").iterdir())
    for party in ("acme", "bolt"):
        left = contract.folder / f"node-{party}" / "out"
        kept = {path.name for path in left.iterdir() if path.name != ".lock"}
        assert kept == {SEALED_MODEL_NAME, "contract.json"}
    opened = contract.folder / "model.coterie"
    done = coterie(
        *("unseal", contract.folder / "node-acme" / "out" / SEALED_MODEL_NAME, opened),
        *("--key", contract.folder / "acme-model.key"),
    )
    assert done.returncode == 0, done.stderr
    assert TrainedModel.read(opened).digest.hex() == hfl_digest

    receipt = ps / "out" / "receipt.jsonl"
    accepted = coterie("receipt", "verify", receipt, "--contract", contract.contract, "--json")
    assert result_json(accepted)["signed_by"] == list(PARTIES)


def test_data_in_the_clear_are_refused(
    images: dict[ImageName, Image],
    start: StartEnclave,
    federation: Federation,
    key_server: KeyServers,
) -> None:
    contract = of_images(federation, images["worker"])
    seal_key(contract, "acme")
    folder = contract.folder / "node"
    images["worker"].place(
        folder,
        {
            "name": "acme-worker",
            "addresses": {"ps0": "127.0.0.1:9"},
            "key_servers": {"acme": key_server(contract, "acme").address},
        },
        contract,
    )
    shutil.copytree(contract.data / "acme", folder / "data", dirs_exist_ok=True)
    node = start(images["worker"], folder)
    error = node.wait_event("Failed")["error"]
    assert isinstance(error, dict)
    assert error["error"] == "DataError"
    assert error["what"] == "the data set of node acme-worker is not sealed, or not there"
    assert node.finish() == 5


@pytest.mark.parametrize(
    "refused",
    [
        ({"name": "nobody"}, 4, "the contract has no node 'nobody'"),
        ({"name": "acme-worker"}, 3, "nobody vouches for node acme-worker"),
        (
            {"name": "acme-worker", "key_servers": {"bolt": "127.0.0.1:9"}},
            3,
            "nobody vouches for node acme-worker",
        ),
        ({"name": "acme-worker", "out": "/tmp"}, 7, "out: Extra inputs are not permitted"),
    ],
)
def test_inputs_of_the_host_that_are_refused(
    images: dict[ImageName, Image],
    start: StartEnclave,
    federation: Federation,
    refused: tuple[dict[str, object], int, str],
) -> None:
    inputs, code, said = refused
    contract = of_images(federation, images["worker"])
    folder = contract.folder / "node"
    images["ps"].place(folder, inputs, contract)
    node = start(images["ps"], folder)
    assert node.finish() == code
    assert said in "".join(node.said)


def test_an_altered_file_of_the_image_stops_the_node_under_gramine(
    images: dict[ImageName, Image],
    federation: Federation,
    tmp_path: Path,
    start_image: Callable[[Sequence[str], Path, dict[str, str]], EnclaveNode],
) -> None:
    program = shutil.which("gramine-direct")
    if program is None:
        pytest.skip("gramine-direct is not installed here: nothing checks trusted files")
    folder = tmp_path / "node"
    images["ps"].place(folder, {"name": "nobody"}, of_images(federation, images["ps"]))
    (folder / "home").unlink()
    shutil.copytree(images["ps"].home, folder / "home")
    (entry,) = (folder / "home").glob("lib/python3.*/site-packages/coterie/enclave/starting.py")
    entry.write_text(entry.read_text() + "\n")
    (cached,) = entry.parent.glob("__pycache__/starting.*.pyc")
    cached.write_bytes(cached.read_bytes() + b"\0")
    node = start_image([program, "coterie"], folder, dict(os.environ))
    assert node.finish() != 0
    assert "the contract has no node" not in "".join(node.said)


def test_a_node_ends_when_its_host_says_so(
    images: dict[ImageName, Image],
    start: StartEnclave,
    federation: Federation,
    key_server: KeyServers,
) -> None:
    contract = of_images(federation, images["worker"])
    folder = contract.folder / "node-ps0"
    servers = {party: key_server(contract, party).address for party in PARTIES}
    images["ps"].place(
        folder, {"name": "ps0", "listen": "127.0.0.1:0", "key_servers": servers}, contract
    )
    node = start(images["ps"], folder)
    node.wait_event("Listening")
    node.process.terminate()
    assert node.wait_event("Stopped")["node"] == "ps0"
    assert node.finish() == EXIT_CODE
