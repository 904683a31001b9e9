"""The mechanism of a core without I/O: waiting procedures, tasks for the driver, and effects.

A procedure is a generator. It yields a request for what it needs before it can go on. The outcome
is in the yielded object; nothing is sent into the generator.

    Until    a condition on the core's own state, checked after every event that changed the state
    Task     work that takes time or I/O; the driver does it, and reports it by ``Performed``
    Note     a small write without other events in between; the driver does it at once

``Procedures.handle`` takes an event and yields effects one by one, in the order in which they must
be carried out. Nothing else happens in the core between two effects. So a simulator that stops in
between gets the state that a crash at that point leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from coterie.errors import CoterieError, EnvironmentUnfit

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Request:
    """A request of a procedure."""

    __slots__ = ()


class Until(Request):
    """Waits for a condition.

    Args:
        ready: The condition; reads the core's state only.
        seconds: Time after which the driver ends the wait; None: as long as calls wait.
        outlives_failure: Whether the wait goes on in a run that has failed.

    Attributes:
        met: Whether it became true; False if the driver ended the wait.
    """

    __slots__ = ("met", "outlives_failure", "ready", "seconds")

    def __init__(
        self,
        ready: Callable[[], bool],
        seconds: float | None = None,
        *,
        outlives_failure: bool = False,
    ) -> None:
        self.ready = ready
        self.seconds = seconds
        self.outlives_failure = outlives_failure
        self.met = False


class Note(Request):
    """A small record that must be durable before anything else happens.

    Attributes:
        error: Why it could not be written; None if it was.
    """

    __slots__ = ("error", "name", "octets")

    def __init__(self, name: str, octets: bytes) -> None:
        self.name = name
        self.octets = octets
        self.error: EnvironmentUnfit | None = None


class Task(Request, Generic[T]):
    """Work that the driver does while the core takes other events."""

    _value: T
    _error: Exception | None = None

    def done(self, value: T) -> None:
        """Takes the outcome."""
        self._value = value

    def failed(self, error: Exception) -> None:
        """Takes its error, which is raised in the procedure."""
        self._error = error

    def outcome(self) -> T:
        """The result of the work.

        Raises:
            CoterieError: The work failed.
        """
        if self._error is not None:
            raise self._error
        return self._value


class Compute(Task[T]):
    """Numeric work on data that no other event changes."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work

    def run(self) -> None:
        """Does the work."""
        try:
            self.done(self._work())
        except Exception as error:  # noqa: BLE001 (raised in the procedure)
            self.failed(error)


Steps = Generator[Request, None, T]


class Ticket(Generic[T_co]):
    """A running procedure: a call, or the run itself.

    Args:
        steps: The procedure.
        node: The caller; empty for the run itself.

    Attributes:
        wait: The condition that it waits for, if it does.
        task: The work that it waits for, if it does.
        over: Whether it has ended.
        error: Its error, if it ended with one.
    """

    __slots__ = ("_reply", "error", "node", "over", "seen", "steps", "task", "wait")

    _reply: T_co

    def __init__(self, steps: Steps[T_co], node: str = "") -> None:
        self.steps = steps
        self.node = node
        self.wait: Until | None = None
        self.task: Task[object] | None = None
        self.over = False
        self.error: Exception | None = None
        self.seen = -1

    def resume(self, error: Exception | None = None) -> Request | None:
        """Runs to the next request; returns None at the end."""
        try:
            return self.steps.throw(error) if error is not None else next(self.steps)
        except StopIteration as end:
            self._reply, self.over = end.value, True
        except Exception as failure:  # noqa: BLE001 (raised in ``reply``)
            self.error, self.over = failure, True
        return None

    def reply(self) -> T_co:
        """Its result.

        Raises:
            CoterieError: It ended with this error.
        """
        if self.error is not None:
            raise self.error
        return self._reply


class Event:
    """An event for a core."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Called(Event):
    """A call has arrived."""

    ticket: Ticket[object]


@dataclass(frozen=True, slots=True)
class Expired(Event):
    """A procedure's wait for a condition is over."""

    ticket: Ticket[object]


@dataclass(frozen=True, slots=True)
class Performed(Event):
    """A procedure's task is done."""

    ticket: Ticket[object]


@dataclass(frozen=True, slots=True)
class Passed(Event):
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Broken(Event):
    """The run cannot go on."""

    error: CoterieError


class Effect:
    """An effect that a driver must carry out."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Ended(Effect):
    """A procedure has ended: its caller gets the reply, or the error."""

    ticket: Ticket[object]


@dataclass(frozen=True, slots=True)
class Parked(Effect):
    """A procedure waits (again) for a condition; the ticket has the time limit."""

    ticket: Ticket[object]


@dataclass(frozen=True, slots=True)
class Perform(Effect):
    """Do the ticket's task; other events may be handled meanwhile."""

    ticket: Ticket[object]


@dataclass(frozen=True, slots=True)
class Keep(Effect):
    """Make the note durable before taking the next effect."""

    note: Note


