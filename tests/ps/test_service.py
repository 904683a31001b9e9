"""The server under threads: who waits for whom, what takes effect once, what goes on after a restart."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coterie.contract import Contract, contract_digest
from coterie.errors import (
    CheckpointDamaged,
    CoterieError,
    MessageRefused,
    NodeFailed,
    PeerUnreachable,
    RollbackRefused,
    StepRefused,
)
from coterie.ps import events
from coterie.ps.aggregation import Gradients, mean_gradients
from coterie.ps.checkpoint import CheckpointStore, DataSets
from coterie.ps.evaluation import SPLITS, SplitCounts
from coterie.ps.memory import MemoryParameterServer
from coterie.ps.state import ModelState
from coterie.ps.table import RowTable
from coterie.ps.wire import ps_pb2 as pb

if TYPE_CHECKING:
    from tests.ps.conftest import Run

    MakeRun = Callable[..., Run]
MakeContract = Callable[..., Contract]
MakeGradients = Callable[..., Gradients]
DIGEST = bytes(32)
EVERY_ROW = np.arange(15, dtype="<i4").tobytes()


def push_of(gradients: Gradients) -> pb.Push:
    return pb.Push(
        examples=gradients.examples,
        loss_sum=gradients.loss_sum,
        dense_gradient=gradients.dense_p.tobytes(),
        row_ids=gradients.row_ids_u.tobytes(),
        row_gradients=gradients.rows_ud.tobytes(),
    )


def join_request(examples: int) -> pb.JoinRequest:
    return pb.JoinRequest(train_examples=examples, data_set_digest=DIGEST)


def exchange(
    gradients: Gradients | None, step: int, *, ps_incarnation: int = 1
) -> pb.ExchangeRequest:
    return pb.ExchangeRequest(
        ps_incarnation=ps_incarnation,
        step=step,
        push=push_of(gradients) if gradients is not None else None,
        next_row_ids=np.arange(12, dtype="<i4").tobytes(),
    )


def state_after(contract: Contract, *steps: list[Gradients]) -> ModelState:
    """What the server's state must be, computed without it."""
    state = ModelState(contract)
    for pushes in steps:
        state.apply(mean_gradients(pushes), first_of_epoch=False)
    return state


# --- joining -----------------------------------------------------------------------------------


def test_a_join_is_pending_until_everybody_has_come(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract(epochs=3), incarnation=7)
    request = join_request(8)
    assert run.port("w0").join(request) == pb.JoinReply(pending=True, ps_incarnation=7)
    complete = pb.JoinReply(ps_incarnation=7, step=0, steps=6, steps_per_epoch=2, shards=1)
    assert run.port("w1").join(request) == complete
    assert run.port("w0").join(request) == complete


