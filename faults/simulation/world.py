"""One schedule: a seeded draw decides what happens next, until the run is over or an invariant is broken."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from coterie.errors import CoterieError, PeerUnreachable
from coterie.ps.caller import Caller
from coterie.ps.core.effects import (
    BeginRun,
    DiskChanged,
    DropOthers,
    Durable,
    Flush,
    Load,
    ReadRecord,
    Restore,
    Retire,
    Save,
    Settle,
    Tell,
)
from coterie.ps.core.follower import AskCommit, AskConclude, AskEnlist
from coterie.ps.core.leader import Publish
from coterie.ps.core.procedures import (
    Called,
    Compute,
    Ended,
    Event,
    Expired,
    Keep,
    Parked,
    Passed,
    Perform,
    Performed,
    Task,
    Ticket,
    Until,
)
from coterie.runs.outcome import RunOutcome
from faults.simulation.disk import DiskDamaged
from faults.simulation.invariants import Broken, Invariants
from faults.simulation.nodes import Call, Server, Worker
from faults.simulation.scenario import GRACE_SECONDS, Faults, Scenario
from faults.simulation.tiny import TinySnapshot

MOST_DELIVERIES = 4000
POLL_SECONDS = 10.0


class _Timer:
    """A wait that ends some time."""

    __slots__ = ("_core", "_wait", "ends", "server", "ticket")

    def __init__(self, server: Server, ticket: Ticket[object], wait: Until, now: float) -> None:
        self.server = server
        self.ticket = ticket
        self.ends = now + (POLL_SECONDS if wait.seconds is None else wait.seconds)
        self._core, self._wait = server.core, wait

    @property
    def lasts(self) -> bool:
        """Whether it is still waited for."""
        ticket, wait = self.ticket, self._wait
        here = self.server.core is self._core and ticket.wait is wait and not wait.met
        return here and not ticket.over and ticket.task is None


class _Asking:
    """A follower's call to shard 0: repeated until it is answered, as the driver does."""

    def __init__(self, world: World, server: Server, ticket: Ticket[object]) -> None:
        self.name = server.name
        self.life = server.life
        self._world, self._server, self._ticket = world, server, ticket
        task = ticket.task
        assert isinstance(task, AskEnlist | AskCommit | AskConclude)
        self._task = task

    def ask(self) -> None:
        """Sends it (again)."""
        task, caller = self._task, Caller(self.name, "ps", self.life)
        match task:
            case AskEnlist():
                call = Call(
                    self, 0, lambda to: to.calls.leading("").enlist(caller, task.request), "enlist"
                )
            case AskCommit():
                what = f"commit {task.request.step}"
                call = Call(
                    self, 0, lambda to: to.calls.leading("").commit(caller, task.request), what
                )
            case AskConclude():
                call = Call(
                    self,
                    0,
                    lambda to: to.calls.leading("").conclude(caller, task.request),
                    "conclude",
                )
        self._world.send(call)

    def answered(self, _call: Call, reply: object, error: CoterieError | None) -> None:
        """Takes the reply."""
        server = self._server
        if server.life != self.life or server.core is None:
            return
        if isinstance(error, PeerUnreachable) and not self._world.servers[0].ended:
            self.ask()
            return
        if error is not None:
            self._task.failed(error)
        else:
            self._task.done(reply)  # type: ignore[arg-type]
        self._world.feed(server, Performed(self._ticket))


