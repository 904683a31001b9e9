"""Real processes on loopback: a small data set, a small contract, and a way to start the CLI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from coterie.contract import parse_contract
from coterie.contract.signatures import generate_party_key, public_key_text
from coterie.criteo.preparation import prepare
from coterie.criteo.synthetic import synthesize

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

[training.dense]
kind = "adagrad"
learning_rate = 0.05

[training.rows]
kind = "rowwise_adagrad"
learning_rate = 0.05

[limits]
join_seconds = 300
step_seconds = 60

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
    path = tmp_path_factory.mktemp("raw") / "raw.tsv"
    synthesize(path, rows=4000, seed=11)
    return path


def make_scene(mode: str, raw: Path, folder: Path, text: str = "") -> Scene:
    """Prepares the data of a contract; by default of the small one."""
    text = text or contract_text(mode)
    contract_file = folder / f"{mode}.toml"
    contract_file.write_text(text)
    contract = parse_contract(text.encode(), mode)
    prepare(raw, folder / "data", contract, deal="round-robin")
    return Scene(contract_file, folder / "data")


@pytest.fixture(scope="session")
def hfl(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene("hfl", raw, tmp_path_factory.mktemp("hfl"))


@pytest.fixture(scope="session")
def sdt(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene("sdt", raw, tmp_path_factory.mktemp("sdt"))


@pytest.fixture(scope="session")
def hfl_digest(hfl: Scene) -> str:
    """Digest of the model that an undisturbed run gives."""
    local = result_json(coterie("local", hfl.contract, "--data", hfl.data, "--json"))
    return str(local["model_digest"])


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", **changes}


def coterie(
    *arguments: str | Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "coterie", *map(str, arguments)],
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


StartNode = Callable[..., Node]


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
        self, start: StartNode, *, listen: str = "127.0.0.1:0", supervised: bool = True
    ) -> tuple[Node, str]:
        node = start(
            self.contract,
            "ps0",
            "--listen", listen,
            "--out", self.folder / "ps0",
            "--party-key", self.key("operator"),
            supervised=supervised,
        )  # fmt: skip
        return node, str(node.wait_event("Listening")["address"])

    def worker(
        self,
        start: StartNode,
        address: str,
        *,
        contract: Path | None = None,
        key: str | None = None,
        party: str = "acme",
        env: dict[str, str] | None = None,
        out: Path | None = None,
    ) -> Node:
        return start(
            contract or self.contract,
            f"{party}-worker",
            "--address", f"ps0={address}",
            "--data", self.data / party,
            "--party-key", self.key(key or party),
            *(("--out", out) if out is not None else ()),
            env=env,
        )  # fmt: skip


@pytest.fixture
def federation(tmp_path: Path, hfl: Scene) -> Federation:
    return Federation(tmp_path, hfl)
