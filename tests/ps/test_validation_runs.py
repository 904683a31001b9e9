"""Runs that are validated: when owners are waited for, what is told, when it ends, what comes out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from coterie.contract import Contract, contract_digest
from coterie.errors import NodeMissing, PeerUnreachable, StepRefused
from coterie.ps.checkpoints.store import CheckpointStore
from coterie.ps.core.evaluation import SplitCounts
from coterie.ps.core.state import ModelState
from coterie.ps.core.validations import ValidationPlan
from coterie.ps.wire import ps_pb2 as pb
from coterie.runs import events
from coterie.runs.outcome import RunOutcome
from coterie.training.client import Position, ServerClient
from tests.ps.calls import MakeRun, exchange, validation_counts
from tests.ps.conftest import Run, counts_of, fake_gradients, row_ids, small_contract, store

EVERY = 2
EPOCHS = 4  # of two steps
LOSSES = {2: 0.5, 4: 0.3, 6: 0.6, 8: 0.7}


def contract_of(**section: object) -> Contract:
    """Two companies, eight steps, a validation after every second one but the last."""
    return small_contract(
        epochs=EPOCHS,
        checkpoint_steps=1,
        validation={"each_epoch": False, "every_steps": EVERY, **section},
    )


def counts_at(worker: int, step: int, losses: dict[int, float]) -> SplitCounts:
    """Counts whose mean loss is a step's, whoever counts; the first worker has more rows."""
    return validation_counts(30 - 10 * worker, losses[step])


def take_part(
    run: Run,
    worker: int,
    losses: dict[int, float],
    *,
    validates: Callable[[int], bool] = lambda _: True,
) -> None:
    """A worker that trains, validates, evaluates and leaves."""
    session = run.session(worker)

    def train(position: Position) -> None:
        lane = position.lane
        plan = ValidationPlan.of(run.contract, lane.steps_per_epoch)
        step = position.step
        check(plan, max(position.validated, step - 1), step)
        parameters = session.pull(step, row_ids(worker, step))
        while step < lane.steps:
            gradients = fake_gradients(worker, step, len(lane.span(step)), parameters)
            last = step + 1 == lane.steps
            ids = np.zeros(0, np.int32) if last else row_ids(worker, step + 1)
            parameters = session.push(step, gradients, ids)
            check(plan, step, step + 1)
            step += 1
        session.pull(lane.steps, np.zeros(0, np.int32))

    def check(plan: ValidationPlan, after: int, upto: int) -> None:
        for due in plan.between(after, upto):
            if validates(due):
                session.dense(due)
                session.report((counts_at(worker, due, losses),), due)

    session.through_restarts(train)
    session.report(counts_of(worker))
    session.leave()


def outcome_of(run: Run, losses: dict[int, float]) -> RunOutcome:
    """Everybody takes part."""
    run.together(lambda worker: take_part(run, worker, losses))
    return run.outcome()


def heard(run: Run, kind: type[events.Event]) -> list[events.Event]:
    """Events of a kind."""
    return [event for event in run.heard if isinstance(event, kind)]


def digest_after(make_run: MakeRun, steps: int) -> bytes:
    """The model of an undisturbed run without validation, after some steps."""
    run = make_run(small_contract(epochs=EPOCHS))
    run.train_all(until=steps)
    return run.digest


def test_each_validation_is_told_once_and_changes_nothing(make_run: MakeRun) -> None:
    run = make_run(contract_of())
    outcome = outcome_of(run, LOSSES)
    done = [event for event in run.heard if isinstance(event, events.ValidationDone)]
    assert [(one.step, one.examples, one.best) for one in done] == [
        (2, 50, True),
        (4, 50, True),
        (6, 50, False),
    ]
    assert [one.log_loss for one in done] == pytest.approx([LOSSES[one.step] for one in done])
    assert [one.step for one in outcome.validations] == [2, 4, 6]
    assert outcome.model_digest == make_run(small_contract(epochs=EPOCHS)).finish().model_digest
    assert (outcome.steps, outcome.model_step, outcome.examples) == (8, 8, 64)
    assert heard(run, events.StoppedEarly) == []


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("persistent", [False, True])
def test_training_ends_early_and_the_model_is_the_one_that_the_contract_wants(
    make_run: MakeRun, tmp_path: Path, keep: str, *, persistent: bool
) -> None:
    contract = contract_of(patience=1, keep=keep)
    run = (
        make_run(contract, checkpoints=store(tmp_path, contract))
        if persistent
        else make_run(contract)
    )
    outcome = outcome_of(run, LOSSES)
    assert (outcome.steps, outcome.examples) == (6, 48)
    assert outcome.model_step == (4 if keep == "best" else 6)
    assert heard(run, events.StoppedEarly) == [events.StoppedEarly(6, 4)]
    assert outcome.model_digest == digest_after(make_run, outcome.model_step)
    assert outcome.train_loss == make_run(small_contract(epochs=3)).finish().train_loss


