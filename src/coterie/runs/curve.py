"""The training curve of a run of any length in a bounded number of points."""

from __future__ import annotations

from dataclasses import dataclass

from coterie.runs.events import Event, Restarted, Resumed, StepDone

MAX_POINTS = 512


@dataclass(frozen=True)
class Point:
    """Consecutive steps whose values were reported, merged into one point.

    Attributes:
        step: The last of the steps.
        examples: Number of examples that its values are means over.
        loss: Mean over these examples.
        accuracy: Share of them that was predicted right before its update; None if not reported.
    """

    step: int
    examples: int
    loss: float
    accuracy: float | None


class Curve:
    """Collects points from a run's events, in order. When it is full, it merges pairs of points.

    Args:
        max_points: Largest number of points that are kept.
    """

    def __init__(self, max_points: int = MAX_POINTS) -> None:
        self._max_points = max_points
        self._width = 1  # windows of steps per point; doubles when the curve is full
        self._points: list[Point] = []
        self._open: list[Point] = []
        self.steps = 0

    def on_event(self, event: Event) -> None:
        """Adds a step. After a return to a checkpoint it drops the points after that checkpoint."""
        match event:
            case StepDone():
                self.steps = event.steps
                if event.loss is not None:
                    point = Point(event.step, event.over_examples, event.loss, event.accuracy)
                    self._open.append(point)
                if len(self._open) >= self._width:
                    self._close()
            case Resumed(step=step) | Restarted(step=step):
                self._open = [point for point in self._open if point.step <= step]
                self._points = [point for point in self._points if point.step <= step]
            case _:
                pass

    @property
    def points(self) -> tuple[Point, ...]:
        """The curve so far."""
        rest = [_merged(self._open)] if self._open else []
        return (*self._points, *rest)

    def _close(self) -> None:
        self._points.append(_merged(self._open))
        self._open.clear()
        if len(self._points) >= self._max_points:
            pairs = zip(self._points[::2], self._points[1::2], strict=False)
            rest = self._points[len(self._points) // 2 * 2 :]
            self._points = [_merged(list(pair)) for pair in pairs] + rest
            self._width *= 2


def smoothed(points: tuple[Point, ...], window: int) -> tuple[Point, ...]:
    """Each point with its ``window - 1`` predecessors, weighted by examples."""
    return tuple(_merged(list(points[max(0, i + 1 - window) : i + 1])) for i in range(len(points)))


def _merged(points: list[Point]) -> Point:
    if len(points) == 1:
        return points[0]
    examples = sum(point.examples for point in points)
    judged = [(point, point.accuracy) for point in points if point.accuracy is not None]
    known = sum(point.examples for point, _ in judged)
    return Point(
        step=points[-1].step,
        examples=examples,
        loss=sum(point.loss * point.examples for point in points) / max(1, examples),
        accuracy=sum(value * point.examples for point, value in judged) / known if known else None,
    )
