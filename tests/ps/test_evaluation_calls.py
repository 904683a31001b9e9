"""Evaluation: lookups create nothing, totals come when all have reported."""

from __future__ import annotations

import numpy as np
import pytest

from coterie.errors import (
    MessageRefused,
    StepRefused,
)
from coterie.ps.wire import ps_pb2 as pb
from tests.ps.calls import (
    EVERY_ROW,
    MakeContract,
    MakeRun,
    calls,
    join_request,
    report,
    totals,
)


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


def test_lookups_mark_rows_that_nobody_trained_and_create_none(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.train_all()
    table = run.state.table
    trained = set(table.trained_rows().tolist())
    assert 0 < len(trained) < 15, "the scene needs rows of both kinds"
    request = pb.LookupRequest(ps_incarnation=1, row_ids=EVERY_ROW, dense=True)
    before = run.digest
    reply = run.port("w0").lookup(request)
    everything = table.read(np.arange(15, dtype=np.int32))
    assert reply.rows == everything.tobytes()
    assert reply.trained == bytes(row in trained for row in range(15))
    assert reply.dense_parameters == run.state.dense.tobytes()
    assert run.digest == before


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
    done = totals(run, "w1")
    assert totals(run, "w0") == done
    assert done.model_digest == run.digest
    assert [scores.examples for scores in run.told.get().totals.values()] == [40, 40]


def test_totals_over_too_few_examples_are_withheld(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract(limits={"evaluation_minimum": 41}))
    run.train_all()
    report(run, "w0")
    totals(run, "w1")
    assert run.told.get().totals == {}


def test_in_sdt_only_the_chief_reports(make_contract: MakeContract, make_run: MakeRun) -> None:
    run = make_run(make_contract("sdt"))
    run.join_all()
    run.train_all()
    with pytest.raises(MessageRefused) as refused:
        report(run, "w0")
    assert refused.value.seen == "one by w0"
    totals(run, "chief")
    assert run.told.get().totals.keys() == {"validation", "test"}


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
