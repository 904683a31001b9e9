"""A TensorFlow cluster of two companies on sealed data: key servers vouch and give keys, and what a worker keeps is sealed, too."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.system.clusters import CONTRACT, DLRM, ClusterNode
from tests.system.conftest import SMALL, Federation, Scene, coterie, hfl_nodes
from tests.system.sealed import PARTIES, KeyServers, demanding, seal, seal_key

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("loopback", "native_part"),
]

NODES = {"ps0": "operator", "acme-worker": "acme", "bolt-worker": "bolt"}


@pytest.fixture
def signed(hfl: Scene, tmp_path: Path) -> Federation:
    """The small contract's nodes and data, for the example's program."""
    digests = json.loads(coterie("tensorflow", "measure", DLRM, "--json").stdout)
    operations = tomllib.loads(CONTRACT.read_text())["tensorflow"]["operations"]
    small = tomllib.loads(hfl_nodes(("acme", "bolt")) + SMALL)
    lines = [f'{name} = "{digest}"' for name, digest in digests.items()]
    data = "\n".join(f"{name} = {value}" for name, value in small["data"].items())
    roles = "".join(
        f'[trust.roles.{role}]\nmeasurement = "own"\naccepted_tcb_statuses = ["UpToDate"]\n'
        for role in ("ps", "worker")
    )
    contract = tmp_path / "tensorflow.toml"
    contract.write_text(
        f"{hfl_nodes(('acme', 'bolt'))}\n[data]\n{data}\n[tensorflow]\n"
        + "\n".join([*lines, f"operations = {json.dumps(operations)}"])
        + f'\n[trust]\ntee = "simulated"\n{roles}'
    )
    return demanding(Federation(tmp_path, Scene(contract, hfl.data)))


class Cluster:
    """The three nodes, each vouched for by its party's key server."""

    def __init__(self, signed: Federation, servers: KeyServers, stack: ExitStack) -> None:
        self._contract = signed.contract
        self.model_key = seal_key(signed, "acme")
        self._sealed = {party: seal(signed, party) for party in ("acme", "bolt")}
        self._servers = {party: servers(signed, party) for party in PARTIES}
        self._stack = stack

    def _start(
        self, name: str, *options: str | Path, steps: int, more: tuple[str, ...] = ()
    ) -> ClusterNode:
        node = ClusterNode(
            self._contract,
            name,
            DLRM,
            key=None,
            options=["--key-server", self._servers[NODES[name]].address, *map(str, options)],
            arguments=["--sync", "--steps", str(steps), "--batch", "16", *more],
        )
        self._stack.callback(node.close)
        return node

    def train(self, out: Path, steps: int) -> list[str]:
        """Trains to a step; returns what the worker has printed that keeps the variables in ``out``."""
        server = self._start("ps0", "--listen", "127.0.0.1:0", steps=steps)
        where = ("--address", f"ps0={server.event('Listening')['address']}")
        data = {party: ("--data", sealed) for party, sealed in self._sealed.items()}
        keeping = ("--out", out)
        first = self._start(
            "acme-worker", *where, *data["acme"], *keeping, steps=steps, more=("--save", "2")
        )
        second = self._start("bolt-worker", *where, *data["bolt"], steps=steps)
        printed = [first.said(), second.said()]
        ended = [node.process.returncode for node in (first, second)]
        assert ended == [0, 0], printed
        server.close()
        return printed[0]


@pytest.fixture
def cluster(signed: Federation) -> Iterator[Cluster]:
    with ExitStack() as stack:
        servers = KeyServers()
        stack.callback(servers.close)
        yield Cluster(signed, servers, stack)


def steps_of(printed: list[str]) -> list[int]:
    """The global steps that were seen during each of a worker's steps: before its end, or after."""
    return [int(line.split()[3]) for line in printed if line.startswith("worker 0 step ")]


def test_training_goes_on_from_variables_that_only_their_party_can_open(
    cluster: Cluster, tmp_path: Path
) -> None:
    out = tmp_path / "acme-out"
    begun = steps_of(cluster.train(out, 4))
    assert [len(begun), min(begun) in {0, 1}] == [4, True]
    kept = out / "variables.npz.sealed"
    assert not (out / "variables.npz").exists()
    opened, earlier = tmp_path / "opened.npz", kept.read_bytes()
    assert coterie("unseal", kept, opened, "--key", cluster.model_key).returncode == 0
    with np.load(opened, allow_pickle=False) as variables:
        assert variables["global_step"] == 4
        bias = variables["kernel_6"].tobytes()
    assert bias not in earlier

    went_on = steps_of(cluster.train(out, 7))
    assert [len(went_on), min(went_on) in {4, 5}] == [3, True]
    assert kept.read_bytes() != earlier