class World:
    """A run under faults.

    Args:
        scenario: The run.
        faults: What goes wrong.
        draw: Decides everything else.
        expected: The digest of the undisturbed run's model; None where there is none to compare.
        trace: Gets a line for everything that happens.
    """

    def __init__(
        self,
        scenario: Scenario,
        faults: Faults,
        draw: random.Random,
        *,
        expected: bytes | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self.scenario = scenario
        self.faults = faults
        self.now = 0.0
        self.deliveries = 0
        self.effects = 0
        self.outcome: RunOutcome | None = None
        self.invariants = Invariants(self, expected)
        self._random = draw.random
        self._trace = trace
        self._ready: list[Callable[[], None]] = []
        self._timers: list[_Timer] = []
        self._dialling: list[Call] = []
        self._runs = 0
        self.servers = [Server(shard, scenario) for shard in range(len(scenario.servers))]
        self.workers = [
            Worker(index, scenario, self.send, lambda shard: self.servers[shard].ended)
            for index in range(scenario.workers)
        ]

    def play(self) -> RunOutcome:
        """Plays the schedule to its end.

        Raises:
            Broken: An invariant does not hold.
        """
        for server in self.servers:
            self._later(partial(self._start, server))
        for worker in self.workers:
            self._later(partial(worker.go, worker.life))
        while not self._over():
            self.deliveries += 1
            if self.deliveries > MOST_DELIVERIES:
                raise Broken(f"the run is not over after {MOST_DELIVERIES} deliveries")
            self.now += 0.001
            if self.deliveries <= self.faults.until:
                self._trouble()
            self._next()
        self.invariants.check_end()
        assert self.outcome is not None
        return self.outcome

    def _over(self) -> bool:
        return all(w.left for w in self.workers) and all(s.ended for s in self.servers)

    @property
    def _calm(self) -> bool:
        return self.deliveries > self.faults.until

    def _next(self) -> None:
        """Something that can happen happens."""
        ready, draw = self._ready, self._random
        impatient = self._timers and not self._calm and draw() < self.faults.impatience
        if ready and not impatient:
            place = int(draw() * len(ready))
            ready[place], ready[-1] = ready[-1], ready[place]
            ready.pop()()
        elif self._timers:
            self._expire(int(draw() * len(self._timers)) if impatient else None)
        else:
            raise Broken("nobody waits for anything, and the run is not over")

    def _expire(self, place: int | None) -> None:
        """A wait has lasted long enough: any, or the one that would first."""
        if place is None:
            self._timers = [one for one in self._timers if one.lasts]
            if not self._timers:
                raise Broken("nobody waits for anything, and the run is not over")
            first = min(range(len(self._timers)), key=lambda one: self._timers[one].ends)
        timer = self._timers.pop(first if place is None else place)
        if timer.lasts:
            server = timer.server
            # In a run that goes on by itself again, a limit of a day may be what is waited for.
            ends = timer.ends if place is None else min(timer.ends, self.now + POLL_SECONDS)
            self.now = max(self.now, ends)
            self._say("time is over", server.name, self._name(server, timer.ticket))
            self.feed(server, Expired(timer.ticket))

    def _trouble(self) -> None:
        faults, at, draw = self.faults, self.deliveries, self._random
        if at in faults.worker_crashes:
            worker = self.workers[int(draw() * len(self.workers))]
            if not worker.left:
                self._say("dies", worker.name)
                worker.begin()
                self._later(partial(worker.go, worker.life))
        if at in faults.jumps:
            self.now += GRACE_SECONDS * 1.5
            self._say("time passes")
            for server in self.servers:
                if server.core is not None:
                    self.feed(server, Passed())
        if at in faults.full_disks:
            server = self.servers[int(draw() * len(self.servers))]
            server.disk.full = True
            self._say("disk is full", server.name)
            self._later(partial(self._make_room, server))

    # --- the network ---------------------------------------------------------------------------

    def send(self, call: Call) -> None:
        """A call sets out."""
        if not self._calm:
            draw = self._random
            if draw() < self.faults.loss:
                self._later(partial(self._fail, call, "request lost"))
                if draw() < self.faults.late:
                    self._later(partial(self._deliver, call))
                return
            if draw() < self.faults.duplicates:
                self._later(partial(self._deliver, call))
        self._later(partial(self._deliver, call))

    def _deliver(self, call: Call) -> None:
        server = self.servers[call.server]
        if server.core is None:
            self._dialling.append(call)  # until it is there again
            return
        if server.ended:
            self._fail(call, "nobody there")
            return
        self._say(f"{call.asker.name} -> {server.name}", call.what)
        ticket: Ticket[object] = Ticket(call.start(server), call.asker.name)
        server.tickets[ticket] = call
        self.feed(server, Called(ticket))

    def _answer(self, call: Call, ticket: Ticket[object]) -> None:
        if not self._calm and self._random() < self.faults.loss:
            self._fail(call, "reply lost")
            return
        if call.over or call.asker.life != call.life:
            return
        call.over = True
        error = ticket.error
        if error is not None and not isinstance(error, CoterieError):
            raise error
        self._say(f"{call.asker.name} <-", call.what, str(error) if error is not None else "")
        if error is None:
            self.invariants.check_answer(self.servers[call.server], call, ticket.reply())
            call.asker.answered(call, ticket.reply(), None)
        else:
            self.invariants.check_refusal(call, error)
            call.asker.answered(call, None, error)

    def _fail(self, call: Call, why: str) -> None:
        if not call.over and call.asker.life == call.life:
            call.over = True
            self._say(f"{call.asker.name} <-", call.what, why)
            # An error of its own: one that is raised again and again keeps every traceback.
            call.asker.answered(call, None, PeerUnreachable(why))

    # --- servers -------------------------------------------------------------------------------

    def feed(self, server: Server, event: Event) -> None:
        """An event happens to a server, which may die in the middle of what follows from it."""
        core = server.core
        assert core is not None
        disk = server.store.state
        same = disk is core.disk or disk == core.disk
        if (same or self._execute(server, DiskChanged(disk))) and self._execute(server, event):
            self.invariants.check(server)

    def _execute(self, server: Server, event: Event) -> bool:
        core, life = server.core, server.life
        assert core is not None
        crashes, tickets = self.faults.crashes, server.tickets
        for effect in core.handle(event, self.now):
            self.effects += 1
            if self.effects in crashes:
                self._crash(server, type(effect).__name__)
                return False
            match effect:
                case Parked(ticket):
                    assert ticket.wait is not None
                    self._timers.append(_Timer(server, ticket, ticket.wait, self.now))
                case Perform(ticket):
                    self._later(partial(self._perform, server, life, ticket))
                case Ended(ticket):
                    call = tickets.pop(ticket, None)
                    if call is not None:
                        self._later(partial(self._answer, call, ticket))
                    elif ticket is server.course:
                        self._course_ended(server, ticket)
                case Tell(told):
                    self.invariants.check_told(server, told)
                case Save(snapshot, record):
                    assert isinstance(snapshot, TinySnapshot)
                    server.store.save(snapshot, record)
                    self._later(partial(self._write, server, life))
                case Retire(step):
                    server.store.retire(step)
                case Keep(note):
                    note.error = server.store.put_note(note.name, note.octets)
                case _:
                    raise AssertionError(effect)
        return True

    def _start(self, server: Server) -> None:
        try:
            course = server.start(self._new_run_id)
        except DiskDamaged as error:
            raise Broken(f"{server.name} is refused its own disk: {error}") from error
        self._say("starts", server.name)
        dialling, self._dialling = self._dialling, []
        for call in dialling:
            self._later(partial(self._deliver, call))
        self.feed(server, Called(course))

    def _crash(self, server: Server, before: str) -> None:
        self._say("dies", server.name, f"before the effect {before}")
        calls = list(server.tickets.values())
        server.crash()
        for call in calls:
            self._later(partial(self._fail, call, "the server died"))
        self._later(partial(self._start, server))

    def _course_ended(self, server: Server, ticket: Ticket[object]) -> None:
        if ticket.error is not None:
            if isinstance(ticket.error, PeerUnreachable) and self.servers[0].ended:
                server.ended = True  # it came back when shard 0 had ended
                return
            raise Broken(f"{server.name} ended: {ticket.error!r}") from ticket.error
        self._say("has ended", server.name)
        server.ended = True

    def _perform(self, server: Server, life: int, ticket: Ticket[object]) -> None:
        if server.life != life or server.core is None:
            return
        task = ticket.task
        if task is None:
            raise AssertionError(ticket)
        if isinstance(task, AskEnlist | AskCommit | AskConclude):
            _Asking(self, server, ticket).ask()
            return
        if self._trace is not None:
            self._say(type(task).__name__, server.name)
        if self._do(server, task):
            self.feed(server, Performed(ticket))

    def _do(self, server: Server, task: Task[object]) -> bool:
        """Does a server's work; whether it lived through it."""
        store = server.store
        match task:
            case Compute():
                task.run()
            case BeginRun():
                task.done(store.begin(task.run_id))  # type: ignore[func-returns-value]
            case Restore():
                task.done(store.restore(task.step, task.state))
            case Load():
                task.done(store.load(task.step, task.state))  # type: ignore[func-returns-value]
            case ReadRecord():
                task.done(store.record(task.step))
            case DropOthers():
                store.drop_others()
                task.done(None)
            case Flush():
                self.now += 1.0 if store.queue else 0.0
                task.done(not store.queue)
            case Settle():
                while store.queue and not server.disk.full:
                    if not self._execute(server, Durable(store.write(), store.state)):
                        return False
                store.give_up()
                task.done(None)
            case Publish():
                self.outcome = task.kept
                task.done(None)
            case _:
                raise AssertionError(task)
        return True

    def _write(self, server: Server, life: int) -> None:
        """The disk takes a checkpoint, if there still is one."""
        if server.life != life or server.core is None or not server.store.queue:
            return
        if server.disk.full:
            server.store.look()
            self.feed(server, Passed())
            return
        checkpoint = server.store.write()
        self._say("is durable", server.name, f"step {checkpoint.step}")
        self.feed(server, Durable(checkpoint, server.store.state))

    def _make_room(self, server: Server) -> None:
        server.disk.full = False
        self._say("disk has room", server.name)
        if server.core is not None and not server.ended:
            for _ in server.store.queue:
                self._later(partial(self._write, server, server.life))
            self.feed(server, Passed())

    def _new_run_id(self) -> str:
        self._runs += 1
        return f"{self._runs:064x}"

    # --- what is to come -----------------------------------------------------------------------

    def _later(self, action: Callable[[], None]) -> None:
        self._ready.append(action)

    def _say(self, what: str, *rest: str) -> None:
        if self._trace is not None:
            self._trace(f"{self.deliveries:4} {self.now:8.3f}  {what} {' '.join(rest)}".rstrip())

    def _name(self, server: Server, ticket: Ticket[object]) -> str:
        call = server.tickets.get(ticket)
        return f"for {call.asker.name}'s {call.what}" if call is not None else "for its course"