@pytest.mark.parametrize(
    ("losses", "best"),
    [(LOSSES, 4), ({2: 0.1, 4: 0.3, 6: 0.6, 8: 0.7}, 2), ({2: 0.5, 4: 0.4, 6: 0.3, 8: 0.2}, 8)],
)
@pytest.mark.parametrize("persistent", [False, True])
def test_the_best_model_comes_out_of_a_run_that_goes_to_its_end(
    make_run: MakeRun, tmp_path: Path, losses: dict[int, float], best: int, *, persistent: bool
) -> None:
    contract = contract_of(keep="best")
    run = (
        make_run(contract, checkpoints=store(tmp_path, contract))
        if persistent
        else make_run(contract)
    )
    outcome = outcome_of(run, losses)
    assert (outcome.steps, outcome.model_step) == (8, best)
    assert [one.step for one in outcome.validations] == [2, 4, 6, 8]
    assert outcome.model_digest == digest_after(make_run, best)


class SlowDisk(CheckpointStore):
    """Gives a checkpoint back when the test says so."""

    def __init__(self, *arguments: object, **told: object) -> None:
        super().__init__(*arguments, **told)  # type: ignore[arg-type]
        self.asked, self.may_give = threading.Event(), threading.Event()

    def load(self, step: int, state: ModelState) -> None:
        """See CheckpointStore."""
        self.asked.set()
        assert self.may_give.wait(timeout=30)
        super().load(step, state)


def test_nobody_sees_the_trained_model_before_the_best_one_is_in_its_place(
    make_run: MakeRun, tmp_path: Path
) -> None:
    contract = contract_of(keep="best")
    run = make_run(
        contract,
        checkpoints=lambda durable, failure: SlowDisk(
            tmp_path, contract_digest(contract), on_durable=durable, on_failure=failure
        ),
    )
    disk = run.driver.checkpoints
    assert isinstance(disk, SlowDisk)
    with ThreadPoolExecutor(2) as pool:
        works = [pool.submit(take_part, run, worker, LOSSES) for worker in (0, 1)]
        assert disk.asked.wait(timeout=30)
        lookup = pb.LookupRequest(ps_incarnation=1, dense=True)
        assert run.port("w0").lookup(lookup).pending
        assert run.port("w0").exchange(exchange(None, 8)).pending
        assert not run.life.settled
        disk.may_give.set()
        for work in works:
            work.result(timeout=60)
    assert run.outcome().model_digest == digest_after(make_run, 4)


@pytest.mark.parametrize(
    "section", [{"patience": 1, "keep": "best"}, {"keep": "best"}, {"patience": 2}]
)
def test_a_run_that_is_killed_after_every_step_comes_to_the_very_same_end(
    make_run: MakeRun, tmp_path: Path, section: dict[str, object]
) -> None:
    contract = contract_of(**section)
    undisturbed = outcome_of(make_run(contract), LOSSES)
    incarnation = 0
    for kill in range(1, undisturbed.steps + 1):
        incarnation += 1
        run = make_run(contract, checkpoints=store(tmp_path, contract), incarnation=incarnation)
        steps_until(run, kill)
        run.stop()
    run = make_run(contract, checkpoints=store(tmp_path, contract), incarnation=incarnation + 1)
    outcome = outcome_of(run, LOSSES)
    assert outcome.model_digest == undisturbed.model_digest
    assert outcome.validations == undisturbed.validations
    assert (outcome.steps, outcome.model_step) == (undisturbed.steps, undisturbed.model_step)


