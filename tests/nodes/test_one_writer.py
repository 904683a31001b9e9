"""A folder that a run or a node writes has one writer: a second one is refused, the first goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.errors import OutputInUse
from coterie.files import only_writer
from coterie.nodes.launch import run_in_process
from coterie.nodes.options import NodeOptions
from coterie.nodes.process import run_node
from coterie.runs import events
from coterie.runs.events import Event
from faults.scene import Pace, Scene, scenes
from faults.threads import Nodes

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return scenes(tmp_path_factory.mktemp("scene"), Pace(epochs=1, checkpoint_steps=5))["hfl"]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.tensorflow
def test_a_second_server_in_the_same_folder_is_refused_and_the_first_one_finishes(
    scene: Scene, tmp_path: Path
) -> None:
    expected = run_in_process(scene.contract, scene.data, lambda _: None).model_digest
    with Nodes(scene, tmp_path) as nodes:
        server = nodes.start("ps0")
        acme = nodes.start("acme-worker")
        server.wait(events.Joined)
        before = snapshot(nodes.home("ps0"))
        second = nodes.start("ps0", home=nodes.home("ps0"))
        again = nodes.start("acme-worker", home=nodes.home("acme-worker"))
        second.wait_for_the_end()
        again.wait_for_the_end()
        assert snapshot(nodes.home("ps0")) == before
        nodes.start("bolt-worker")
    for refused in (second, again):
        assert isinstance(refused.error, OutputInUse)
        assert "in use by another process" in refused.error.what
        assert refused.heard == [], "what it says would be taken for the first one's"
    assert (server.error, acme.error) == (None, None)
    assert server.of(events.Finished)[0].result["model_digest"] == expected


@pytest.mark.parametrize("name", ["ps0", "acme-worker"])
def test_a_node_whose_folder_is_held_leaves_it_as_it_is(
    scene: Scene, tmp_path: Path, name: str
) -> None:
    heard: list[Event] = []
    with only_writer(tmp_path / "home"), pytest.raises(OutputInUse, match="another process"):
        run_node(
            scene.contract,
            scene.contract.node(name),
            NodeOptions(out=tmp_path / "other", memory=tmp_path / "home"),
            lambda _event, _incarnation: pytest.fail("it must not come so far"),
            "PLAINTEXT",
            on_event=heard.append,
        )
    assert heard == []
    assert set(snapshot(tmp_path)) <= {"home/.lock", "other/.lock"}


def test_two_local_runs_in_one_directory_do_not_mix(scene: Scene, tmp_path: Path) -> None:
    with only_writer(tmp_path / "out"), pytest.raises(OutputInUse, match="another process"):
        run_in_process(scene.contract, scene.data, lambda _: None, out=tmp_path / "out")
    assert set(snapshot(tmp_path)) == {"out/.lock"}
