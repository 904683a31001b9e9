"""The council: nothing is applied before all shards hold it; absence is decided, and recorded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from coterie.contract import Contract
from coterie.parameters.sharding import SLICES
from coterie.ps.core.coordinator import Absence, Coordinator, StagedReport
from tests.ps.schedules import schedule_of

MakeContract = Callable[..., Contract]
QUORUM = {"quorum": 2, "grace_seconds": 1.0}


def staged(*workers: int) -> StagedReport:
    return StagedReport(workers, {})


def test_a_step_is_decided_when_every_shard_holds_every_push(make_contract: MakeContract) -> None:
    council = Coordinator(make_contract(workers=3, shards=2), schedule_of((8, 8, 8), 4, 1), 0)
    council.report(0, staged(0, 1, 2))
    assert council.decide(grace_over=True) is None
    council.report(1, staged(0, 2))
    assert council.decide(grace_over=True) is None
    council.report(1, staged(0, 1, 2))
    decision = council.decide(grace_over=False)
    assert decision is not None
    assert (decision.step, decision.contributors) == (0, (0, 1, 2))
    assert decision.weights == (1 / 12,) * 3
    assert (council.step, council.last) == (1, decision)


def test_past_the_grace_period_a_quorum_goes_on_and_the_absent_are_recorded(
    make_contract: MakeContract,
) -> None:
    council = Coordinator(make_contract(workers=3, limits=QUORUM), schedule_of((16,) * 3, 4, 1), 0)
    council.report(0, staged(0, 2))
    assert council.decide(grace_over=False) is None
    left = council.decide(grace_over=True)
    assert left is not None
    assert (left.contributors, left.left_out, left.absent) == ((0, 2), (1,), frozenset({1}))
    assert left.weights == (1 / 8, 0.0, 1 / 8)

    council.report(0, staged(0, 2))
    without = council.decide(grace_over=False)  # nobody waits for it any more
    assert without is not None
    assert without.left_out == ()

    council.hear_of(1)
    assert council.absent == frozenset()
    council.report(0, staged(0, 2))
    assert council.decide(grace_over=False) is None
    council.report(0, staged(0, 1, 2))
    back = council.decide(grace_over=False)
    assert back is not None
    assert (back.contributors, back.returned, back.absent) == ((0, 1, 2), (1,), frozenset())
    assert council.absences == [Absence(1, 0, 2)]


def test_fewer_than_a_quorum_never_go_on(make_contract: MakeContract) -> None:
    council = Coordinator(make_contract(workers=3, limits=QUORUM), schedule_of((8,) * 3, 4, 1), 0)
    council.report(0, staged(1))
    assert council.decide(grace_over=True) is None
    assert council.absences == []


def test_without_a_quorum_in_the_contract_every_step_waits(make_contract: MakeContract) -> None:
    council = Coordinator(make_contract(workers=3), schedule_of((8,) * 3, 4, 1), 0)
    council.report(0, staged(0, 1))
    assert council.decide(grace_over=True) is None


def test_a_push_counts_only_if_all_shards_hold_it(make_contract: MakeContract) -> None:
    contract = make_contract(workers=3, shards=2, limits=QUORUM)
    council = Coordinator(contract, schedule_of((8,) * 3, 4, 1), 0)
    council.report(0, staged(0, 1, 2))
    council.report(1, staged(0, 1))
    decision = council.decide(grace_over=True)
    assert decision is not None
    assert (decision.contributors, decision.left_out) == ((0, 1), (2,))


def test_steps_that_only_absent_workers_have_a_part_in_are_skipped(
    make_contract: MakeContract,
) -> None:
    contract = make_contract(workers=3, limits=QUORUM)
    council = Coordinator(contract, schedule_of((4, 4, 12), 4), 0, [Absence(2, 0)])
    for held in ((), (0, 1), ()):
        council.report(0, staged(*held))
        decision = council.decide(grace_over=False)
        assert decision is not None
        assert decision.contributors == held
        assert decision.weights[2] == 0.0
    council.report(0, staged(0, 1, 2))
    assert council.decide(grace_over=True) is None, "the run is over"


def test_a_resumed_run_may_begin_without_some(make_contract: MakeContract) -> None:
    contract = make_contract(workers=3, limits=QUORUM)
    council = Coordinator(contract, schedule_of((12,) * 3, 4, 1), 1, [Absence(2, 0)])
    assert council.begin_with((0,)) == (1,)
    assert council.absences == [Absence(2, 0), Absence(1, 1)]


@pytest.mark.parametrize("shards", [1, 3])
def test_long_updates_are_scaled_down_to_the_bound(
    make_contract: MakeContract, shards: int
) -> None:
    contract = make_contract(workers=2, shards=shards, update_norm=0.5)
    council = Coordinator(contract, schedule_of((4, 4), 4, 1), 0)
    for shard in range(shards):
        squares = {w: np.zeros(1 + SLICES) for w in (0, 1)}
        if shard == 0:
            squares[0][0] = 36.0  # of a sum over 4 examples: the mean's norm is 2.5
            squares[1][0] = 1.0
        squares[0][1 + shard] = 64.0 / shards
        council.report(shard, StagedReport((0, 1), squares))
    decision = council.decide(grace_over=False)
    assert decision is not None
    bounded, free = decision.weights
    assert bounded == pytest.approx(1 / 8 * 0.5 / 2.5)
    assert free == 1 / 8


def test_reports_count_for_one_step(make_contract: MakeContract) -> None:
    council = Coordinator(make_contract(workers=2, shards=2), schedule_of((16, 16), 4, 1), 0)
    for shard in (0, 1):
        council.report(shard, staged(0, 1))
    assert council.decide(grace_over=False) is not None
    assert council.silent == (0, 1)
    assert council.decide(grace_over=True) is None
    assert council.step == 1


def test_whoever_was_left_out_is_missing_in_steps_that_it_has_no_part_in_too(
    make_contract: MakeContract,
) -> None:
    """Else a run of three could go on with one, as soon as another one's rows are used up."""
    contract = make_contract(workers=3, limits=QUORUM)
    council = Coordinator(contract, schedule_of((8, 8, 4), 4, 1), 1, [Absence(2, 0)])
    council.report(0, staged(0))
    assert council.decide(grace_over=True) is None
    council.report(0, staged(0, 1))
    assert council.decide(grace_over=True) is not None
