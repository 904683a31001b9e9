"""A small data set, a small contract, ways to start nodes and verbs, and runs that tests share.

A verb runs in this process unless a test gives it an environment: then, and where a test kills or
signals, a process is what is tested. Nodes are threads (``start_thread``) or processes
(``start_node``) by the same rule.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from coterie.contract import parse_contract
from coterie.contract.signatures import generate_party_key, public_key_text
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.synthetic import synthesize
from tests.command_line import called
from tests.sharing import made_once, turn
from tests.system.threads import ThreadNode

# Their ends are signals, so they are processes whatever a test shows of them.
UNTIL_A_SIGNAL = ("node", "keyserver")
SMALL = """
[data]
rows = 64
hash_seed = 5
min_count = 2

[model]
embedding_dim = 4
bottom = [8, 4]
top = [8, 1]

[training]
batch = 64
epochs = 1
seed = 3
checkpoint_steps = 5

[training.validation]
every_steps = 5
keep = "best"
[training.dense]
kind = "adagrad"
learning_rate = 0.05

[training.rows]
kind = "rowwise_adagrad"
learning_rate = 0.05

[limits]
join_seconds = 300
step_seconds = 60
evaluation_minimum = 10

[trust]
tee = "simulated"
"""

SDT_NODES = """
format = 1
name = "small-sdt"
mode = "sdt"
parties = [{ name = "owner" }]
nodes = [
    { name = "chief", role = "chief", party = "owner" },
    { name = "ps0", role = "ps", party = "owner", address = "127.0.0.1:0" },
    { name = "worker0", role = "worker", party = "owner", address = "127.0.0.1:0" },
    { name = "worker1", role = "worker", party = "owner", address = "127.0.0.1:0" },
]
"""


def hfl_nodes(companies: Sequence[str]) -> str:
    """A parameter server of an operator, and one worker of each company."""
    parties = ", ".join(f'{{ name = "{party}" }}' for party in ("operator", *companies))
    workers = "".join(
        f'    {{ name = "{company}-worker", role = "worker", party = "{company}" }},\n'
        for company in companies
    )
    server = '{ name = "ps0", role = "ps", party = "operator", address = "127.0.0.1:0" }'
    return f"""
