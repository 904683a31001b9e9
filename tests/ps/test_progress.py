"""What an operator sees of a run, from its start to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from coterie.contract import Contract
from coterie.errors import NodeMissing
from coterie.ps.progress import Progress
from coterie.runs import events
from tests.ps.conftest import Run, store

MakeContract = Callable[..., Contract]
MakeRun = Callable[..., Run]


def test_a_run_gathers_trains_evaluates_and_ends(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    assert run.service.overview() == Progress(
        phase="gathering",
        incarnation=1,
        step=0,
        steps=0,
        joined=(),
        missing=("w0", "w1"),
        silent=(),
        left_out=(),
        checkpoint=None,
    )
    run.join_all()
    seen = run.service.overview()
    assert (seen.phase, seen.step, seen.steps, seen.missing) == ("training", 0, 2, ())
    run.train_all(until=1)
    assert run.service.overview().step == 1
    run.train_all()
    assert run.service.overview().phase == "evaluating"
    run.finish()
    assert run.service.overview().phase == "finished"


def test_a_worker_that_does_not_call_is_seen_as_silent_and_told_of(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    """As one that was killed: the others wait in their calls, and are not silent."""
    run = make_run(make_contract())
    run.join_all()
    assert run.service.overview().silent == ()
    run.pass_time(60)
    told = run.heard.wait(events.Waiting)
    assert run.service.overview().silent == ("w0", "w1")
    assert told.reason == "w0 was last heard of 60 s ago; w1 was last heard of 60 s ago"
    run.train_all(until=1)
    assert run.service.overview().silent == ()


def test_the_newest_durable_checkpoint_is_seen(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(checkpoint_steps=1)
    run = make_run(contract, checkpoints=store(tmp_path, contract))
    run.finish()
    checkpoint = run.service.overview().checkpoint
    assert checkpoint is not None
    assert checkpoint.step == 2


def test_a_failed_run_is_seen_as_failed(make_contract: MakeContract, make_run: MakeRun) -> None:
    run = make_run(make_contract())
    run.service.fail(NodeMissing("w1 stayed away"))
    assert run.service.overview().phase == "failed"
