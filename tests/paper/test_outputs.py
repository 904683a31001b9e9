"""What TensorFlow's programs print and write becomes curves, times and qualities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coterie.errors import DataError
from coterie.metrics.binary import roc_auc
from coterie.paper.outputs import MOST_POINTS, curve_of, quality_of, seconds_of, thinned
from coterie.runs.curve import Point


def line(worker: int, step: int, accuracy: float, loss: float) -> str:
    return f"worker {worker} step {step} accuracy {accuracy:.4f} loss {loss.hex()}"


def test_workers_steps_are_one_points_mean() -> None:
    printed = {
        "a": [line(0, 1, 0.5, 1.0), "something else", line(0, 4, 1.0, 0.5)],
        "b": [line(1, 2, 1.0, 3.0)],
        "ps0": [],
    }
    first, second = curve_of(printed, 128)
    assert (first.examples, first.loss, first.accuracy) == (256, 2.0, 0.75)
    assert (second.examples, second.loss, second.accuracy) == (384, 0.5, 1.0)


def test_a_chief_prints_for_all_workers() -> None:
    (point,) = curve_of({"chief": ["step 1 accuracy 0.7500 loss 0x1.0p-1"]}, 256)
    assert (point.examples, point.loss, point.accuracy) == (256, 0.5, 0.75)


def test_long_curves_are_thinned_by_means_over_examples() -> None:
    points = [Point(i + 1, 1, float(i % 2), None) for i in range(4 * MOST_POINTS)]
    found = thinned(points)
    assert len(found) == MOST_POINTS
    assert {point.loss for point in found} == {0.5}
    assert found[-1].examples == 4 * MOST_POINTS
    assert found[0].accuracy is None


def test_a_loss_that_is_not_finite_is_refused() -> None:
    with pytest.raises(DataError, match="diverged"):
        thinned([Point(1, 1, float("nan"), None)])


def test_no_steps_are_no_curve() -> None:
    assert thinned([]) == ()


def test_the_slowest_node_gives_the_time() -> None:
    printed = {"a": ["worker 0: 1.50 s"], "b": ["worker 1: 2.25 s"]}
    assert seconds_of(printed) == 2.25
    assert seconds_of({"chief": ["20 steps in 3.00 s, 50 examples/s"]}) == 3.0


def test_a_program_without_a_time_is_refused() -> None:
    with pytest.raises(DataError, match="training time"):
        seconds_of({"chief": ["20 steps"]})


def test_scores_of_all_nodes_are_pooled(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    scores = random.standard_normal(200).astype("<f4")
    labels = (random.random(200) < 0.3).astype("<f4")
    pairs = np.stack([scores, labels], 1)
    pairs[:120].tofile(tmp_path / "worker-0.f32")
    pairs[120:].tofile(tmp_path / "worker-1.f32")
    found = quality_of(tmp_path)
    assert found.auc == pytest.approx(roc_auc(scores, labels))
    assert found.auc_low is not None
    assert found.auc_high is not None
    assert found.auc_low < (found.auc or 0) < found.auc_high
    assert found.accuracy == pytest.approx(float(((scores > 0) == (labels == 1)).mean()))


def test_a_folder_without_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no scores"):
        quality_of(tmp_path)
