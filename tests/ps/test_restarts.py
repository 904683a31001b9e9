"""A server that restarts goes on from its checkpoint, or is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coterie.errors import (
    CheckpointDamaged,
    EnvironmentUnfit,
    RollbackRefused,
)
from coterie.ps import events
from tests.ps.calls import (
    MakeContract,
    MakeGradients,
    MakeRun,
    exchange,
    join_request,
)
from tests.ps.conftest import store


@pytest.mark.parametrize("kinds", [("sgd", "sgd"), ("adagrad", "rowwise_adagrad")])
@pytest.mark.parametrize("killed_at", range(1, 7))
def test_a_restarted_server_goes_on_to_the_very_same_model(
    make_contract: MakeContract,
    make_run: MakeRun,
    tmp_path: Path,
    killed_at: int,
    kinds: tuple[str, str],
) -> None:
    dense, rows = kinds
    contract = make_contract(
        epochs=2, checkpoint_steps=2, dense={"kind": dense}, rows={"kind": rows}
    )
    undisturbed = make_run(contract, examples=(9, 5)).finish()

    first = make_run(contract, (9, 5), store(tmp_path, contract))
    first.train_all(until=killed_at)
    first.stop()
    kept = [event.step for event in first.heard if isinstance(event, events.CheckpointWritten)]
    assert bool(kept) == (killed_at >= 2)
    second = make_run(contract, (9, 5), store(tmp_path, contract), incarnation=2)
    resumed = [event.step for event in second.heard if isinstance(event, events.Resumed)]
    assert resumed == kept[-1:]
    outcome = second.finish()

    assert outcome.model_digest == undisturbed.model_digest
    assert outcome.train_loss == undisturbed.train_loss
    assert (outcome.steps, outcome.examples) == (undisturbed.steps, undisturbed.examples)
    assert outcome.totals == undisturbed.totals


def test_a_restart_after_every_step_changes_nothing(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(epochs=2, checkpoint_steps=1)
    undisturbed = make_run(contract, examples=(9, 5)).finish()
    for incarnation in range(1, 6):
        run = make_run(contract, (9, 5), store(tmp_path, contract), incarnation=incarnation)
        run.train_all(until=incarnation)
        run.stop()
    run = make_run(contract, (9, 5), store(tmp_path, contract), incarnation=6)
    assert run.finish().model_digest == undisturbed.model_digest


def test_sdt_needs_no_second_initialization_after_a_restart(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract("sdt", checkpoint_steps=1)
    first = make_run(contract, checkpoints=store(tmp_path, contract))
    first.join_all()
    first.train_all(until=1)
    first.stop()
    second = make_run(contract, checkpoints=store(tmp_path, contract), incarnation=2)
    before = second.digest
    second.join_all()  # the chief initializes again: it changes nothing
    assert second.digest == before == first.digest


def test_replies_name_the_last_durable_checkpoint(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path, make_gradients: MakeGradients
) -> None:
    contract = make_contract(epochs=2, checkpoint_steps=2)
    run = make_run(contract, checkpoints=store(tmp_path, contract))
    run.join_all()
    durable = []
    for step in range(4):
        run.port("w0").exchange(exchange(make_gradients(0, step, 4), step))
        run.port("w1").exchange(exchange(make_gradients(1, step, 4), step))
        run.shard.checkpoints.flush()
        reply = run.port("w0").exchange(exchange(None, step + 1))
        durable.append(reply.durable.step if reply.durable else None)
    assert durable == [None, 2, 2, 4]
    written = [event for event in run.heard if isinstance(event, events.CheckpointWritten)]
    assert reply.durable is not None
    assert reply.durable.digest.hex() == written[-1].digest
    assert run.port("w0").join(join_request(8)).durable == reply.durable


def test_a_checkpoint_is_durable_before_it_is_announced(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(checkpoint_steps=1)
    run = make_run(contract, checkpoints=store(tmp_path, contract))
    announced: list[bool] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.CheckpointWritten):
            announced.append(bool(list(tmp_path.glob(f"step-{event.step:012d}-*.json"))))

    run.shard.on_event = listen
    run.train_all()
    run.shard.checkpoints.flush()
    assert announced
    assert all(announced)


def test_a_damaged_checkpoint_stops_the_server_from_starting(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(checkpoint_steps=1)
    first = make_run(contract, checkpoints=store(tmp_path, contract))
    first.train_all()
    first.stop()
    newest = max(tmp_path.glob("step-*.json"))
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(CheckpointDamaged):
        make_run(contract, checkpoints=store(tmp_path, contract), incarnation=2)


@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
def test_a_worker_refuses_a_server_that_was_rolled_back(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path, sealed: bool
) -> None:
    contract = make_contract(epochs=2, checkpoint_steps=1)
    old, new = tmp_path / "old", tmp_path / "new"
    run = make_run(contract, checkpoints=store(new, contract, sealed=sealed))
    server = [run]
    sessions = [run.session(w, lambda w=w: server[0].port(f"w{w}")) for w in (0, 1)]  # type: ignore[misc]
    run.together(lambda w: run.train(w, sessions[w], until=2))
    run.shard.checkpoints.flush()
    kept = [event.step for event in run.heard if isinstance(event, events.CheckpointWritten)][-1]
    shutil.copytree(new, old)
    run.together(lambda w: run.train(w, sessions[w], until=3))
    run.shard.checkpoints.flush()
    run.together(lambda w: sessions[w].through_restarts(lambda _: None))  # hears of the checkpoint
    run.stop()
    again = store(old, contract, sealed=sealed)
    server[0] = make_run(contract, checkpoints=again, incarnation=2)

    def rejoin(worker: int) -> None:
        with pytest.raises(RollbackRefused) as refused:
            sessions[worker].through_restarts(lambda position: position)
        assert refused.value.expected.startswith("step ")
        assert refused.value.seen == f"step {kept}"

    run.together(rejoin)


def test_a_checkpoint_that_cannot_be_written_fails_the_run_for_everybody(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(checkpoint_steps=1, epochs=100)
    folder = tmp_path / "checkpoints"
    run = make_run(contract, checkpoints=store(folder, contract))
    run.join_all()
    folder.rename(tmp_path / "gone")
    with pytest.raises(EnvironmentUnfit, match="the checkpoint of step 1 cannot be written"):
        run.train_all()
    with pytest.raises(EnvironmentUnfit, match="the checkpoint of step 1 cannot be written"):
        run.port("w0").exchange(exchange(None, 0))


def test_another_run_of_the_same_contract_is_refused_by_those_who_remember_the_first(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    """Its files open, since contract and parties are the same: what was announced tells them apart."""
    contract = make_contract(epochs=2, checkpoint_steps=1)
    mine, other = (
        make_run(contract, checkpoints=store(tmp_path / name, contract, sealed=True))
        for name in ("mine", "other")
    )
    server = [mine]
    sessions = [mine.session(w, lambda w=w: server[0].port(f"w{w}")) for w in (0, 1)]  # type: ignore[misc]
    mine.together(lambda w: mine.train(w, sessions[w], until=2))
    mine.shard.checkpoints.flush()
    mine.together(lambda w: sessions[w].through_restarts(lambda _: None))
    other.state.dense[0] += 1
    other.train_all(until=2)
    other.shard.checkpoints.flush()
    for run in (mine, other):
        run.stop()
    again = store(tmp_path / "other", contract, sealed=True)
    server[0] = make_run(contract, checkpoints=again, incarnation=2)

    def rejoin(worker: int) -> None:
        with pytest.raises(RollbackRefused, match="or from another one"):
            sessions[worker].through_restarts(lambda position: position)

    server[0].together(rejoin)
