"""Look-ups of collateral: one per platform at a time, never waited for too long, none made twice at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from coterie.attestation.collateral import Collateral
from coterie.attestation.lookups import MOST_KEPT, MOST_UNDER_WAY, LookUps
from coterie.attestation.platforms import Platform
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.errors import EnvironmentUnfit, EvidenceRefused

NEW = SimulatedPki().issue(datetime(2026, 3, 1, 12, tzinfo=UTC))


def platform(number: int = 0) -> Platform:
    return Platform("sgx", f"{number:012x}", "platform")


@dataclass
class Service:
    """Counts, and answers when it is told to."""

    answer: Collateral | Exception = NEW
    asked: int = 0
    entered: threading.Event = field(default_factory=threading.Event)
    leave: threading.Event = field(default_factory=threading.Event)
    left: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __call__(self) -> Collateral:
        self.asked += 1
        self.entered.set()
        assert self.leave.wait(30)
        self.left.release()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def service() -> Service:
    made = Service()
    made.leave.set()
    return made


class Minutes:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now * 60


DOWN = EnvironmentUnfit("the PCCS is down", expected="200", seen="503", remedy="wait")
NONE = EvidenceRefused("collateral_missing", "there is none")


@pytest.mark.parametrize("failure", [DOWN, NONE], ids=["down", "none"])
def test_a_failure_stands_for_a_minute(
    service: Service, failure: EnvironmentUnfit | EvidenceRefused
) -> None:
    clock = Minutes()
    look_ups: LookUps[Collateral] = LookUps(seconds=30, monotonic=clock)
    service.answer = failure
    for _ in range(100):
        with pytest.raises(type(failure)) as raised:
            look_ups.outcome(platform(), service)
        assert raised.value.to_dict() == failure.to_dict()
    assert service.asked == 1
    clock.now, service.answer = 1.0, NEW
    assert look_ups.outcome(platform(), service) == NEW
    assert service.asked == 2


def test_an_answer_stands_for_a_minute_too(service: Service) -> None:
    look_ups: LookUps[Collateral] = LookUps(seconds=30)
    assert {look_ups.outcome(platform(), service) for _ in range(50)} == {NEW}
    assert service.asked == 1


def test_many_who_come_at_once_cause_one_look_up() -> None:
    service = Service()
    look_ups: LookUps[Collateral] = LookUps(seconds=30)
    with ThreadPoolExecutor(16) as pool:
        waiting = [pool.submit(look_ups.outcome, platform(), service) for _ in range(16)]
        assert service.entered.wait(30)
        service.leave.set()
        assert {one.result(30) for one in waiting} == {NEW}
    assert service.asked == 1


def test_a_slow_service_holds_nobody_beyond_the_deadline_and_is_not_asked_twice() -> None:
    clock = Minutes()
    service = Service()
    look_ups: LookUps[Collateral] = LookUps(seconds=0.01, monotonic=clock)
    with pytest.raises(EnvironmentUnfit) as unfit:
        look_ups.outcome(platform(), service)
    assert "no answer within" in unfit.value.seen
    clock.now = 5.0  # still under way: whoever comes now does not wait at all
    for _ in range(16):
        with pytest.raises(EnvironmentUnfit):
            look_ups.outcome(platform(), service)
    assert service.asked == 1
    service.leave.set()
    assert service.left.acquire(timeout=30)


def test_a_slow_service_holds_few_threads_whatever_is_asked_for() -> None:
    service = Service()
    look_ups: LookUps[Collateral] = LookUps(seconds=0.0)
    for number in range(40):
        with pytest.raises(EnvironmentUnfit) as unfit:
            look_ups.outcome(platform(number), service)
        expected = "no answer" if number < MOST_UNDER_WAY else f"{MOST_UNDER_WAY} other look-ups"
        assert expected in unfit.value.seen
    service.leave.set()
    for _ in range(MOST_UNDER_WAY):
        assert service.left.acquire(timeout=30)
    assert service.asked == MOST_UNDER_WAY


def test_what_is_remembered_is_bounded(service: Service) -> None:
    look_ups: LookUps[Collateral] = LookUps(seconds=30)
    for number in range(MOST_KEPT + 1):
        look_ups.outcome(platform(number), service)
    look_ups.outcome(platform(MOST_KEPT), service)
    assert service.asked == MOST_KEPT + 1
    look_ups.outcome(platform(0), service)  # the oldest had made room
    assert service.asked == MOST_KEPT + 2


def test_a_defect_is_not_swallowed(service: Service) -> None:
    service.answer = ZeroDivisionError("a defect")
    with pytest.raises(ZeroDivisionError):
        LookUps[Collateral](seconds=30).outcome(platform(), service)
