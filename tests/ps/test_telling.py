"""All that leaves a server in a run, searched for values of few examples, or of one party's."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import generate_latest

from coterie.nodes.prometheus import NodeMetrics
from coterie.ps.core.schedule import Schedule
from coterie.runs import events
from coterie.runs.evaluation_file import FILE, Evaluation
from coterie.runs.event_format import describe_event, encode_event
from coterie.runs.result import result_of
from tests.ps.calls import MakeContract, MakeGradients, MakeRun, exchange
from tests.ps.conftest import Run, counts_of, store

AT = datetime(2026, 11, 29, 20, 8, 41, 123456, UTC)

EXAMPLES = (19, 4)  # two steps of ten or nine and two
MINIMUM = 13


def all_told(run: Run, folder: Path) -> str:
    """Events as lines and sentences, metrics after each, the result, the kept outcome and scores."""
    lines: list[str] = []
    metrics = NodeMetrics(run.contract.by_role("ps")[0])
    for event in run.heard:
        metrics.on_event(event)
        lines += [encode_event(event, AT), describe_event(event)]
        lines.append(generate_latest(metrics.registry).decode())
    outcome = run.outcome()
    folder.mkdir(exist_ok=True)
    Evaluation.of(outcome).write(folder)
    result = result_of(outcome, run.contract, "ra-tls")
    lines += [result.model_dump_json(), outcome.to_json().decode(), (folder / FILE).read_text()]
    return "\n".join(lines)


def numbers(text: str) -> np.ndarray:
    """Every number with a fraction in a text."""
    return np.array([float(n) for n in re.findall(r"(?<!\d)\d++\.\d+(?:e-?\d+)?", text)])


def losses(run: Run, make_gradients: MakeGradients) -> dict[tuple[int, int], tuple[float, int]]:
    """Loss and examples of every worker's part of every step of the first epoch."""
    schedule = Schedule.of(run.contract, run.examples)
    found = {}
    for worker, lane in enumerate(schedule.lanes):
        for step in range(schedule.steps_per_epoch):
            examples = len(lane.span(step))
            found[worker, step] = (make_gradients(worker, step, examples).loss_sum, examples)
    return found


def test_no_value_of_a_single_batch_is_in_anything_that_a_run_tells(
    make_contract: MakeContract,
    make_run: MakeRun,
    make_gradients: MakeGradients,
    tmp_path: Path,
) -> None:
    contract = make_contract(batch=2, limits={"evaluation_minimum": MINIMUM}, checkpoint_steps=1)
    run = make_run(contract, EXAMPLES, store(tmp_path / "kept", contract))
    outcome = run.finish()
    said = numbers(all_told(run, tmp_path / "out"))
    parts = losses(run, make_gradients)
    assert outcome.train_loss in said, "the search finds what is there"
    for step in range(2):
        here = [part for (_, at), part in parts.items() if at == step]
        for loss, examples in [*here, tuple(np.sum(here, axis=0))]:
            for value in (loss, loss / examples):
                assert np.abs(said - value).min() > 1e-9, f"step {step} is told"
    heard = [event for event in run.heard if isinstance(event, events.StepDone)]
    assert [event.step for event in heard] == [1, 2]
    assert [(e.step, e.over_steps, e.over_examples) for e in heard if e.loss is not None] == [
        (2, 2, 23)
    ]
    assert outcome.train_loss == pytest.approx(sum(loss for loss, _ in parts.values()) / 23)


def test_windows_of_all_lives_of_a_run_are_the_same_few(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    """Whoever kills the server after every step learns no more: nothing to subtract."""
    contract = make_contract(batch=2, limits={"evaluation_minimum": 6}, checkpoint_steps=1)
    examples = (23, 20)
    undisturbed = make_run(contract, examples)
    undisturbed.finish()
    heard: list[events.Event] = []
    for incarnation in range(1, 11):
        run = make_run(contract, examples, store(tmp_path, contract), incarnation=incarnation)
        if incarnation < 10:
            run.train_all(until=incarnation)
            run.stop()
        else:
            run.finish()
        heard += run.heard

    def windows(told: list[events.Event]) -> set[tuple[int, int, int, float]]:
        return {
            (event.step, event.over_steps, event.over_examples, event.loss)
            for event in told
            if isinstance(event, events.StepDone) and event.loss is not None
        }

    whole = windows(undisturbed.heard)
    assert {(step, over) for step, over, _, _ in whole} == {(2, 2), (4, 2), (6, 2), (8, 2), (10, 2)}
    assert {window[:3] for window in windows(heard)} <= {window[:3] for window in whole}


@pytest.mark.parametrize("owners", [1, 2])
def test_no_bin_of_the_released_scores_is_over_few_examples(
    owners: int, make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(workers=owners, limits={"evaluation_minimum": 25})
    run = make_run(contract, (8,) * owners)

    def work(worker: int) -> None:
        session = run.session(worker)
        run.train(worker, session)
        session.report(counts_of(worker, 300))
        session.leave()

    run.together(work)
    outcome = run.outcome()
    Evaluation.of(outcome).write(tmp_path)
    for split in ("validation", "test"):
        found = json.loads((tmp_path / FILE).read_text())[split]
        bins = np.array(found["positives"]) + np.array(found["negatives"])
        assert bins.sum() == 300 * owners
        assert len(bins) > 3
        assert bins.min() >= 25
    assert outcome.totals["test"].auc is not None


def test_nothing_is_told_of_an_epoch_that_is_too_small(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract(limits={"evaluation_minimum": 17}))
    outcome = run.finish()
    assert outcome.train_loss is None
    told = [event for event in run.heard if isinstance(event, events.StepDone)]
    assert [(event.loss, event.accuracy, event.over_examples) for event in told] == [
        (None, None, 0)
    ] * 2
    assert result_of(outcome, run.contract, "ra-tls").train_loss is None


def test_steps_that_are_trained_again_without_a_party_do_not_give_it_away(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    """A host lets all train a step, restarts its server, and keeps one party's packets back."""
    limits = {"evaluation_minimum": 8, "quorum": 2, "grace_seconds": 5.0}
    contract = make_contract(workers=3, limits=limits)

    def first_step(run: Run) -> events.StepDone:
        return next(event for event in run.heard if isinstance(event, events.StepDone))

    everybody = make_run(contract, (8, 8, 8))
    everybody.train_all(until=1)
    assert first_step(everybody).loss is not None
    everybody.stop()
    two = make_run(contract, (8, 8, 8))
    two.join_all()
    for worker in (0, 1):
        two.port(f"w{worker}").exchange(exchange(make_gradients(worker, 0, 4), 0))
    two.pass_time(6.0)
    with two.driver.changed:
        assert two.driver.changed.wait_for(lambda: two.state.step == 1, timeout=30)
        assert [a.worker for a in two.life.absences_by_name()] == ["w2"]
    told = first_step(two)
    assert (told.examples, told.loss, told.accuracy) == (8, None, None)
    with two.driver.changed:
        assert two.life.train_loss() is None