format = 1
name = "small-hfl"
mode = "hfl"
parties = [{parties}]
nodes = [
    {server},
{workers}]
"""


def contract_text(mode: str, companies: Sequence[str] = ("acme", "bolt")) -> str:
    """A small contract of either mode, as TOML."""
    roles = ("ps", "worker") if mode == "hfl" else ("ps", "worker", "chief")
    trust = "".join(
        f'\n[trust.roles.{role}]\nmeasurement = "own"\naccepted_tcb_statuses = ["UpToDate"]\n'
        for role in roles
    )
    return (hfl_nodes(companies) if mode == "hfl" else SDT_NODES) + SMALL + trust


@dataclass(frozen=True)
class Scene:
    """A contract file and the data that was prepared for it."""

    contract: Path
    data: Path


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        folder.mkdir()
        synthesize(folder / "raw.tsv", rows=4000, seed=11)

    return made_once(tmp_path_factory, "raw", make) / "raw.tsv"


def make_scene(mode: str, raw: Path, folder: Path, text: str = "") -> Scene:
    """Prepares the data of a contract; by default of the small one."""
    text = text or contract_text(mode)
    contract_file = folder / f"{mode}.toml"
    contract_file.write_text(text)
    contract = parse_contract(text.encode(), mode)
    prepare(raw, folder / "data", contract, deal="round-robin")
    return Scene(contract_file, folder / "data")


def shared_scene(mode: str, raw: Path, factory: pytest.TempPathFactory) -> Scene:
    def make(folder: Path) -> None:
        folder.mkdir()
        make_scene(mode, raw, folder)

    folder = made_once(factory, mode, make)
    return Scene(folder / f"{mode}.toml", folder / "data")


@pytest.fixture(scope="session")
def hfl(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return shared_scene("hfl", raw, tmp_path_factory)


@pytest.fixture(scope="session")
def sdt(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return shared_scene("sdt", raw, tmp_path_factory)


@dataclass(frozen=True)
class Ran:
    """A verb that has run, and the folder that it left: shared, so only to be looked at."""

    out: Path
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, object]:
        """The one JSON object that the command printed."""
        value = json.loads(self.stdout)
        assert isinstance(value, dict)
        return value


class SharedRuns:
    """Runs that several tests look at; each is made once."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory

    def __call__(self, verb: str, scene: Scene, *more: str) -> Ran:
        """Runs ``coterie VERB`` on a scene with ``--out``; FOLDER in ``more`` is beside it."""

        def make(folder: Path) -> None:
            folder.mkdir()
            words = [word.replace("FOLDER", str(folder)) for word in more]
            done = coterie(
                verb, scene.contract, "--data", scene.data, "--out", folder / "out", "--json",
                *words,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            (folder / "stdout").write_text(done.stdout)
            (folder / "stderr").write_text(done.stderr)

        folder = made_once(self._factory, f"{verb}-{scene.contract.stem}", make)
        texts = [(folder / name).read_text() for name in ("stdout", "stderr")]
        return Ran(folder / "out", *texts)


@pytest.fixture(scope="session")
def shared_runs(tmp_path_factory: pytest.TempPathFactory) -> SharedRuns:
    return SharedRuns(tmp_path_factory)


@pytest.fixture(scope="session")
def hfl_local(hfl: Scene, shared_runs: SharedRuns) -> Ran:
    """The reference: HFL in one process, with its comparison and report."""
    return shared_runs("local", hfl)


@pytest.fixture(scope="session")
def sdt_local(sdt: Scene, shared_runs: SharedRuns) -> Ran:
    """The reference for SDT."""
    return shared_runs("local", sdt)


@pytest.fixture(scope="session")
def hfl_bench(hfl: Scene, shared_runs: SharedRuns) -> Ran:
    """HFL attested and in plaintext, every node a process."""
    return shared_runs("bench", hfl)


@pytest.fixture(scope="session")
def sdt_bench(sdt: Scene, shared_runs: SharedRuns) -> Ran:
    """SDT attested and in plaintext, every node a process."""
    return shared_runs("bench", sdt)


@pytest.fixture(scope="session")
def hfl_run(hfl: Scene, shared_runs: SharedRuns) -> Ran:
    """HFL attested, every node a process; each company compares; TensorBoard's files in board."""
    return shared_runs("run", hfl, "--compare-alone", "--tensorboard", "FOLDER/board")


@pytest.fixture(scope="session")
def hfl_digest(hfl_local: Ran) -> str:
    """Digest of the model that an undisturbed run gives."""
    return str(hfl_local.result["model_digest"])


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", **changes}


def coterie(
    *arguments: str | Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a verb to its end: here, or as a process where it has another environment."""
    words = [str(word) for word in arguments]
    if env is None and words[0] not in UNTIL_A_SIGNAL:
        return called(*words)
    return subprocess.run(
        [sys.executable, "-m", "coterie", *words],
        capture_output=True,
        text=True,
        timeout=240,
        env=env or environment(),
        check=False,
    )


def result_json(finished: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The one JSON object that a successful command printed."""
    assert finished.returncode == 0, finished.stderr
    value = json.loads(finished.stdout)
    assert isinstance(value, dict)
    return value


class Node:
    """A node that runs in the background; its events are read line by line."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        *,
        supervised: bool = True,
    ) -> None:
        self.process = subprocess.Popen(
            [
                *prefix,
                *(sys.executable, "-m", "coterie", "node"),
                *map(str, arguments),
                *("--log-format", "json"),
                *(("--end-with-parent",) if supervised else ()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env or environment(),
        )

    def wait_event(self, kind: str) -> dict[str, object]:
        """Reads events until one of this kind comes."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == kind:
                assert isinstance(event, dict)
                return event
        pytest.fail(f"the node ended without {kind}: {self.process.communicate()[1]}")

    def finish(self) -> int:
        """Waits for the node's end; returns its exit code."""
        assert self.process.stdout is not None
        self.process.stdout.read()  # to its end; its input stays open, or it would end at once
        code = self.process.wait(120)
        self.process.communicate()
        return code

    def kill(self) -> None:
        """Ends the node at once."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start_node() -> Iterator[Callable[..., Node]]:
    """Starts nodes, and ends those that a test leaves behind."""
    nodes: list[Node] = []

    def start(
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        supervised: bool = True,
    ) -> Node:
        nodes.append(Node(arguments, env, prefix, supervised=supervised))
        return nodes[-1]

    yield start
    for node in nodes:
        if node.process.poll() is None:
            node.kill()


@pytest.fixture
def loopback(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """For tests that speak plain TensorFlow, and for the one (``alone``) that listens for it."""
    alone = request.node.get_closest_marker("alone") is not None
    with turn(tmp_path_factory, "loopback", alone=alone):
        yield


@pytest.fixture
def start_thread() -> Iterator[Callable[..., ThreadNode]]:
    """Starts nodes as threads; a test waits for the end of each."""
    nodes: list[ThreadNode] = []

    def start(*arguments: str | Path) -> ThreadNode:
        nodes.append(ThreadNode(arguments))
        return nodes[-1]

    yield start
    for node in nodes:
        node.finish()


StartNode = Callable[..., Node]
StartThread = Callable[..., ThreadNode]
AnyNode = TypeVar("AnyNode", Node, ThreadNode)


class Federation:
    """A contract with real party keys, and the files that its nodes need.

    Args:
        folder: For keys, and for what nodes keep.
        scene: Its contract names parties without keys.
    """

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.folder = folder
        self.data = scene.data
        text = scene.contract.read_text()
        for party in parse_contract(text.encode(), "scene").parties:
            key = generate_party_key(folder / f"{party.name}.pem")
            text = text.replace(
                f'{{ name = "{party.name}" }}',
                f'{{ name = "{party.name}", key = "{public_key_text(key)}" }}',
            )
        self.text = text
        self.contract = self.write("contract.toml", text)

    def write(self, name: str, text: str) -> Path:
        (self.folder / name).write_text(text)
        return self.folder / name

    def key(self, party: str) -> Path:
        return self.folder / f"{party}.pem"

    def server(
        self,
        start: Callable[..., AnyNode],
        listen: str = "127.0.0.1:0",
        **options: bool,
    ) -> tuple[AnyNode, str]:
        node = start(
            self.contract,
            "ps0",
            "--listen", listen,
            "--out", self.folder / "ps0",
            "--party-key", self.key("operator"),
            **options,
        )  # fmt: skip
        return node, str(node.wait_event("Listening")["address"])

    def worker(
        self,
        start: Callable[..., AnyNode],
        address: str,
        *,
        contract: Path | None = None,
        key: str | None = None,
        party: str = "acme",
        out: Path | None = None,
        **options: dict[str, str],
    ) -> AnyNode:
        return start(
            contract or self.contract,
            f"{party}-worker",
            "--address", f"ps0={address}",
            "--data", self.data / party,
            "--party-key", self.key(key or party),
            *(("--out", out) if out is not None else ()),
            **options,
        )  # fmt: skip


def rented(
    owner: Federation,
    start: Callable[..., AnyNode],
    data: Path,
    trusting: Sequence[str | Path],
) -> list[AnyNode]:
    """Starts SDT's nodes: parameter server, two workers, chief.

    Args:
        owner: The contract of the one party.
        start: Starts a node.
        data: The chief's data set.
        trusting: What vouches for every node: ``--party-key`` or ``--key-server``, and its value.
    """
    nodes: list[AnyNode] = []
    known: list[str] = []
    for name in ("ps0", "worker0", "worker1"):
        listen = ("--listen", "127.0.0.1:0", "--out", owner.folder / name)
        nodes.append(start(owner.contract, name, *listen, *trusting, *known))
        known += ["--address", f"{name}={nodes[-1].wait_event('Listening')['address']}"]
    nodes.append(start(owner.contract, "chief", "--data", data, *trusting, *known))
    return nodes


@pytest.fixture
def federation(tmp_path: Path, hfl: Scene) -> Federation:
    return Federation(tmp_path, hfl)
