"""What is said when a run is interrupted, and how fast a run that goes on is told to be."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from coterie.cli import logs
from coterie.cli.progress import Interruption, shown
from coterie.contract import Contract
from coterie.runs import events
from coterie.runs.events import Event
from tests.cli.stamps import unstamped
from tests.report.runs import HFL


@pytest.fixture(autouse=True)
def _fresh() -> None:
    logs.start()


def done(step: int, seconds: float = 1.0) -> events.StepDone:
    return events.StepDone(step, 60, 100, None, seconds, None)


KEPT = events.CheckpointWritten(20, "ab" * 32)
RESUMED = events.Resumed(20, "ab" * 32, "cd" * 32)
ANEW = "the same command starts from the beginning, since there is no checkpoint"
GOES_ON = "the same command goes on after step"
INTERRUPTED: list[tuple[int, bool, list[Event], str]] = [
    (20, True, [], f"before training; {ANEW}: the first comes at step 20"),
    (20, True, [done(1)], f"after step 1 of 60; {ANEW}: the first comes at step 20"),
    (0, True, [done(25)], f"after step 25 of 60; {ANEW}: training.checkpoint_steps is 0"),
    (20, True, [done(20), KEPT, done(21)], f"after step 21 of 60; {GOES_ON} 20"),
    (20, True, [RESUMED], f"before training; {GOES_ON} 20"),
    (20, True, [done(41), events.Restarted("ps0", 40)], f"after step 40 of 60; {GOES_ON} 40"),
    (20, False, [done(30), KEPT], "after step 30 of 60; nothing is kept: no --out was given"),
]


def contract_of(checkpoint_steps: int) -> Contract:
    training = HFL.training.model_copy(update={"checkpoint_steps": checkpoint_steps})
    return HFL.model_copy(update={"training": training})


@pytest.mark.parametrize(("every", "keeps", "heard", "said"), INTERRUPTED, ids=range(7))
def test_an_interrupted_run_says_where_it_goes_on(
    every: int, keeps: bool, heard: list[Event], said: str
) -> None:
    console = Console(file=io.StringIO(), width=200)
    interruption = Interruption(contract_of(every), keeps=keeps)
    for event in heard:
        interruption(event)
    with pytest.raises(KeyboardInterrupt), interruption.said(console):
        raise KeyboardInterrupt
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == f"stopped {said}\n"


def test_the_speed_of_a_run_that_goes_on_is_that_of_its_own_steps() -> None:
    console = Console(file=io.StringIO(), width=200)
    with shown(console, "run", HFL, "LOCAL") as on_event:
        for step, seconds in ((29, 100.0), (30, 100.5), (31, 101.0), (36, 80.0)):
            on_event(done(step, seconds))
    assert isinstance(console.file, io.StringIO)
    assert unstamped(console.file.getvalue()) == [
        "run: step 30/60, 200 examples/s",
        "run: step 36/60",
    ]
