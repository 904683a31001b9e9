"""A server whose disk takes no checkpoint, over real connections: everybody hears why, and it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.nodes.launch import run_in_process
from coterie.runs import events
from coterie.runs.events import Event
from faults.scene import Pace, Scene, scenes
from faults.threads import Nodes

pytestmark = pytest.mark.tensorflow


def scene_of(folder: Path, patience: int) -> Scene:
    return scenes(folder, Pace(epochs=1, checkpoint_steps=5, patience=patience))["hfl"]


def test_training_pauses_says_why_at_every_node_and_goes_on_to_the_same_model(
    tmp_path: Path,
) -> None:
    scene = scene_of(tmp_path / "scene", patience=90)
    expected = run_in_process(scene.contract, scene.data, lambda _: None).model_digest
    obstacle = tmp_path / "ps0" / "checkpoints" / "segment.partial"

    def obstruct(event: Event) -> None:
        if isinstance(event, events.Begun):
            obstacle.mkdir()  # in the place of the file that is written first

    with Nodes(scene, tmp_path) as nodes:
        server = nodes.start("ps0", also=obstruct)
        workers = [nodes.start(name) for name in ("acme-worker", "bolt-worker")]

        def about_the_disk(event: events.Waiting) -> bool:
            return "Is a directory" in event.reason

        count = 1
        while not any(map(about_the_disk, server.wait(events.Waiting, count))):
            count += 1
        for worker in workers:
            count = 1
            while not any(map(about_the_disk, worker.wait(events.Waiting, count))):
                count += 1
        assert not server.of(events.CheckpointWritten)
        obstacle.rmdir()
    assert [node.error for node in (server, *workers)] == [None] * 3
    assert server.of(events.Finished)[0].result["model_digest"] == expected


def test_the_contracts_limits_end_it_and_everybody_ends_with_the_disks_reason(
    tmp_path: Path,
) -> None:
    scene = scene_of(tmp_path / "scene", patience=20)
    obstacle = tmp_path / "ps0" / "checkpoints" / "segment.partial"

    def obstruct(event: Event) -> None:
        if isinstance(event, events.Begun):
            obstacle.mkdir()

    with Nodes(scene, tmp_path) as nodes:
        told = [nodes.start("ps0", also=obstruct)]
        told += [nodes.start(name) for name in ("acme-worker", "bolt-worker")]
    for node in told:
        assert isinstance(node.error, EnvironmentUnfit), node.error
        assert "the checkpoint of step" in node.error.what
        assert node.error.seen == "Is a directory"
    with pytest.raises(OSError, match="Is a directory"):
        obstacle.read_bytes()