def steps_until(run: Run, step: int) -> None:
    """Lets the run go on until a step is applied and its checkpoint is durable."""

    class Enough(Exception):
        pass

    def work(worker: int) -> None:
        def stop(due: int) -> bool:
            if due >= step:
                raise Enough
            return True

        try:
            session = run.session(worker)
            position = session.join()
            if position.step >= step:
                return
            take_until(run, worker, session, position, step, stop)
        except Enough:
            pass

    run.together(work)
    run.driver.checkpoints.flush()


def take_until(
    run: Run,
    worker: int,
    session: ServerClient,
    position: Position,
    until: int,
    stop: Callable[[int], bool],
) -> None:
    """Trains up to a step, validations before it included."""
    plan = ValidationPlan.of(run.contract, position.lane.steps_per_epoch)
    step = position.step
    for due in plan.between(max(position.validated, step - 1), step):
        stop(due)
        session.report((counts_at(worker, due, LOSSES),), due)
    parameters = session.pull(step, row_ids(worker, step))
    while step < until:
        gradients = fake_gradients(worker, step, len(position.lane.span(step)), parameters)
        last = step + 1 == position.lane.steps
        ids = np.zeros(0, np.int32) if last else row_ids(worker, step + 1)
        parameters = session.push(step, gradients, ids)
        for due in plan.between(step, step + 1):
            stop(due)
            session.report((counts_at(worker, due, LOSSES),), due)
        step += 1


def test_the_run_waits_for_an_owner_that_does_not_validate_and_names_it(make_run: MakeRun) -> None:
    run = make_run(contract_of())

    def work(worker: int) -> None:
        with pytest.raises((NodeMissing, PeerUnreachable)):
            take_part(run, worker, LOSSES, validates=lambda _: worker == 0)

    def pass_time() -> None:
        while not run.over:
            run.pass_time(50)

    with ThreadPoolExecutor(3) as pool:
        works = [pool.submit(work, worker) for worker in (0, 1)]
        with run.driver.changed:
            assert run.driver.changed.wait_for(
                lambda: run.life.validates and run.driver.calls.awaited() == ("w1",), timeout=30
            )
        pool.submit(pass_time).result(timeout=60)
        for one in works:
            one.result(timeout=60)
    with pytest.raises(
        NodeMissing, match="waits in vain for w1 to validate the model after 2 steps"
    ):
        run.outcome()


@pytest.mark.parametrize("step", [1, 3, 4])
def test_calls_about_another_model_are_refused(make_run: MakeRun, step: int) -> None:
    run = make_run(contract_of())
    run.train_all(until=2)
    counts = [counts_at(0, 2, LOSSES).to_wire()]
    with pytest.raises(
        StepRefused, match=f"the model after {step} steps is not to be validated now"
    ):
        run.port("w0").report(pb.ReportRequest(ps_incarnation=1, counts=counts, validates=step))
    lookup = pb.LookupRequest(ps_incarnation=1, dense=True, validates=step)
    if step > 2:
        assert run.port("w0").lookup(lookup).pending
    else:
        with pytest.raises(StepRefused, match="is not to be validated now"):
            run.port("w0").lookup(lookup)


def test_a_report_that_comes_again_changes_nothing(make_run: MakeRun) -> None:
    run = make_run(contract_of())
    run.train_all(until=2)
    for worker in (0, 1, 1, 0):
        counts = [counts_at(worker, 2, LOSSES).to_wire()]
        request = pb.ReportRequest(ps_incarnation=1, counts=counts, validates=2)
        assert not run.port(f"w{worker}").report(request).pending
    assert [one.step for one in run.life.validations.done] == [2]
    assert run.life.validations.done[0].examples == 50


def test_counts_of_a_life_that_was_lost_are_not_of_the_next_one(make_run: MakeRun) -> None:
    """With a quorum the model after the same step may be another one: others may take part."""
    run = make_run(contract_of())
    run.train_all(until=2)
    counts = [counts_at(0, 2, LOSSES).to_wire()]
    run.port("w0").report(pb.ReportRequest(ps_incarnation=1, counts=counts, validates=2))
    assert run.driver.now(run.driver.calls.awaited) == ("w1",)

    def lose() -> None:
        run.core.run = None  # as where another shard comes back without its state
        run.core.notify()

    run.driver.now(lose)
    with run.driver.changed:
        assert run.driver.changed.wait_for(lambda: run.core.run is not None, timeout=30)
    run.train_all(until=2)
    assert run.life.step == 2
    assert run.driver.now(run.driver.calls.awaited) == ("w0", "w1")
