"""Steps under one contract and more under the next are all of them under one, bit for bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pytest

from coterie.contract import Contract, RateSchedule
from coterie.nodes.start_section import continued
from coterie.runs import events
from coterie.trained.optimizer_state import STATE_NAME, read_state
from coterie.trained.trained_model import MODEL_NAME, TrainedModel
from tests.ps.test_several_shards import BEST, LOCAL
from tests.ps.warm_start.conftest import STEPS, contract, ran, starting

DENSE = ("sgd", "momentum", "nesterov", "adagrad", "factored_adagrad", "adam")
ROWS = ("sgd", "adagrad", "rowwise_adagrad", "lazy_adam")
SCHEDULE = RateSchedule(warmup_steps=4, decay_start=5, decay_steps=10, final=0.2)


def of_kinds(shards: int, epochs: int, dense: str, rows: str) -> Contract:
    made = contract(shards, epochs)
    optimizers = {
        "dense": made.training.dense.model_copy(update={"kind": dense}),
        "rows": made.training.rows.model_copy(update={"kind": rows}),
        "schedule": SCHEDULE,
    }
    return made.model_copy(update={"training": made.training.model_copy(update=optimizers)})


@pytest.mark.parametrize(("dense", "rows"), list(product(DENSE, ROWS)))
def test_two_runs_are_one_whatever_the_optimizers_keep(
    dense: str, rows: str, tmp_path: Path
) -> None:
    whole = ran(of_kinds(1, 3, dense, rows), tmp_path / "whole")
    first = of_kinds(1, 1, dense, rows)
    ran(first, tmp_path / "first")
    second = continued(of_kinds(1, 2, dense, rows), tmp_path / "first")
    outcome = ran(second, tmp_path / "second", tmp_path / "first")
    assert outcome.model_digest == whole.model_digest
    assert outcome.optimizer_state == whole.optimizer_state
    assert (outcome.optimizer_state is None) == (dense == rows == "sgd")
    assert (outcome.steps, outcome.examples) == (2 * STEPS, 2 * whole.examples // 3)
    assert TrainedModel.read(tmp_path / "second" / MODEL_NAME).steps == whole.steps


@pytest.mark.parametrize("row_merge", ["mean", "touched", "adagrad"])
@pytest.mark.parametrize("dense", ["sgd", "adagrad", "factored_adagrad", "adam"])
def test_what_the_workers_own_optimizers_keep_goes_on(
    dense: str, row_merge: str, tmp_path: Path
) -> None:
    local = {
        "dense": {"kind": dense},
        "rows": {"kind": "rowwise_adagrad"},
        "row_merge": row_merge,
    }
    options = {**LOCAL, "local": local}
    whole = ran(contract(2, 3, **options), tmp_path / "whole")
    ran(contract(2, 1, **options), tmp_path / "first")
    second = continued(contract(1, 2, **options), tmp_path / "first")
    outcome = ran(second, tmp_path / "second", tmp_path / "first")
    assert outcome.model_digest == whole.model_digest
    assert outcome.optimizer_state == whole.optimizer_state is not None


def test_a_best_model_is_gone_on_from_with_its_own_optimizer_state(tmp_path: Path) -> None:
    """The optimizers' state is that of the step that was kept, not the last one's."""
    validated = {"validation": {"every_steps": 1, "keep": "best"}}
    found = ran(contract(2, 2, **validated), tmp_path / "best")
    assert (found.steps, found.model_step) == (2 * STEPS, BEST)
    kept = read_state(tmp_path / "best" / STATE_NAME)
    assert (kept.digest, kept.updates) == (found.optimizer_state, BEST)
    second = continued(contract(1), tmp_path / "best")
    assert second.start is not None
    assert second.start.step == BEST
    outcome = ran(second, tmp_path / "second", tmp_path / "best")
    assert (outcome.steps, outcome.model_step) == (STEPS, STEPS)
    assert read_state(tmp_path / "second" / STATE_NAME).updates == BEST + STEPS


@pytest.mark.parametrize(("before", "after"), list(product((1, 2, 3), repeat=2)))
def test_the_number_of_shards_may_change_between_runs(
    before: int, after: int, tmp_path: Path
) -> None:
    whole = ran(contract(1, 2), tmp_path / "whole")
    ran(contract(before), tmp_path / "first")
    second = continued(contract(after), tmp_path / "first")
    outcome = ran(second, tmp_path / "second", tmp_path / "first")
    assert (outcome.model_digest, outcome.optimizer_state) == (
        whole.model_digest,
        whole.optimizer_state,
    )
    kept = read_state(tmp_path / "second" / STATE_NAME)
    assert kept.digest == outcome.optimizer_state
    assert kept.updates == 2 * STEPS


def test_a_run_that_went_on_is_gone_on_with(tmp_path: Path) -> None:
    whole = ran(contract(1, 3), tmp_path / "whole")
    ran(contract(), tmp_path / "1")
    for run in (2, 3):
        start = tmp_path / str(run - 1)
        outcome = ran(continued(contract(), start), tmp_path / str(run), start)
    assert outcome.model_digest == whole.model_digest


def test_optimizers_that_begin_anew_count_from_there(tmp_path: Path) -> None:
    """Adam's correction goes by what its state has seen, in the run after, too."""
    ran(contract(), tmp_path / "1")
    anew = continued(contract(1, 2), tmp_path / "1", new_optimizer_state=True)
    assert anew.start is not None
    assert anew.start.optimizer_state == "new"
    whole = ran(anew, tmp_path / "whole", tmp_path / "1")
    assert read_state(tmp_path / "whole" / STATE_NAME).updates == 2 * STEPS

    half = continued(contract(), tmp_path / "1", new_optimizer_state=True)
    ran(half, tmp_path / "2", tmp_path / "1")
    rest = continued(contract(), tmp_path / "2")
    assert rest.start is not None
    assert (rest.start.step, rest.start.optimizer_updates) == (2 * STEPS, STEPS)
    outcome = ran(rest, tmp_path / "3", tmp_path / "2")
    assert outcome.model_digest == whole.model_digest
    kept_on = ran(continued(contract(1, 2), tmp_path / "1"), tmp_path / "4", tmp_path / "1")
    assert kept_on.model_digest != whole.model_digest


@pytest.mark.parametrize("kills", [["ps0"], ["ps1"], ["ps1", "ps0", "ps1"]], ids=str)
@pytest.mark.parametrize("kept", [False, True], ids=["no checkpoint", "checkpoints"])
def test_a_shard_that_is_lost_gets_the_start_or_its_checkpoint_again(
    kills: list[str], kept: bool, tmp_path: Path
) -> None:
    """Without a checkpoint all go back to the start, and ask the giver for it again."""
    whole = ran(contract(1, 2), tmp_path / "whole")
    ran(contract(2), tmp_path / "first")
    second = continued(contract(2), tmp_path / "first")
    checkpoints = tmp_path / "checkpoints" if kept else None
    with (
        starting(second, tmp_path / "second", tmp_path / "first", checkpoints) as cluster,
        ThreadPoolExecutor(1) as pool,
    ):
        outcome = pool.submit(cluster.finish)
        for step, name in enumerate(kills, start=3):
            cluster.wait_step(step)
            cluster.kill(name)
            cluster.start(name)
        assert outcome.result(timeout=120).model_digest == whole.model_digest
        taken = [event for event in cluster.heard if isinstance(event, events.StartTaken)]
    assert second.start is not None
    assert {(t.node, t.model, t.step) for t in taken} == {("w0", second.start.model, STEPS)}
    assert kept or len(taken) > 1
