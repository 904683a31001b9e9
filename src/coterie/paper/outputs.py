"""What TensorFlow's programs leave: printed lines become a curve and a time, scores a quality."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from coterie.errors import DataError
from coterie.files import reading
from coterie.metrics.histogram import ScoreHistogram
from coterie.paper.results import CurvePoint, Quality
from coterie.runs.curve import Point

MOST_POINTS = 200
_STEP = re.compile(r"(?:worker \d+ )?step \d+ accuracy ([0-9.]+) loss (\S+)")
_SECONDS = re.compile(r"(?:worker \d+:|\d+ steps in) ([0-9.]+) s\b")


def curve_of(printed: Mapping[str, Sequence[str]], examples: int) -> tuple[CurvePoint, ...]:
    """The training curve: the workers' i-th lines are one step.

    Args:
        printed: Each node's lines.
        examples: Of a step of one node that prints: a batch, or all workers' batches.
    """
    workers = [
        [(float.fromhex(loss), float(accuracy)) for accuracy, loss in _found(_STEP, lines)]
        for lines in printed.values()
    ]
    points, trained = [], 0
    for i in range(max(map(len, workers), default=0)):
        told = np.array([lines[i] for lines in workers if i < len(lines)])
        trained += examples * len(told)
        loss, accuracy = told.mean(axis=0)
        points.append(Point(trained, examples * len(told), float(loss), float(accuracy)))
    return thinned(points)


def thinned(points: Sequence[Point]) -> tuple[CurvePoint, ...]:
    """At most ``MOST_POINTS`` points, each a mean of consecutive ones; ``step`` counts examples.

    Raises:
        DataError: A loss is not finite.
    """
    found = []
    for group in np.array_split(np.arange(len(points)), min(MOST_POINTS, len(points)) or 1):
        some = [points[i] for i in group]
        if not some:
            continue
        weights = [point.examples for point in some]
        known = [one.accuracy for one in some if one.accuracy is not None]
        accuracy = float(np.average(known, weights=weights)) if len(known) == len(some) else None
        loss = float(np.average([one.loss for one in some], weights=weights))
        if not np.isfinite(loss):
            raise DataError(
                "the training diverged",
                expected="finite losses",
                seen=str(loss),
                remedy="look at the data",
            )
        found.append(CurvePoint(examples=some[-1].step, loss=loss, accuracy=accuracy))
    return tuple(found)


def seconds_of(printed: Mapping[str, Sequence[str]]) -> float:
    """Training time: that of the node that took longest.

    Raises:
        DataError: No node printed one.
    """
    found = [float(one[0]) for lines in printed.values() for one in _found(_SECONDS, lines)]
    if not found:
        raise DataError(
            "no program printed its training time",
            expected="a line as `worker 0: 12.34 s`",
            seen="none",
            remedy="look at the nodes' logs",
        )
    return max(found)


def quality_of(folder: Path) -> Quality:
    """The quality on the test rows of all nodes that left scores in a folder, pooled.

    Raises:
        DataError: There are none, or one is not finite.
        EnvironmentUnfit: A file cannot be read.
    """
    files = sorted(folder.glob("*.f32"))
    with reading(f"the scores in {folder}"):
        pairs = [np.fromfile(path, "<f4").reshape(-1, 2) for path in files]
    if not pairs:
        raise DataError(
            f"{folder} holds no scores",
            expected="files NAME.f32 of the program's --scores",
            seen="none",
            remedy="look at the nodes' logs",
        )
    scores, labels = np.concatenate(pairs).T
    metrics = ScoreHistogram.count(scores, labels).metrics()
    return Quality(
        auc=metrics.auc,
        auc_low=metrics.auc_low,
        auc_high=metrics.auc_high,
        log_loss=metrics.log_loss,
        accuracy=metrics.accuracy,
    )


def _found(pattern: re.Pattern[str], lines: Iterable[str]) -> list[tuple[str, ...]]:
    return [match.groups() for line in lines if (match := pattern.match(line))]
