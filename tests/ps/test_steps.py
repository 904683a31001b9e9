"""Steps: every push takes effect exactly once, whatever the order of arrival."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from coterie.errors import (
    MessageRefused,
    StepRefused,
)
from coterie.plane.choice import computing_with
from coterie.plane.packing import unpack_differences
from tests.plane.ways import PackingNumpy
from tests.ps.calls import (
    MakeContract,
    MakeGradients,
    MakeRun,
    content,
    exchange,
    state_after,
)


def test_a_push_is_pending_until_the_step_is_complete_and_then_answered_once_for_all(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    contract = make_contract()
    run = make_run(contract)
    run.join_all()
    pushes = [make_gradients(w, 0, 4) for w in (0, 1)]
    staged = run.port("w0").exchange(exchange(pushes[0], 0))
    assert (staged.pending, staged.step) == (True, 0)
    assert run.port("w0").exchange(exchange(pushes[0], 0)).pending
    done = run.port("w1").exchange(exchange(pushes[1], 0))
    for node, push in (("w0", pushes[0]), ("w1", pushes[1])):
        assert content(run.port(node).exchange(exchange(push, 0))) == content(done)

    expected = state_after(contract, pushes)
    assert done.step == 1
    assert done.dense_parameters == expected.dense.tobytes()
    assert done.rows == expected.table.read(np.arange(12, dtype=np.int32)).tobytes()


def test_a_reply_holds_differences_for_whoever_holds_the_step_before(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    """However often it asks; a node that holds nothing, or something else, gets everything."""
    contract = make_contract()
    run = make_run(contract)
    run.join_all()
    small = [make_gradients(w, 0, 4) for w in (0, 1)]
    pushes = [dataclasses.replace(one, dense_p=one.dense_p * np.float32(1e-6)) for one in small]
    before = np.frombuffer(state_after(contract).dense.tobytes(), np.float32)
    expected = state_after(contract, pushes)
    with computing_with(PackingNumpy()):
        run.port("w0").exchange(exchange(pushes[0], 0))
        run.port("w1").exchange(exchange(pushes[1], 0))
        for held in (0, None, 1, 0, 7):
            asked = dataclasses.replace(exchange(pushes[0], 0), held_step=held)
            reply = run.port("w0").exchange(asked)
            assert reply.differences is (held == 0)
            if not reply.differences:
                assert reply.dense_parameters == expected.dense.tobytes()
                continue
            assert len(reply.dense_parameters) < expected.dense.nbytes
            dense = unpack_differences(reply.dense_parameters, before, "dense")
            np.testing.assert_array_equal(dense, expected.dense)


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
    broken = dataclasses.replace(pushes[1], dense_p=np.full(15, np.nan, np.float32))
    wrong = exchange(broken, 0)
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
    assert run.port("w1").exchange(exchange(make_gradients(1, 0, 3), 0)).pending


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


def test_a_worker_that_has_no_turn_may_not_push_but_may_wait(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    run = make_run(make_contract(workers=3), examples=(12, 12, 4))  # w2 trains in the middle step
    run.train_all(until=2)
    with pytest.raises(StepRefused):
        run.port("w2").exchange(exchange(make_gradients(2, 2, 4), 2))
    assert run.port("w2").exchange(exchange(None, 3)).pending


# a run has `steps` states; waiting for a later one never ends.
def test_a_pull_beyond_the_runs_last_step_is_refused(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.join_all()
    with pytest.raises(StepRefused):
        run.port("w0").exchange(exchange(None, 10**9))
