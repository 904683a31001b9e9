"""Procedures wait, are woken in order, and have their effects carried out one by one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from coterie.errors import NodeFailed, StepRefused
from coterie.ps.core.procedures import (
    Broken,
    Called,
    Compute,
    Effect,
    Ended,
    Event,
    Expired,
    Keep,
    Note,
    Parked,
    Passed,
    Perform,
    Performed,
    Procedures,
    Steps,
    Ticket,
    compute,
    next_change,
    until,
)


@dataclass(frozen=True)
class Said(Effect):
    """Something that a procedure wants done."""

    words: str


class Core(Procedures):
    """A number, and procedures about it."""

    number = 0

    def reaches(self, number: int, seconds: float | None = None) -> Steps[bool]:
        """Waits for the number."""
        reached = yield from until(lambda: self.number >= number, seconds)
        self.emit(Said(f"{number}: {reached}"))
        return reached

    def add(self, number: int) -> Steps[int]:
        """Adds to it."""
        yield from ()
        self.number += number
        self.notify()
        return self.number

    def happens(self, event: Event) -> list[Effect]:
        """Takes an event to its end."""
        return list(self.handle(event, 1.0))

    def says(self, event: Event) -> list[str]:
        """What is said after an event."""
        return [effect.words for effect in self.happens(event) if isinstance(effect, Said)]


def test_who_waits_for_something_goes_on_when_it_comes_true_in_the_order_of_coming() -> None:
    core = Core()
    waiting = [Ticket(core.reaches(number)) for number in (2, 1, 2)]
    for ticket in waiting:
        (parked,) = core.happens(Called(ticket))
        assert parked == Parked(ticket)
    assert core.says(Called(Ticket(core.add(1)))) == ["1: True"]
    assert core.says(Called(Ticket(core.add(1)))) == ["2: True", "2: True"]
    assert [ticket.reply() for ticket in waiting] == [True] * 3


def test_what_is_true_already_is_not_waited_for() -> None:
    core = Core()
    ticket = Ticket(core.reaches(0))
    assert core.happens(Called(ticket)) == [Said("0: True"), Ended(ticket)]


def test_a_wait_that_lasts_too_long_ends_once() -> None:
    core = Core()
    ticket = Ticket(core.reaches(1, 5.0))
    core.happens(Called(ticket))
    assert ticket.wait is not None
    assert ticket.wait.seconds == 5.0
    assert core.says(Expired(ticket)) == ["1: False"]
    assert core.says(Expired(ticket)) == []


def test_whoever_waits_for_any_change_does_not_hear_of_its_own() -> None:
    core = Core()

    def changes() -> Steps[bool]:
        core.notify()
        return (yield from next_change())

    ticket = Ticket(changes())
    assert core.happens(Called(ticket)) == [Parked(ticket)]
    assert core.happens(Passed()) == [Ended(ticket)]


def test_a_failure_reaches_all_but_those_who_wait_for_what_comes_after_it() -> None:
    core = Core()
    waits = Ticket(core.reaches(1))
    stays = Ticket(until(lambda: core.number == 1, outlives_failure=True))
    for ticket in (waits, stays):
        core.happens(Called(ticket))
    core.happens(Broken(NodeFailed("burnt down")))
    core.happens(Broken(NodeFailed("a consequence")))
    with pytest.raises(NodeFailed, match="burnt down"):
        waits.reply()
    late = Ticket(core.reaches(1))
    core.happens(Called(late))
    with pytest.raises(NodeFailed, match="burnt down"):
        late.reply()
    core.happens(Called(Ticket(core.add(1))))
    assert stays.reply()


def test_nothing_happens_between_a_note_and_what_follows_from_it() -> None:
    core = Core()

    def keeps() -> Steps[None]:
        note = Note("name", b"octets")
        core.emit(Said("before"))
        yield note
        core.emit(Said("after"))

    effects = core.handle(Called(Ticket(keeps())), 1.0)
    assert next(effects) == Said("before")
    assert isinstance(next(effects), Keep)
    with pytest.raises(AssertionError, match="in the middle of another"):
        core.happens(Passed())
    assert next(effects) == Said("after")


def test_other_events_come_while_a_task_is_done() -> None:
    core = Core()
    ticket = Ticket(compute(lambda: core.number))
    assert core.happens(Called(ticket)) == [Perform(ticket)]
    core.happens(Called(Ticket(core.add(3))))
    task = ticket.task
    assert isinstance(task, Compute)
    task.run()
    assert core.happens(Performed(ticket)) == [Ended(ticket)]
    assert ticket.reply() == 3


def test_the_error_of_a_task_is_raised_where_its_outcome_is_wanted() -> None:
    core = Core()

    def refuse() -> int:
        raise StepRefused("too late")

    ticket = Ticket(compute(refuse))
    core.happens(Called(ticket))
    assert isinstance(ticket.task, Compute)
    ticket.task.run()
    core.happens(Performed(ticket))
    with pytest.raises(StepRefused, match="too late"):
        ticket.reply()


def test_what_goes_wrong_with_an_effect_is_raised_in_the_procedure_that_wants_it() -> None:
    core = Core()

    def says() -> Steps[None]:
        core.emit(Said("words"))
        yield from until(lambda: False)

    ticket = Ticket(says())
    effects = core.handle(Called(ticket), 1.0)
    assert next(effects) == Said("words")
    assert effects.throw(RuntimeError("a defect")) == Ended(ticket)
    assert list(effects) == []
    with pytest.raises(RuntimeError, match="a defect"):
        ticket.reply()


def test_who_stops_listening_has_what_a_crash_at_that_moment_leaves() -> None:
    core = Core()
    first, second = (Ticket(core.reaches(1)) for _ in range(2))
    for ticket in (first, second):
        core.happens(Called(ticket))
    adds = Ticket(core.add(1))
    effects = core.handle(Called(adds), 1.0)
    assert [next(effects) for _ in range(3)] == [Ended(adds), Said("1: True"), Ended(first)]
    effects.close()
    assert first.over
    assert not second.over
