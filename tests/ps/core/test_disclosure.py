"""What is told of steps: over enough examples and parties, never over two sets that differ by a few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.disclosure import EVERYTHING, Disclosure, StepWindows, Window
from coterie.ps.core.schedule import Schedule
from tests.ps.calls import MakeContract
from tests.ps.schedules import schedule_of

NONE = np.zeros(0, np.float32)


def pushes(schedule: Schedule, step: int, absent: frozenset[int] = frozenset()) -> list[Gradients]:
    """What a step's workers push: example ``i`` of an epoch has the loss 2 ** -i, all are right."""
    found = []
    for worker in schedule.participants(step):
        span = schedule.lanes[worker].span(step)
        loss = sum(2.0**-i for i in range(span.start, span.stop))
        if worker not in absent:
            found.append(
                Gradients(len(span), loss, NONE, NONE.astype(np.int32), NONE[None], len(span))
            )
    return found


def told(
    rule: Disclosure,
    schedule: Schedule,
    start: int = 0,
    absent: dict[int, frozenset[int]] | None = None,
) -> dict[tuple[int, int], Window]:
    """The windows that one life of a server tells, by their first step and the one after the last."""
    windows, found = StepWindows(rule, schedule, start), {}
    for step in range(start, schedule.steps):
        away = (absent or {}).get(step, frozenset())
        window = windows.add(step, pushes(schedule, step, away), complete=not away)
        if window is not None:
            found[step + 1 - window.steps, step + 1] = window
    return found


def examples_of(schedule: Schedule, steps: tuple[int, int]) -> list[int]:
    """Each worker's examples in some steps."""
    return [
        sum(len(schedule.lanes[w].span(step)) for step in range(*steps))
        for w in range(len(schedule.examples))
    ]


RULES = st.builds(Disclosure, st.integers(1, 30), st.integers(1, 2))
SCHEDULES = st.builds(
    schedule_of,
    st.lists(st.integers(1, 30), min_size=1, max_size=4).map(tuple),
    st.integers(1, 6),
    st.integers(1, 3),
)


@given(RULES, SCHEDULES)
def test_windows_are_over_enough_and_together_the_epoch(
    rule: Disclosure, schedule: Schedule
) -> None:
    found = told(rule, schedule)
    epoch = (0, schedule.steps_per_epoch)
    if not rule.allows(examples_of(schedule, epoch)):
        assert not found
        assert not StepWindows(rule, schedule, 0).tells
        return
    assert [start for start, _ in found] == [0, *(stop for _, stop in found)][:-1], "no gap"
    assert [*found][-1][1] == schedule.steps
    assert {
        schedule.steps_per_epoch * epoch
        for epoch in range(schedule.steps // schedule.steps_per_epoch)
    } <= {start for start, _ in found}, "none is of two epochs"
    for steps, window in found.items():
        examples = examples_of(schedule, steps)
        assert rule.allows(examples)
        assert window.examples == sum(examples)
        assert window.accuracy == 1.0


@given(RULES, SCHEDULES, st.data())
def test_a_life_that_goes_on_anywhere_tells_the_same_windows_and_no_others(
    rule: Disclosure, schedule: Schedule, data: st.DataObject
) -> None:
    whole = told(rule, schedule)
    start = data.draw(st.integers(0, schedule.steps - 1))
    again = told(rule, schedule, start)
    assert again.items() <= whole.items()
    assert again.keys() == {steps for steps in whole if steps[0] >= start}


@given(RULES, SCHEDULES, st.data())
def test_a_window_in_which_somebody_was_missing_is_not_told(
    rule: Disclosure, schedule: Schedule, data: st.DataObject
) -> None:
    """Else a host that cuts a party off and has the steps trained again would see the difference."""
    steps = st.integers(0, schedule.steps - 1)
    absent = {
        step: frozenset(schedule.participants(step)[:1])
        for step in data.draw(st.sets(steps, max_size=4))
    }
    whole, found = told(rule, schedule), told(rule, schedule, absent=absent)
    assert found == {
        window: value for window, value in whole.items() if not absent.keys() & set(range(*window))
    }


@pytest.mark.parametrize(
    ("rule", "examples", "batch", "expected"),
    [
        (Disclosure(8, 2), (40, 16), 8, [(0, 2), (2, 5)]),  # the second one's turns are 1 and 3
        (Disclosure(100, 2), (400, 400), 128, [(0, 1), (1, 2), (2, 3), (3, 4)]),
        (Disclosure(200, 2), (400, 399), 128, [(0, 2), (2, 4)]),  # the first step is 100 and 99
        (Disclosure(100, 1), (1000,), 8, [*((i, i + 13) for i in range(0, 104, 13)), (104, 125)]),
        (Disclosure(100, 2), (99,), 8, []),
        (Disclosure(100, 2), (99, 0), 8, []),
        (Disclosure(100, 2), (99, 1), 8, [(0, 13)]),
        (EVERYTHING, (9, 5), 4, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_windows_are_as_short_as_the_rule_allows(
    rule: Disclosure, examples: tuple[int, ...], batch: int, expected: list[tuple[int, int]]
) -> None:
    assert [*told(rule, schedule_of(examples, batch))] == expected


def test_in_one_process_also_what_is_left_of_a_step_is_told() -> None:
    schedule = schedule_of((9, 5), 4)
    found = told(EVERYTHING, schedule, absent={0: frozenset({0}), 2: frozenset({1})})
    assert [(steps, window.examples) for steps, window in found.items()] == [
        ((0, 1), 2),
        ((1, 2), 3),
        ((2, 3), 3),
    ]


def test_the_rule_asks_for_two_parties_where_several_own_data(make_contract: MakeContract) -> None:
    limits = {"evaluation_minimum": 7}
    assert Disclosure.of(make_contract(workers=2, limits=limits)) == Disclosure(7, 2)
    assert Disclosure.of(make_contract(workers=1, limits=limits)) == Disclosure(7, 1)
    assert Disclosure.of(make_contract("sdt", workers=3, limits=limits)) == Disclosure(7, 1)


def test_counts_are_judged_cell_by_cell() -> None:
    counts = np.array([[4, 8, 0, 5], [4, 0, 0, 2]])
    assert Disclosure(8, 1).allows(counts).tolist() == [True, True, False, False]
    assert Disclosure(7, 2).allows(counts).tolist() == [True, False, False, True]
