"""Notes of another run under the same contract, sealed under the same key, count nothing in this one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from coterie.errors import CheckpointDamaged
from coterie.ps.driver import Driver
from coterie.ps.service import ParameterService
from coterie.runs import events
from coterie.runs.outcome import RunOutcome
from tests.ps.calls import MakeContract, MakeRun
from tests.ps.conftest import POLL_SECONDS, Clock, Run, counts_of, store

Start = Callable[..., Run]
WHAT = r"note-.*\.bin is damaged or of another run"


def finish(run: Run, seed: int = 0) -> RunOutcome:
    """Everybody trains, reports counts that depend on a seed, and leaves."""

    def work(worker: int) -> None:
        session = run.session(worker)
        run.train(worker, session)
        session.report(counts_of(worker + seed))
        session.leave()

    run.together(work)
    return run.outcome()


def plant(source: Path, target: Path, pattern: str) -> None:
    target.mkdir(exist_ok=True)
    paths = list(source.glob(pattern))
    assert paths, "nothing to plant"
    for path in paths:
        shutil.copy(path, target)


@pytest.fixture
def start(make_contract: MakeContract, make_run: MakeRun, tmp_path: Path) -> Start:
    """Starts a server in a folder below ``tmp_path``: every time under the same contract and key."""
    contract = make_contract(checkpoint_steps=1)

    def started(name: str, incarnation: int = 1) -> Run:
        checkpoints = store(tmp_path / name, contract, sealed=True)
        return make_run(contract, checkpoints=checkpoints, incarnation=incarnation)

    return started


def run_of(outcome: RunOutcome) -> str:
    return outcome.end.run_id


def test_every_run_has_a_name_of_its_own(start: Start) -> None:
    one, two = finish(start("one")), finish(start("two"))
    assert run_of(one) != run_of(two)
    assert one.end.checkpoint != two.end.checkpoint
    assert one.model_digest == two.model_digest, "which changes nothing in what is trained"


def test_reports_in_an_empty_folder_are_refused(start: Start, tmp_path: Path) -> None:
    one = finish(start("one"))
    plant(tmp_path / "one", tmp_path / "three", "note-report-*")
    with pytest.raises(CheckpointDamaged, match=WHAT) as refused:
        start("three")
    assert refused.value.expected == "no note without a checkpoint"
    assert refused.value.seen == f"one of run {run_of(one)}"


def test_reports_that_are_planted_before_a_restart_are_refused(
    start: Start, tmp_path: Path
) -> None:
    one = finish(start("one"))
    run = start("three")
    run.train_all(until=1)
    run.driver.checkpoints.flush()
    own = run.driver.checkpoints.run_id
    run.stop()
    plant(tmp_path / "one", tmp_path / "three", "note-report-*")
    with pytest.raises(CheckpointDamaged, match=WHAT) as refused:
        start("three", 2)
    assert refused.value.expected == f"a note of run {own}"
    assert refused.value.seen == f"one of run {run_of(one)}"


@pytest.mark.parametrize("pattern", ["note-outcome*", "note-left-*", "note-*"])
def test_an_end_that_is_planted_after_the_last_checkpoint_is_refused(
    start: Start, tmp_path: Path, pattern: str
) -> None:
    one = finish(start("one"))
    run = start("three")
    run.train_all()
    run.driver.checkpoints.flush()
    own = run.driver.checkpoints.run_id
    run.stop()
    plant(tmp_path / "one", tmp_path / "three", pattern)
    with pytest.raises(CheckpointDamaged, match=WHAT) as refused:
        start("three", 2)
    assert refused.value.expected == f"a note of run {own}"
    assert refused.value.seen == f"one of run {run_of(one)}"


def test_notes_that_are_planted_while_a_server_runs_are_refused(
    start: Start, tmp_path: Path
) -> None:
    """They are read anew whenever the server goes back."""
    finish(start("one"))
    run = start("three")
    run.train_all(until=1)
    run.driver.checkpoints.flush()
    plant(tmp_path / "one", tmp_path / "three", "note-report-*")
    with pytest.raises(CheckpointDamaged, match=WHAT):
        run.driver.checkpoints.notes()


def test_a_server_that_finds_its_own_end_says_where_it_goes_on(
    start: Start, tmp_path: Path
) -> None:
    first = start("one")
    outcome = finish(first)
    first.stop()
    heard: list[events.Event] = []
    contract = first.contract
    again = Driver(
        contract,
        "ps0",
        incarnation=2,
        monotonic=Clock(),
        on_event=heard.append,
        checkpoints=store(tmp_path / "one", contract, sealed=True),
        poll_seconds=POLL_SECONDS,
    )
    found = ParameterService(again).drive()
    assert found is not None
    assert (found.model_digest, found.end) == (outcome.model_digest, outcome.end)
    assert heard == [events.Resumed(outcome.steps, outcome.end.checkpoint, run_of(outcome))]


def test_an_end_whose_checkpoint_is_gone_is_refused(start: Start, tmp_path: Path) -> None:
    first = start("one")
    outcome = finish(first)
    first.stop()
    for path in (tmp_path / "one").glob("step-*"):
        path.unlink()
    with pytest.raises(CheckpointDamaged, match=WHAT) as refused:
        start("one", 2)
    assert refused.value.expected == "no note without a checkpoint"
    assert refused.value.seen == f"one of run {run_of(outcome)}"


def test_a_server_begins_a_run_before_anybody_joins_it(start: Start) -> None:
    run = start("one")
    outcome = finish(run)
    assert run.heard[0] == events.Begun(run_of(outcome))