def test_a_waiting_join_is_answered_when_the_last_one_comes(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    first = run.session(0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(first.join)
        position = run.session(1).join()
        assert waiting.result() == position
    assert position.step == 0
    assert position.lane.steps == 2


def test_joins_are_told_with_those_still_missing(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.port("w1").join(join_request(8))
    run.port("w1").join(join_request(8))
    run.port("w0").join(join_request(8))
    assert run.heard == [events.Joined("w1", ("w0",)), events.Joined("w0", ())]


def test_sdt_begins_when_the_chief_has_initialized_and_joined(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract("sdt"))
    worker = join_request(8)
    assert run.port("w0").join(worker).pending
    assert run.port("w1").join(worker).pending
    assert run.port("chief").join(pb.JoinRequest()).pending
    dense = np.arange(15, dtype="<f4").tobytes()
    run.port("chief").initialize(pb.InitializeRequest(dense_parameters=dense))
    assert not run.port("w0").join(worker).pending
    reply = run.port("w0").exchange(exchange(None, 0))
    assert reply.dense_parameters == dense


def test_initializing_again_changes_nothing(make_contract: MakeContract, make_run: MakeRun) -> None:
    run = make_run(make_contract("sdt"))
    run.join_all()
    before = run.port("w0").exchange(exchange(None, 0)).dense_parameters
    for value in (0, 99):
        dense = np.full(15, value, "<f4").tobytes()
        run.port("chief").initialize(pb.InitializeRequest(dense_parameters=dense))
    assert run.port("w0").exchange(exchange(None, 0)).dense_parameters == before


def test_initial_parameters_are_bounded(make_contract: MakeContract, make_run: MakeRun) -> None:
    run = make_run(make_contract("sdt"))
    for dense in (bytes(56), np.full(15, np.nan, "<f4").tobytes()):
        with pytest.raises(MessageRefused, match="dense_parameters"):
            run.port("chief").initialize(pb.InitializeRequest(dense_parameters=dense))
    assert run.service.status(run.port("chief")._caller, pb.StatusRequest()).steps == 0


def test_federated_runs_begin_from_the_contracts_seed_alone(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    contract = make_contract()
    run = make_run(contract)
    run.join_all()
    reply = run.port("w0").exchange(exchange(None, 0))
    assert reply.dense_parameters == ModelState(contract).dense.tobytes()
    rows = RowTable(contract).read(np.arange(12, dtype=np.int32))
    assert reply.rows == rows.tobytes()


# --- steps -------------------------------------------------------------------------------------


def test_a_push_is_pending_until_the_step_is_complete_and_then_answered_once_for_all(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    contract = make_contract()
    run = make_run(contract)
    run.join_all()
    pushes = [make_gradients(w, 0, 4) for w in (0, 1)]
    staged = run.port("w0").exchange(exchange(pushes[0], 0))
    assert staged == pb.ExchangeReply(pending=True, staged=True, step=0)
    assert run.port("w0").exchange(exchange(pushes[0], 0)).pending
    done = run.port("w1").exchange(exchange(pushes[1], 0))
    assert run.port("w0").exchange(exchange(pushes[0], 0)) == done
    assert run.port("w1").exchange(exchange(pushes[1], 0)) == done

    expected = state_after(contract, pushes)
    assert done.step == 1
    assert done.dense_parameters == expected.dense.tobytes()
    assert done.rows == expected.table.read(np.arange(12, dtype=np.int32)).tobytes()


@pytest.mark.parametrize("order", [("w0", "w1", "w2"), ("w2", "w0", "w1"), ("w1", "w2", "w0")])
def test_the_result_has_the_same_bits_whatever_the_order_of_arrival(
    make_contract: MakeContract,
    make_run: MakeRun,
    make_gradients: MakeGradients,
    order: tuple[str, ...],
) -> None:
    contract = make_contract(workers=3)
    run = make_run(contract, examples=(4, 4, 4))
    run.join_all()
    pushes = {f"w{w}": make_gradients(w, 0, 4) for w in range(3)}
    for node in order:
        reply = run.port(node).exchange(exchange(pushes[node], 0))
    expected = state_after(contract, [pushes[f"w{w}"] for w in range(3)])
    assert reply.dense_parameters == expected.dense.tobytes()


def test_of_two_different_pushes_for_a_step_the_first_counts(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    contract = make_contract()
    run = make_run(contract)
    run.join_all()
    first, second, other = (make_gradients(w, s, 4) for w, s in ((0, 0), (0, 9), (1, 0)))
    run.port("w0").exchange(exchange(first, 0))
    run.port("w0").exchange(exchange(second, 0))
    reply = run.port("w1").exchange(exchange(other, 0))
    assert reply.dense_parameters == state_after(contract, [first, other]).dense.tobytes()


def test_a_refused_push_leaves_the_step_open_for_a_right_one(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    contract = make_contract()
    run = make_run(contract)
    run.join_all()
    pushes = [make_gradients(w, 0, 4) for w in (0, 1)]
    run.port("w0").exchange(exchange(pushes[0], 0))
    wrong = exchange(pushes[1], 0)
    wrong.push.dense_gradient = np.full(15, np.nan, "<f4").tobytes()
    with pytest.raises(MessageRefused, match="not finite"):
        run.port("w1").exchange(wrong)
    reply = run.port("w1").exchange(exchange(pushes[1], 0))
    assert reply.dense_parameters == state_after(contract, pushes).dense.tobytes()


def test_the_number_of_examples_is_the_schedules(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    run = make_run(make_contract(), examples=(8, 3))
    run.join_all()
    with pytest.raises(MessageRefused, match=r"push\.examples"):
        run.port("w1").exchange(exchange(make_gradients(1, 0, 4), 0))
    assert run.port("w1").exchange(exchange(make_gradients(1, 0, 3), 0)).staged


@pytest.mark.parametrize("step", [1, 2, 3, 2**40])
def test_a_push_beyond_the_open_step_is_refused(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients, step: int
) -> None:
    run = make_run(make_contract())
    run.join_all()
    with pytest.raises(StepRefused, match="outside of the step window"):
        run.port("w0").exchange(exchange(make_gradients(0, 0, 4), step))


def test_a_push_and_a_pull_of_a_step_long_past_are_refused(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    run = make_run(make_contract(epochs=2))
    run.train_all(until=3)
    with pytest.raises(StepRefused, match="outside of the step window"):
        run.port("w0").exchange(exchange(make_gradients(0, 0, 4), 0))
    with pytest.raises(StepRefused) as refused:
        run.port("w0").exchange(exchange(None, 1))
    assert refused.value.what == "there is no state after 1 updates (any more)"
    assert refused.value.expected == "3 to 4 updates"


def test_a_worker_whose_rows_are_used_up_may_not_push_but_may_wait(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    run = make_run(make_contract(), examples=(12, 4))
    run.train_all(until=1)
    with pytest.raises(StepRefused):
        run.port("w1").exchange(exchange(make_gradients(1, 1, 4), 1))
    assert run.port("w1").exchange(exchange(None, 3)).pending


# --- who may call ------------------------------------------------------------------------------


def calls(run: Run, node: str, incarnation: int = 1, ps: int = 1) -> list[Callable[[], object]]:
    """Every call that needs a standing with the server."""
    port = run.port(node, incarnation)
    return [
        lambda: port.exchange(exchange(None, 0, ps_incarnation=ps)),
        lambda: port.lookup(pb.LookupRequest(ps_incarnation=ps)),
        lambda: port.report(pb.ReportRequest(ps_incarnation=ps)),
    ]


def test_who_has_not_joined_is_refused(make_contract: MakeContract, make_run: MakeRun) -> None:
    run = make_run(make_contract())
    run.port("w0").join(join_request(8))
    for call in calls(run, "w1"):
        with pytest.raises(StepRefused):
            call()


@pytest.mark.parametrize("named", [0, 4, 6])
def test_calls_to_another_incarnation_of_the_server_are_refused(
    make_contract: MakeContract, make_run: MakeRun, named: int
) -> None:
    run = make_run(make_contract(), incarnation=5)
    run.join_all()
    for call in calls(run, "w0", ps=named):
        with pytest.raises(StepRefused) as refused:
            call()
        assert refused.value.expected == "a join, and calls to server incarnation 5"
        assert refused.value.seen == f"a call to server incarnation {named}"
        assert refused.value.remedy == "join again"


def test_once_a_newer_incarnation_has_joined_the_older_one_is_refused(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.join_all()
    run.port("w0", incarnation=2).join(join_request(8))
    for call in calls(run, "w0", incarnation=1):
        with pytest.raises(StepRefused, match="replaced by a newer incarnation"):
            call()
    with pytest.raises(StepRefused, match="replaced by a newer incarnation"):
        run.port("w0", incarnation=1).join(join_request(8))
    assert run.port("w0", incarnation=2).exchange(exchange(None, 0)).step == 0


def test_a_call_that_waits_is_refused_when_a_newer_incarnation_comes(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    """The older process may have staged its push: it counts, but the older process hears no more."""
    contract = make_contract()
    run = make_run(contract)
    run.join_all()
    pushes = [make_gradients(w, 0, 4) for w in (0, 1)]
    assert run.port("w0", incarnation=1).exchange(exchange(pushes[0], 0)).pending
    run.port("w0", incarnation=2).join(join_request(8))
    done = run.port("w1").exchange(exchange(pushes[1], 0))
    with pytest.raises(StepRefused):
        run.port("w0", incarnation=1).exchange(exchange(pushes[0], 0))
    assert run.port("w0", incarnation=2).exchange(exchange(pushes[0], 0)) == done
    assert done.dense_parameters == state_after(contract, pushes).dense.tobytes()


def test_a_worker_that_comes_back_with_other_data_is_refused(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.join_all()
    with pytest.raises(MessageRefused, match="came back with other training data"):
        run.port("w0", incarnation=2).join(join_request(9))


# --- absence and failure -----------------------------------------------------------------------


def waited_for(run: Run) -> str:
    """Lets the limit pass; says whom the server waited for in vain."""
    run.clock.now += 1_000
    with pytest.raises(PeerUnreachable) as refused:
        run.service.wait_finished()
    assert refused.value.remedy
    return f"{refused.value.what}; {refused.value.expected}"


def test_a_worker_that_never_comes_is_named(make_contract: MakeContract, make_run: MakeRun) -> None:
    run = make_run(make_contract(workers=3, limits={"join_seconds": 60}), examples=(4, 4, 4))
    run.port("w1").join(join_request(4))
    said = waited_for(run)
    assert said == "the run waits in vain for w0, w2 to join; within limits.join_seconds = 60 s"
    with pytest.raises(PeerUnreachable, match="w0, w2"):
        run.port("w1").join(join_request(4))


def test_a_chief_that_joins_but_does_not_initialize_is_named(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract("sdt"))
    for node in ("w0", "w1"):
        run.port(node).join(join_request(8))
    run.port("chief").join(pb.JoinRequest())
    assert "the chief's initial parameters to join" in waited_for(run)


def test_a_worker_that_stops_pushing_is_named(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    run = make_run(make_contract(limits={"step_seconds": 5}))
    run.train_all(until=1)
    run.port("w0").exchange(exchange(make_gradients(0, 1, 4), 1))
    said = waited_for(run)
    assert said == ("the run waits in vain for w1 to push step 1; within limits.step_seconds = 5 s")


def test_an_owner_that_does_not_report_is_named(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.train_all()
    report(run, "w1")
    assert "waits in vain for w0, w1 to evaluate and report" in waited_for(run)


def test_progress_puts_the_limit_off(make_contract: MakeContract, make_run: MakeRun) -> None:
    run = make_run(make_contract(limits={"step_seconds": 5}, epochs=3))
    for step in range(1, 6):
        run.train_all(until=step)
        run.clock.now += 4
    run.clock.now -= 4
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(run.service.wait_finished)
        assert run.port("w0").exchange(exchange(None, 5)).step == 5
        run.service.fail(NodeFailed("stopped by the test"))
        with pytest.raises(NodeFailed):
            outcome.result()


def test_a_failure_reaches_every_waiting_and_later_call(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    first = run.session(0)
    with ThreadPoolExecutor(2) as pool:
        joining = pool.submit(first.join)
        finishing = pool.submit(run.service.wait_finished)
        run.service.fail(NodeFailed("w1 burnt down"))
        with pytest.raises(NodeFailed, match="w1 burnt down"):
            joining.result()
        with pytest.raises(NodeFailed, match="w1 burnt down"):
            finishing.result()
    for later in calls(run, "w0"):
        with pytest.raises(NodeFailed, match="w1 burnt down"):
            later()


def test_the_first_failure_is_the_one_that_is_told(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.service.fail(NodeFailed("the cause"))
    run.service.fail(NodeFailed("a consequence"))
    with pytest.raises(NodeFailed, match="the cause"):
        run.service.wait_finished()


# --- whole runs --------------------------------------------------------------------------------


def test_a_run_from_end_to_end(make_contract: MakeContract, make_run: MakeRun) -> None:
    run = make_run(make_contract(epochs=2), examples=(9, 5))
    outcome = run.finish()
    assert outcome.steps == 6
    assert outcome.examples == 28
    assert [total.split for total in outcome.totals] == ["validation", "test"]
    assert [total.histogram.examples for total in outcome.totals] == [40, 40]
    steps = [event for event in run.heard if isinstance(event, events.StepDone)]
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step.examples for step in steps] == [8, 5, 1] * 2
    last_epoch = sum(step.loss * step.examples for step in steps[3:]) / 14
    assert outcome.train_loss == pytest.approx(last_epoch, rel=1e-12)


@pytest.mark.parametrize("mode", ["hfl", "sdt"])
def test_threads_and_their_order_do_not_show_in_the_model(
    make_contract: MakeContract, make_run: MakeRun, mode: str
) -> None:
    contract = make_contract(mode, workers=4, epochs=2)
    digests = set()
    for _ in range(3):
        run = make_run(contract, examples=(12, 7, 4, 1))
        if mode == "sdt":
            run.join_all()
        run.train_all()
        digests.add(run.service._state.digest())
    assert len(digests) == 1


class Repeating(MemoryParameterServer):
    """A port over which every exchange arrives twice, at the same time."""

    def exchange(self, request: pb.ExchangeRequest) -> pb.ExchangeReply:
        with ThreadPoolExecutor(2) as pool:
            once = super().exchange
            answers = [pool.submit(once, request) for _ in range(2)]
        # A copy that comes when others have gone on is refused; the other one was answered.
        good = [answer for answer in answers if answer.exception() is None]
        return (good or answers)[0].result()


def test_messages_that_arrive_twice_take_effect_once(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    contract = make_contract(workers=3, epochs=2)
    once = make_run(contract, examples=(12, 7, 4))
    once.train_all()
    twice = make_run(contract, examples=(12, 7, 4))

    def work(worker: int) -> None:
        caller = twice.port(f"w{worker}")._caller
        session = twice.session(worker, lambda: Repeating(twice.service, caller))
        twice.train(worker, session)

    twice.together(work)
    assert twice.service._state.step == 6
    assert twice.service._state.digest() == once.service._state.digest()


# --- restarts ----------------------------------------------------------------------------------


def store(directory: Path, contract: Contract) -> CheckpointStore:
    return CheckpointStore(directory, contract_digest(contract))


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
    second = make_run(contract, (9, 5), store(tmp_path, contract), incarnation=2)
    kept = killed_at - killed_at % 2
    resumed = [event.step for event in second.heard if isinstance(event, events.Resumed)]
    assert resumed == ([kept] if kept else [])
    outcome = second.finish()

    assert outcome.model_digest == undisturbed.model_digest
    assert outcome.train_loss == undisturbed.train_loss
    assert (outcome.steps, outcome.examples) == (undisturbed.steps, undisturbed.examples)
    for ours, theirs in zip(outcome.totals, undisturbed.totals, strict=True):
        assert ours.to_wire() == theirs.to_wire()


def test_a_restart_after_every_step_changes_nothing(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(epochs=2, checkpoint_steps=1)
    undisturbed = make_run(contract, examples=(9, 5)).finish()
    for incarnation in range(1, 6):
        run = make_run(contract, (9, 5), store(tmp_path, contract), incarnation=incarnation)
        run.train_all(until=incarnation)
    run = make_run(contract, (9, 5), store(tmp_path, contract), incarnation=6)
    assert run.finish().model_digest == undisturbed.model_digest


def test_sdt_needs_no_second_initialization_after_a_restart(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract("sdt", checkpoint_steps=1)
    first = make_run(contract, checkpoints=store(tmp_path, contract))
    first.join_all()
    first.train_all(until=1)
    second = make_run(contract, checkpoints=store(tmp_path, contract), incarnation=2)
    before = second.service._state.digest()
    second.join_all()  # the chief initializes again: it changes nothing
    assert second.service._state.digest() == before == first.service._state.digest()


def test_replies_name_the_last_durable_checkpoint(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path, make_gradients: MakeGradients
) -> None:
    contract = make_contract(epochs=2, checkpoint_steps=2)
    run = make_run(contract, checkpoints=store(tmp_path, contract))
    run.join_all()
    durable = []
    for step in range(4):
        run.port("w0").exchange(exchange(make_gradients(0, step, 4), step))
        reply = run.port("w1").exchange(exchange(make_gradients(1, step, 4), step))
        durable.append(reply.durable.step if reply.HasField("durable") else None)
    assert durable == [None, 2, 2, 4]
    written = [event for event in run.heard if isinstance(event, events.CheckpointWritten)]
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
            announced.append((tmp_path / f"step-{event.step:012d}.ckpt").exists())

    run.service._on_event = listen
    run.train_all()
    assert announced == [True, True]


def test_a_damaged_checkpoint_stops_the_server_from_starting(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(checkpoint_steps=1)
    make_run(contract, checkpoints=store(tmp_path, contract)).train_all()
    newest = max(tmp_path.glob("*.ckpt"))
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(CheckpointDamaged):
        make_run(contract, checkpoints=store(tmp_path, contract), incarnation=2)


def test_a_worker_refuses_a_server_that_was_rolled_back(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(epochs=2, checkpoint_steps=1)
    old, new = tmp_path / "old", tmp_path / "new"
    run = make_run(contract, checkpoints=store(new, contract))
    server = [run]
    sessions = [run.session(w, lambda w=w: server[0].port(f"w{w}")) for w in (0, 1)]  # type: ignore[misc]
    run.together(lambda w: run.train(w, sessions[w], until=2))
    shutil.copytree(new, old)
    run.together(lambda w: run.train(w, sessions[w], until=3))
    server[0] = make_run(contract, checkpoints=store(old, contract), incarnation=2)
    run.service.fail(PeerUnreachable("the first server was killed"))

    def rejoin(worker: int) -> None:
        with pytest.raises(RollbackRefused) as refused:
            sessions[worker].through_restarts(lambda position: position)
        assert refused.value.expected.startswith("step 3 or later (SHA-256 ")
        assert refused.value.seen == "step 2"

    run.together(rejoin)


# --- evaluation --------------------------------------------------------------------------------


def report(run: Run, node: str, examples: int = 20) -> pb.ReportReply:
    """A node's report of the counts of some examples."""
    return run.port(node).report(pb.ReportRequest(ps_incarnation=1, counts=counts(examples)))


def counts(examples: int) -> list[pb.EvaluationCounts]:
    from coterie.models.metrics import ScoreHistogram

    labels = np.arange(examples) % 2
    histogram = ScoreHistogram.count(np.linspace(-1, 1, examples), labels.astype(np.float64))
    return [SplitCounts(split, histogram).to_wire() for split in SPLITS]


def test_nothing_is_evaluated_before_the_last_step(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.train_all(until=1)
    for call in calls(run, "w0")[1:]:
        with pytest.raises(StepRefused) as refused:
            call()
        assert refused.value.what == "the model can be evaluated only after training"
        assert (refused.value.expected, refused.value.seen) == ("step 2", "step 1")


def test_lookups_read_rows_that_nobody_trained_as_out_of_vocabulary(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.train_all()
    table = run.service._state.table
    trained = set(table.trained_rows().tolist())
    assert 0 < len(trained) < 15, "the scene needs rows of both kinds"
    request = pb.LookupRequest(ps_incarnation=1, row_ids=EVERY_ROW, dense=True)
    before = run.service._state.digest()
    reply = run.port("w0").lookup(request)
    rows = np.frombuffer(reply.rows, "<f4").reshape(15, 2)
    everything = table.read(np.arange(15, dtype=np.int32))
    for row in range(15):
        first = max(start for start in (0, 4, 9) if start <= row)
        assert np.array_equal(rows[row], everything[row if row in trained else first])
    assert reply.dense_parameters == run.service._state.dense.tobytes()
    assert run.service._state.digest() == before


def test_lookups_are_bounded(make_contract: MakeContract, make_run: MakeRun) -> None:
    run = make_run(make_contract())
    run.train_all()
    for ids in ([15], [3, 2], [-1]):
        request = pb.LookupRequest(ps_incarnation=1, row_ids=np.array(ids, "<i4").tobytes())
        with pytest.raises(MessageRefused, match="row_ids"):
            run.port("w0").lookup(request)


def test_totals_are_answered_when_all_owners_have_reported(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.train_all()
    assert report(run, "w0").pending
    done = report(run, "w1")
    assert report(run, "w0") == done
    assert done.model_digest == run.service._state.digest()
    assert [SplitCounts.from_wire(t).histogram.examples for t in done.totals] == [40, 40]


def test_totals_over_too_few_examples_are_withheld(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract(limits={"evaluation_minimum": 41}))
    run.train_all()
    report(run, "w0")
    assert not report(run, "w1").totals


def test_in_sdt_only_the_chief_reports(make_contract: MakeContract, make_run: MakeRun) -> None:
    run = make_run(make_contract("sdt"))
    run.join_all()
    run.train_all()
    with pytest.raises(MessageRefused) as refused:
        report(run, "w0")
    assert refused.value.seen == "one by w0"
    assert len(report(run, "chief").totals) == 2


def test_the_status_tells_how_far_the_run_is(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.port("w0").join(join_request(8))
    early = run.port("w1").status(pb.StatusRequest())
    assert (list(early.joined), list(early.missing), early.steps) == (["w0"], ["w1"], 0)
    run.train_all(until=1)
    later = run.port("w1").status(pb.StatusRequest())
    assert (later.step, later.steps, list(later.missing)) == (1, 2, [])


# --- what the lead should mend -----------------------------------------------------------------


# each push is finite, their sum is not; the model becomes infinite and then NaN.
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("field", ["dense_gradient", "row_gradients", "loss_sum"])
def test_finite_pushes_with_an_infinite_sum_end_the_run(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients, field: str
) -> None:
    run = make_run(make_contract())
    run.join_all()
    request = exchange(make_gradients(0, 0, 4), 0)
    if field == "loss_sum":
        request.push.loss_sum = 1e308
    else:
        size = len(getattr(request.push, field)) // 4
        setattr(request.push, field, np.full(size, 3e38, "<f4").tobytes())

    def push_both() -> None:
        for node in ("w0", "w1"):
            run.port(node).exchange(request)

    with pytest.raises(CoterieError):
        push_both()


class FullDisk:
    """Checkpoints on a device without space."""

    def save(self, _state: ModelState, _data_sets: DataSets) -> None:
        raise OSError(28, "No space left on device")

    def restore_newest(self, _state: ModelState) -> None:
        pass


# OSError goes to the one worker whose push came last, as a foreign exception; the
# run hangs until a limit passes and then blames that worker.
def test_a_checkpoint_that_cannot_be_written_fails_the_run_for_everybody(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    run = make_run(make_contract(checkpoint_steps=1), checkpoints=FullDisk())
    run.join_all()
    run.port("w0").exchange(exchange(make_gradients(0, 0, 4), 0))
    with pytest.raises(CoterieError, match="checkpoint"):
        run.port("w1").exchange(exchange(make_gradients(1, 0, 4), 0))
    with pytest.raises(CoterieError, match="checkpoint"):
        run.port("w0").exchange(exchange(make_gradients(0, 0, 4), 0))


# a run has `steps` states; waiting for a later one never ends.
def test_a_pull_beyond_the_runs_last_step_is_refused(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.join_all()
    with pytest.raises(StepRefused):
        run.port("w0").exchange(exchange(None, 10**9))
