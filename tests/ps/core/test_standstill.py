"""A run that does not go on says why, pauses while the disk takes nothing, and ends within its limits."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from coterie.errors import CheckpointDamaged, CoterieError, DataError, EnvironmentUnfit, NodeMissing
from coterie.ps.wire import ps_pb2 as pb
from coterie.runs import events
from coterie.training.client import ServerClient, WaitsFor
from coterie.training.rollback_guard import RollbackGuard
from tests.ps.calls import MakeContract, MakeRun, exchange
from tests.ps.conftest import Run, store

pytestmark = pytest.mark.long


Made = TypeVar("Made")


def paused(run: Run, seconds: float) -> events.Waiting:
    """Waits until the disk takes nothing, lets so much time pass, and gives what the server says."""
    run.heard.wait(events.StepDone)
    while run.core.standstill.trouble is None:
        run.driver.checkpoints.flush(0.01)
    run.pass_time(seconds)
    return run.heard.wait(events.Waiting)


@contextmanager
def beside(run: Run, work: Callable[[], Made]) -> Iterator[Future[Made]]:
    """Works on a thread of its own; ends the run if the test fails meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(work)
        except BaseException:
            run.service.fail(CoterieError("the test failed"))
            raise


def make_long_run_without_its_folder(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> Run:
    """A run whose checkpoints cannot be written: their folder is called ``gone`` once all have joined."""
    contract = make_contract(checkpoint_steps=1, epochs=100)
    folder = tmp_path / "checkpoints"
    run = make_run(contract, checkpoints=store(folder, contract))
    run.join_all()
    folder.rename(tmp_path / "gone")
    return run


def test_a_checkpoint_that_cannot_be_written_pauses_the_run_until_it_can(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(checkpoint_steps=1, epochs=20)
    undisturbed = make_run(contract).finish().model_digest
    folder = tmp_path / "checkpoints"
    run = make_run(contract, checkpoints=store(folder, contract))
    run.join_all()
    folder.rename(tmp_path / "gone")
    with beside(run, run.finish) as finished:
        said = paused(run, 10)
        assert (said.node, said.names) == ("ps0", ("the disk of ps0",))
        assert "the checkpoint of step 1 in " in said.reason
        assert os.strerror(errno.ENOENT) in said.reason
        assert "make room" in said.reason
        assert said.seconds_left == contract.limits.step_seconds - 10
        status = run.port("w0").status(pb.StatusRequest())
        assert status.reason == said.reason, "every node can ask why"
        step = run.state.step
        assert step < 40
        assert step == run.port("w1").status(pb.StatusRequest()).step
        (tmp_path / "gone").rename(folder)
        assert finished.result(60).model_digest == undisturbed


def test_a_note_that_the_disk_does_not_take_is_the_trouble_until_it_takes_one(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(checkpoint_steps=1)
    run = make_run(contract, checkpoints=store(tmp_path / "checkpoints", contract))
    run.finish()
    core, standstill = run.core, run.core.standstill
    obstacle = tmp_path / "checkpoints" / "note-late.bin.partial"
    obstacle.mkdir()  # in the place of the file that is written first
    assert not run.driver.call(core.put_note("late", b"words"))
    assert standstill.trouble is not None
    assert standstill.trouble.what == "the note late of the parameter server cannot be written"
    assert standstill.trouble.seen == os.strerror(errno.EISDIR)
    obstacle.rmdir()
    assert run.driver.call(core.put_note("late", b"words"))
    assert standstill.trouble is None


def test_a_flush_gives_up_when_the_disk_has_taken_nothing_for_its_time(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_long_run_without_its_folder(make_contract, make_run, tmp_path)
    with beside(run, run.train_all) as trained:
        paused(run, 10)
        with pytest.raises(EnvironmentUnfit, match=r"the checkpoint of step 1 in .* cannot"):
            run.driver.call(run.core.flush(0))
        (tmp_path / "gone").rename(tmp_path / "checkpoints")
        trained.result(60)
    run.driver.call(run.core.flush(0))


def test_a_disk_that_takes_nothing_for_too_long_ends_the_run_and_everybody_hears_why(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_long_run_without_its_folder(make_contract, make_run, tmp_path)
    with beside(run, run.train_all) as trained:
        paused(run, run.core.contract.limits.step_seconds - 1)
        assert not run.over
        run.pass_time(1)
        for ended in (trained.result, run.outcome):
            with pytest.raises(EnvironmentUnfit, match=r"the checkpoint of step 1 in .* cannot"):
                ended()
    with pytest.raises(EnvironmentUnfit, match=r"the checkpoint of step 1 in .* cannot"):
        run.port("w0").exchange(exchange(None, 0))


def test_who_ends_says_why_and_who_waits_for_it_hears_that(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    contract = make_contract(epochs=100)
    run = make_run(contract)
    run.join_all()
    session = run.session(0)
    session.join()
    session.tell(EnvironmentUnfit("its disk is full", seen="No space left on device"))
    session.tell(DataError("row 7 says that user 12 clicked"))
    ended = [event for event in run.heard if isinstance(event, events.Ended)]
    assert ended == [
        events.Ended("w0", "EnvironmentUnfit", "its disk is full (No space left on device)"),
        events.Ended("w0", "DataError", ""),
    ], "what may quote data does not go out"
    session.tell(EnvironmentUnfit("its disk is full", seen="No space left on device"))
    status = run.port("w1").status(pb.StatusRequest())
    assert list(status.waits_for) == ["w0", "w1"]
    assert status.reason.startswith("w0 ended, EnvironmentUnfit: its disk is full")
    run.pass_time(contract.limits.step_seconds)
    with pytest.raises(NodeMissing) as error:
        run.outcome()
    assert "w0" in error.value.what
    assert "its disk is full" in error.value.seen


def test_the_server_stays_until_everybody_has_heard_why_it_ends(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract(epochs=100))
    run.join_all()
    run.service.fail(CheckpointDamaged("no more"))
    with beside(run, lambda: run.service.see_off_failed(60)) as leaving:
        for node in ("w0", "w1"):
            assert not leaving.done()
            with pytest.raises(CheckpointDamaged, match="no more"):
                run.port(node).exchange(exchange(None, 0))
        leaving.result(30)


def test_a_worker_whose_disk_takes_no_note_pauses_says_so_and_goes_on(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(epochs=4, checkpoint_steps=1)
    run = make_run(contract, checkpoints=store(tmp_path / "checkpoints", contract))
    memory = tmp_path / "memory" / "remembered.json"
    memory.parent.mkdir()
    (memory.parent / "remembered.json.partial").mkdir()
    said: list[WaitsFor] = []

    def mend(waits: WaitsFor) -> None:
        said.append(waits)
        (memory.parent / "remembered.json.partial").rmdir()

    sessions = [
        ServerClient(
            lambda _: run.port("w0"),
            contract,
            train_examples=8,
            data_set_digest=bytes(32),
            memory=RollbackGuard(memory, contract),
            on_waiting=mend,
        ),
        run.session(1),
    ]
    run.together(lambda worker: run.train(worker, sessions[worker]))
    assert [waits.names for waits in said] == [("this node's own disk",)]
    assert os.strerror(errno.EISDIR) in said[0].reason
    (ended,) = [event for event in run.heard if isinstance(event, events.Ended)]
    assert (ended.node, ended.error, ended.goes_on) == ("w0", "EnvironmentUnfit", True)
    newest = RollbackGuard(memory, contract).newest
    assert newest is not None
    assert newest.checkpoint.step == 8
