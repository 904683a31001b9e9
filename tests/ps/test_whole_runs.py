"""Whole runs in memory: threads, their order and repeated messages do not show in the model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from coterie.ps.caller import Caller
from coterie.ps.in_process import InProcess
from coterie.ps.methods import Unary
from coterie.ps.ports import ParameterServerPort
from coterie.ps.wire.codecs import Reply, Request
from coterie.runs import events
from tests.ps.calls import (
    MakeContract,
    MakeRun,
)


def test_a_run_from_end_to_end(make_contract: MakeContract, make_run: MakeRun) -> None:
    run = make_run(make_contract(epochs=2), examples=(9, 5))
    outcome = run.finish()
    assert outcome.steps == 4
    assert outcome.examples == 28
    assert [*outcome.totals] == ["validation", "test"]
    assert [scores.examples for scores in outcome.totals.values()] == [40, 40]
    steps = [event for event in run.heard if isinstance(event, events.StepDone)]
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert [step.examples for step in steps] == [4 + 2, 5 + 3] * 2
    assert [step.accuracy for step in steps] == [(2 + 1) / 6, (2 + 1) / 8] * 2
    assert [step.over_steps for step in steps] == [1, 1] * 2
    last_epoch = sum((step.loss or 0) * step.over_examples for step in steps[2:]) / 14
    assert outcome.train_loss == pytest.approx(last_epoch, rel=1e-12)


@pytest.mark.parametrize("mode", ["hfl", "sdt"])
def test_threads_and_their_order_do_not_show_in_the_model(
    make_contract: MakeContract, make_run: MakeRun, mode: str
) -> None:
    contract = make_contract(mode, workers=4, epochs=2)
    digests = set()
    for _ in range(3):
        run = make_run(contract, examples=(12, 7, 4, 1) if mode == "hfl" else (6, 6, 5, 5))
        if mode == "sdt":
            run.join_all()
        run.train_all()
        digests.add(run.digest)
    assert len(digests) == 1


class Repeating(InProcess):
    """A transport over which every exchange arrives twice, at the same time."""

    def unary(self, method: Unary[Request, Reply], request: Request) -> Reply:
        if method.path != ParameterServerPort.exchange.path:
            return super().unary(method, request)
        with ThreadPoolExecutor(2) as pool:
            once = super().unary
            answers = [pool.submit(once, method, request) for _ in range(2)]
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
        caller = Caller(f"w{worker}", "worker", 1)
        port = ParameterServerPort(Repeating(twice.service, caller))
        session = twice.session(worker, lambda: port)
        twice.train(worker, session)

    twice.together(work)
    assert twice.state.step == 4
    assert twice.digest == once.digest
