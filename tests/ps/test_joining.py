"""Coming together: who is waited for, and what a run begins with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from coterie.errors import (
    DataError,
    MessageRefused,
)
from coterie.ps.core.state import ModelState
from coterie.ps.core.table import RowTable
from coterie.ps.wire import ps_pb2 as pb
from coterie.runs import events
from tests.ps.calls import (
    MakeContract,
    MakeRun,
    exchange,
    join_request,
)


def test_a_join_is_pending_until_everybody_has_come(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract(epochs=3), incarnation=7)
    request = join_request(8)
    assert run.port("w0").join(request) == pb.JoinReply(pending=True, ps_incarnation=7)
    complete = pb.JoinReply(
        ps_incarnation=7,
        step=0,
        steps=6,
        steps_per_epoch=2,
        shards=1,
        lineage=pb.Lineage(run_id=run.driver.checkpoints.run_id),
        receipt_kept=True,
    )
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


def test_data_that_are_too_uneven_end_the_run_for_everybody(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract(), examples=(65, 1))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run.session(0).join)
        for join in (run.session(1).join, waiting.result):
            with pytest.raises(DataError, match="worker w0 has so many more training examples"):
                join()
    with pytest.raises(DataError):
        run.outcome()


def test_joins_are_told_with_those_still_missing(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.port("w1").join(join_request(8))
    run.port("w1").join(join_request(8))
    run.port("w0").join(join_request(8))
    brought = (1, 8, "00" * 32)
    assert run.heard[0] == events.Begun(run.driver.checkpoints.run_id)
    assert run.heard[1:] == [
        events.Joined("w1", ("w0",), *brought),
        events.Joined("w0", (), *brought),
    ]


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
    assert run.port("chief").status(pb.StatusRequest()).steps == 0


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
