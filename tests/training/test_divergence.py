"""A training that diverges is named as that, with the step and the losses, at every node."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from coterie.contract import Contract, parse_contract
from coterie.errors import TrainingDiverged
from coterie.nodes.launch import run_in_process
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.divergence import MAX_LOSS, check_converging
from coterie.runs import events
from faults.scene import Scene, scenes
from faults.threads import Nodes

GOOD = Gradients(
    4, 2.0, np.zeros(3, np.float32), np.zeros(1, np.int32), np.zeros((1, 2), np.float32)
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return scenes(tmp_path_factory.mktemp("scene"))["hfl"]


def too_fast(scene: Scene) -> Contract:
    text = re.sub(
        r'kind = "\w+"\nlearning_rate = [0-9.]+',
        'kind = "sgd"\nlearning_rate = 100',
        scene.file.read_text(),
    )
    return parse_contract(text.replace("epochs = 3", "epochs = 50").encode(), "too fast")


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_learning_rate_of_a_hundred_is_named_at_every_node(scene: Scene, tmp_path: Path) -> None:
    fast = dataclasses.replace(scene, contract=too_fast(scene))
    with Nodes(fast, tmp_path) as nodes:
        told = [nodes.start(name) for name in ("ps0", "acme-worker", "bolt-worker")]
    server, *workers = told
    for node in told:
        assert isinstance(node.error, TrainingDiverged), node.error
        assert re.fullmatch(r"training diverged at step \d+", node.error.what)
        assert "learning rates" in node.error.remedy
    assert isinstance(server.error, TrainingDiverged)
    assert "mean losses of the steps before: " in server.error.seen
    losses = [step.loss for step in server.of(events.StepDone) if step.loss is not None][-5:]
    assert losses
    assert ", ".join(f"{loss:.3g}" for loss in losses) in server.error.seen
    assert server.of(events.Ended)[0].error == "TrainingDiverged"
    assert workers


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_in_one_process_says_the_same(scene: Scene) -> None:
    with pytest.raises(TrainingDiverged, match=r"training diverged at step \d+"):
        run_in_process(too_fast(scene), scene.data, lambda _: None)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"loss_sum": float("nan")}, "a loss that is not a number"),
        ({"loss_sum": float("inf")}, "a mean loss of more than 1e+06"),
        ({"loss_sum": 4.1 * MAX_LOSS}, "a mean loss of more than 1e+06"),
        ({"dense_p": np.full(3, np.inf, np.float32)}, "gradients that are not finite"),
        ({"rows_ud": np.full((1, 2), np.nan, np.float32)}, "gradients that are not finite"),
    ],
)
def test_what_shows_it(change: dict[str, object], seen: str) -> None:
    check_converging(7, GOOD)
    with pytest.raises(TrainingDiverged) as error:
        check_converging(7, dataclasses.replace(GOOD, **change))  # type: ignore[arg-type]
    assert error.value.what == "training diverged at step 7"
    assert error.value.seen == seen