def at_once(work: Callable[[], T]) -> Steps[T]:
    """A procedure that does not wait."""
    yield from ()
    return work()


def until(
    ready: Callable[[], bool], seconds: float | None = None, *, outlives_failure: bool = False
) -> Steps[bool]:
    """Waits for a condition; returns whether it became true in time."""
    wait = Until(ready, seconds, outlives_failure=outlives_failure)
    yield wait
    return wait.met


def next_change(seconds: float | None = None) -> Steps[bool]:
    """Waits until the state changes; returns whether it did in time."""
    looked = False

    def changed() -> bool:
        nonlocal looked
        looked, before = True, looked
        return before

    return (yield from until(changed, seconds))


def perform(task: Task[T]) -> Steps[T]:
    """Lets the driver do work that takes time or I/O."""
    yield task
    return task.outcome()


def compute(work: Callable[[], T]) -> Steps[T]:
    """Lets the driver do numeric work while the core takes other events."""
    return (yield from perform(Compute(work)))


class Procedures:
    """Runs procedures, one event at a time, without threads, locks or clocks.

    Attributes:
        now: Time of the present event, in seconds of a monotonic clock.
        failure: The error that ended the run.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.failure: CoterieError | None = None
        self._effects: list[Effect] = []
        self._parked: dict[Ticket[object], None] = {}
        self._version = 0
        self._busy = False

    # --- for procedures and what they call -----------------------------------------------------

    def emit(self, effect: Effect) -> None:
        """Adds an effect, which is carried out before the running procedure goes on or ends."""
        self._effects.append(effect)

    def notify(self) -> None:
        """Marks the state as changed, so that waiting procedures check their conditions."""
        self._version += 1

    def fail(self, error: CoterieError) -> None:
        """Ends the run: every waiting and later call raises the first such error."""
        self.failure = self.failure or error
        self.notify()

    def raise_failure(self) -> None:
        """Raises the error that ended the run, if there is one."""
        if self.failure is not None:
            raise self.failure

    # --- for the driver ------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> Generator[Effect, None, None]:
        """Takes an event; yields the effects one by one.

        Args:
            event: What happened.
            now: Time of a monotonic clock, in seconds.
        """
        if self._busy:
            raise AssertionError("an event in the middle of another one")
        self._busy = True
        self.now = now
        try:
            yield from self._take(event)
            yield from self._settle()
        finally:
            self._busy = False

    def on_called(self, ticket: Ticket[object]) -> None:
        """Called when a call has arrived."""

    def on_ended(self, ticket: Ticket[object]) -> None:
        """Called when a call was answered."""

    def on_event(self, event: Event) -> None:
        """Takes an event that is not about a procedure."""
        raise AssertionError(event)

    def _take(self, event: Event) -> Iterator[Effect]:
        match event:
            case Called(ticket):
                self.on_called(ticket)
                yield from self._run(ticket)
            case Performed(ticket):
                ticket.task = None
                yield from self._run(ticket)
            case Expired(ticket):
                if ticket in self._parked:
                    del self._parked[ticket]
                    yield from self._run(ticket)
            case Broken(error):
                self.fail(error)
            case Passed():
                self.notify()
            case _:
                self.on_event(event)
                yield from self._flush()

    def _settle(self) -> Iterator[Effect]:
        """Resumes procedures whose condition is true, until nothing changes any more."""
        looked = -1
        while looked != self._version:
            looked = self._version
            for ticket in tuple(self._parked):
                if ticket.seen == self._version or ticket not in self._parked:
                    continue
                ticket.seen = self._version
                wait = ticket.wait
                assert wait is not None
                if self.failure is not None and not wait.outlives_failure:
                    del self._parked[ticket]
                    yield from self._run(ticket, self.failure)
                elif wait.ready():
                    wait.met = True
                    del self._parked[ticket]
                    yield from self._run(ticket)

    def _run(self, ticket: Ticket[object], error: Exception | None = None) -> Iterator[Effect]:
        """Runs a procedure until it waits, or ends."""
        while (request := ticket.resume(error)) is not None:
            error = None
            try:
                yield from self._flush()
            except Exception as failure:  # noqa: BLE001 (an error of the driver, raised in the procedure)
                error = failure
                continue
            match request:
                case Until():
                    if self.failure is not None and not request.outlives_failure:
                        error = self.failure
                    elif request.ready():
                        request.met = True
                    else:
                        ticket.wait, ticket.seen = request, self._version
                        self._parked[ticket] = None
                        yield Parked(ticket)
                        return
                case Note():
                    yield Keep(request)
                case Task():
                    ticket.task = request
                    yield Perform(ticket)
                    return
        self.on_ended(ticket)
        try:
            yield from self._flush()
        except Exception as failure:  # noqa: BLE001 (likewise)
            ticket.error = failure
        yield Ended(ticket)

    def _flush(self) -> Iterator[Effect]:
        while self._effects:
            yield self._effects.pop(0)
