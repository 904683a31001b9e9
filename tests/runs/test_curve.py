"""A training curve of any length in few points, also over restarts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.runs.curve import Curve, Point, smoothed
from coterie.runs.events import Joined, Restarted, Resumed, StepDone


def step(number: int, loss: float, examples: int = 10, accuracy: float | None = 0.5) -> StepDone:
    return StepDone(number, 1000, examples, loss, float(number), accuracy, 1, examples)


def test_short_runs_keep_every_step() -> None:
    curve = Curve()
    for number in range(1, 4):
        curve.on_event(step(number, 1 / number, accuracy=None if number == 2 else 0.25))
    curve.on_event(Joined("somebody", ()))
    assert curve.points == (
        Point(1, 10, 1.0, 0.25),
        Point(2, 10, 0.5, None),
        Point(3, 10, 1 / 3, 0.25),
    )


@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.integers(0, 1000), st.floats(0, 1)), min_size=1, max_size=300
    )
)
def test_points_are_few_and_their_means_are_those_of_the_steps(
    values: list[tuple[float, int, float]],
) -> None:
    curve = Curve(max_points=16)
    for number, (loss, examples, accuracy) in enumerate(values, 1):
        curve.on_event(step(number, loss, examples, accuracy))
    points = curve.points
    assert len(points) <= 17
    assert points[-1].step == len(values)
    assert sum(p.examples for p in points) == sum(examples for _, examples, _ in values)
    assert sum(p.loss * p.examples for p in points) == pytest.approx(
        sum(loss * examples for loss, examples, _ in values)
    )
    assert sum((p.accuracy or 0) * p.examples for p in points) == pytest.approx(
        sum(accuracy * examples for _, examples, accuracy in values)
    )
    assert [p.step for p in points] == sorted({p.step for p in points})


@pytest.mark.parametrize("back", [Resumed(5, "digest"), Restarted("ps0", 5)])
def test_steps_that_are_done_again_count_once(back: Resumed | Restarted) -> None:
    curve = Curve()
    for number in range(1, 9):
        curve.on_event(step(number, 1.0))
    curve.on_event(back)
    for number in range(6, 11):
        curve.on_event(step(number, 2.0))
    assert [point.step for point in curve.points] == list(range(1, 11))
    assert [point.loss for point in curve.points] == [1.0] * 5 + [2.0] * 5


def test_steps_without_values_make_no_points_and_windows_weigh_what_they_are_over() -> None:
    curve = Curve()
    for number in range(1, 7):
        told = number % 3 == 0
        curve.on_event(
            StepDone(number, 6, 4, 0.5, 1.0, 0.25, 3, 12)
            if told
            else StepDone(number, 6, 4, None, 1.0)
        )
    assert curve.points == (Point(3, 12, 0.5, 0.25), Point(6, 12, 0.5, 0.25))
    assert curve.steps == 6


def test_smoothing_weighs_by_examples() -> None:
    points = (Point(1, 10, 1.0, 1.0), Point(2, 30, 2.0, 0.0), Point(3, 10, 3.0, None))
    assert [p.loss for p in smoothed(points, 2)] == pytest.approx([1.0, 1.75, 2.25])
    assert [p.accuracy for p in smoothed(points, 2)] == pytest.approx([1.0, 0.25, 0.0])
    assert smoothed(points, 1) == points
