"""Nodes that are started again after a run that is over end well, also where no server is left."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from coterie.contract import Node
from coterie.data.dataset import open_dataset
from coterie.errors import PeerUnreachable
from coterie.nodes.chief_node import run_chief
from coterie.nodes.fabric import NodeContext
from coterie.nodes.in_process import InProcessFabric, InProcessHub
from coterie.nodes.worker_node import run_worker
from coterie.ps.ports import ParameterServerPort
from coterie.runs.events import DoneBefore, Event
from coterie.training.rollback_guard import RollbackGuard
from faults.plan import Scheme
from faults.scene import Pace, Scene, scenes
from faults.threads import Nodes

pytestmark = pytest.mark.tensorflow
FILE = "remembered-checkpoint.json"


class Nowhere(InProcessFabric):
    """A fabric on which no server is left."""

    def parameter_server(
        self, shard: int, patience_seconds: float | None = None
    ) -> ParameterServerPort:
        raise PeerUnreachable(f"ps{shard} does not answer within {patience_seconds} s")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[Scheme, Scene]:
    return scenes(tmp_path_factory.mktemp("scenes"), Pace(epochs=1))


def context_of(scene: Scene, node: Node, folder: Path, heard: list[Event]) -> NodeContext:
    ticks: Iterator[int] = count(step=100)
    data = scene.contract.data
    return NodeContext(
        contract=scene.contract,
        node=node,
        fabric=Nowhere(InProcessHub(scene.contract), node),
        incarnation=1,
        on_event=heard.append,
        monotonic=lambda: float(next(ticks)),
        open_data=lambda: open_dataset(scene.data / node.party, data, party=node.party),
        memory=folder,
    )


def test_a_worker_remembers_that_it_has_done_its_part(
    made: dict[Scheme, Scene], tmp_path: Path
) -> None:
    scene = made["hfl-2-shards"]
    with Nodes(scene, tmp_path) as nodes:
        for node in scene.contract.nodes:
            nodes.start(node.name)
    for worker in scene.contract.by_role("worker"):
        assert RollbackGuard(tmp_path / worker.name / FILE, scene.contract).done


@pytest.mark.parametrize(
    ("scheme", "name"), [("hfl", "acme-worker"), ("sdt", "worker0"), ("sdt", "chief")]
)
@pytest.mark.parametrize("done", [True, False])
def test_who_had_done_its_part_ends_well_without_a_server_and_nobody_else(
    made: dict[Scheme, Scene], tmp_path: Path, scheme: Scheme, name: str, *, done: bool
) -> None:
    scene = made[scheme]
    node = scene.contract.node(name)
    run = run_chief if node.role == "chief" else run_worker
    heard: list[Event] = []
    if done:
        RollbackGuard(tmp_path / FILE, scene.contract).conclude()
        run(context_of(scene, node, tmp_path, heard))
    else:
        with pytest.raises(PeerUnreachable):
            run(context_of(scene, node, tmp_path, heard))
    assert [event for event in heard if isinstance(event, DoneBefore)] == [DoneBefore(name)] * done
