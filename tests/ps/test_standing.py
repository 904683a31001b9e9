"""Who may call: nodes that have joined this life of the server, in their newest incarnation."""

from __future__ import annotations

import pytest

from coterie.errors import (
    MessageRefused,
    StepRefused,
)
from tests.ps.calls import (
    MakeContract,
    MakeGradients,
    MakeRun,
    calls,
    content,
    exchange,
    join_request,
    state_after,
)


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
        assert refused.value.remedy == "join again: the reply names the open step"


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
    again = run.port("w0", incarnation=2).exchange(exchange(pushes[0], 0))
    assert content(again) == content(done)
    assert done.dense_parameters == state_after(contract, pushes).dense.tobytes()


def test_a_worker_that_comes_back_with_other_data_is_refused(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.join_all()
    with pytest.raises(MessageRefused, match="came back with other training data"):
        run.port("w0", incarnation=2).join(join_request(9))
