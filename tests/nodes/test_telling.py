"""A node that fails before it has joined tells the server: the others hear why they wait."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from coterie.errors import DataError
from coterie.nodes.fabric import Fabric
from coterie.nodes.in_process import InProcessFabric, InProcessHub
from coterie.nodes.launch import run_in_process
from coterie.nodes.participant import telling
from coterie.ps.ports import ParameterServerPort
from coterie.runs import events
from faults.plan import Scheme
from faults.scene import Pace, Scene, scenes
from faults.threads import Nodes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[Scheme, Scene]:
    return scenes(tmp_path_factory.mktemp("scenes"), Pace(epochs=1))


@pytest.mark.tensorflow
@pytest.mark.parametrize(("scheme", "name"), [("hfl", "acme-worker"), ("sdt", "chief")])
def test_an_error_about_data_is_told_by_its_class_and_the_node_may_come_again(
    made: dict[Scheme, Scene], tmp_path: Path, scheme: Scheme, name: str
) -> None:
    scene = replace(made[scheme], data=tmp_path / "data")
    party = scene.contract.node(name).party
    shutil.copytree(made[scheme].data, scene.data)
    (scene.data / party).rename(tmp_path / "elsewhere")
    expected = run_in_process(scene.contract, made[scheme].data, lambda _: None).model_digest
    with Nodes(scene, tmp_path) as nodes:
        told = {node.name: nodes.start(node.name) for node in scene.contract.nodes}
        server = told["ps0"]
        (ended,) = server.wait(events.Ended)
        told[name].wait_for_the_end()
        (tmp_path / "elsewhere").rename(scene.data / party)
        nodes.start(name)
    assert isinstance(told[name].error, DataError)
    assert ended == events.Ended(name, type(told[name].error).__name__, "", goes_on=False)
    assert server.of(events.Finished)[0].result["model_digest"] == expected


class Dialled(InProcessFabric):
    """A fabric that notes what is dialled, and for how long."""

    dialled: list[tuple[int, float | None]]

    def parameter_server(
        self, shard: int, patience_seconds: float | None = None
    ) -> ParameterServerPort:
        self.dialled.append((shard, patience_seconds))
        return super().parameter_server(shard, 1e-9)


@pytest.mark.parametrize(("name", "dialled"), [("acme-worker", [(0, 3.0)]), ("ps0", [])])
def test_a_server_that_is_not_there_is_dialled_for_seconds_and_hides_no_error(
    made: dict[Scheme, Scene], name: str, dialled: list[tuple[int, float | None]]
) -> None:
    contract = made["hfl"].contract
    fabric = Dialled(InProcessHub(contract), contract.node(name))
    fabric.dialled = []
    checked: Fabric = fabric
    with (
        pytest.raises(DataError, match="the first error"),
        telling(checked, contract.node(name)),
    ):
        raise DataError("the first error")
    assert fabric.dialled == dialled
