"""The server's core through seeded schedules of loss, duplication, reordering, crashes and restarts."""

from __future__ import annotations

import gc

import pytest

from faults.simulation.schedules import Found, play, search
from faults.simulation.world import World
from tests.faults.broken_cores import BROKEN_CORES, BrokenCore

CHUNKS, CHUNK = 5, 2_000
MOST = 2_000  # a broken core is found in less


def reported(found: Found | None) -> str:
    """What is broken, what happened before, and the command that plays it again."""
    if found is None:
        return ""
    lines: list[str] = []
    play(found.seed, lines.append)
    return "\n".join([*lines[-60:], found.what, found.command])


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_schedule_breaks_an_invariant(chunk: int) -> None:
    found = next(search(range(chunk * CHUNK, (chunk + 1) * CHUNK)), None)
    assert found is None, reported(found)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS, 50))
def test_no_schedule_of_a_hundred_thousand_breaks_an_invariant(chunk: int) -> None:
    found = next(search(range(chunk * CHUNK, (chunk + 1) * CHUNK)), None)
    assert found is None, reported(found)


@pytest.mark.parametrize("broken", BROKEN_CORES, ids=str)
def test_a_core_that_is_broken_in_one_line_is_found(broken: BrokenCore) -> None:
    with broken.at_work():
        said = {found.what for found in search_some(5)}
    assert any(broken.is_named_by(one) for one in said), said


def search_some(most: int) -> list[Found]:
    """Some schedules that break an invariant."""
    found: list[Found] = []
    for one in search(range(MOST)):
        found.append(one)
        if len(found) == most:
            break
    return found


def test_a_schedule_is_a_function_of_its_seed() -> None:
    for seed in range(20):
        traces: list[list[str]] = [[], []]
        for trace in traces:
            assert play(seed, trace.append) is None
        assert traces[0] == traces[1]


def worlds() -> int:
    """How many there are in memory."""
    for _ in range(2):  # a generator that is closed by the first holds its frame until the second
        gc.collect()
    return sum(isinstance(one, World) for one in gc.get_objects())


def test_nothing_is_left_of_a_schedule_that_is_over() -> None:
    """A hundred thousand are played by one process."""
    before = worlds()
    assert list(search(range(100))) == []
    assert worlds() <= before
