"""Nodes that stay away are named; a failure reaches everybody."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from coterie.errors import (
    CoterieError,
    NodeFailed,
    NodeMissing,
)
from coterie.ps.wire import ps_pb2 as pb
from tests.ps.calls import (
    MakeContract,
    MakeGradients,
    MakeRun,
    calls,
    exchange,
    join_request,
    report,
)
from tests.ps.conftest import Run


def waited_for(run: Run) -> str:
    """Lets the limit pass; says whom the server waited for in vain."""
    run.clock.now += 1_000
    run.driver.look()
    with pytest.raises(NodeMissing) as refused:
        run.outcome()
    assert refused.value.remedy
    return f"{refused.value.what}; {refused.value.expected}"


def test_a_worker_that_never_comes_is_named(make_contract: MakeContract, make_run: MakeRun) -> None:
    run = make_run(make_contract(workers=3, limits={"join_seconds": 60}), examples=(4, 4, 4))
    run.port("w1").join(join_request(4))
    said = waited_for(run)
    assert said == "the run waits in vain for w0, w2 to join; within limits.join_seconds = 60 s"
    with pytest.raises(NodeMissing, match="w0, w2"):
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
    assert "waits in vain for w0 to evaluate and report" in waited_for(run)


def test_progress_puts_the_limit_off(make_contract: MakeContract, make_run: MakeRun) -> None:
    run = make_run(make_contract(limits={"step_seconds": 5}, epochs=3))
    for step in range(1, 6):
        run.train_all(until=step)
        run.clock.now += 4
    run.clock.now -= 4
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(run.outcome)
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
        finishing = pool.submit(run.outcome)
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
        run.outcome()


# each push is finite, their sum is not; the model becomes infinite and then NaN.
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("field", ["dense_p", "rows_ud", "loss_sum"])
def test_finite_pushes_with_an_infinite_sum_end_the_run(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients, field: str
) -> None:
    run = make_run(make_contract())
    run.join_all()
    gradients = make_gradients(0, 0, 4)
    huge = 1e308 if field == "loss_sum" else np.full_like(getattr(gradients, field), 3e38)
    request = exchange(dataclasses.replace(gradients, **{field: huge}), 0)  # type: ignore[arg-type]

    def push_both() -> None:
        for node in ("w0", "w1"):
            run.port(node).exchange(request)

    with pytest.raises(CoterieError):
        push_both()
