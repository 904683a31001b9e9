"""A shard that is not the first: what it asks shard 0 for, and when."""

from __future__ import annotations

from coterie.ps.caller import Caller
from coterie.ps.core.effects import BeginRun
from coterie.ps.core.follower import AskCommit, AskEnlist
from coterie.ps.core.procedures import Called, Compute, Event, Perform, Performed, Task, Ticket
from coterie.ps.wire import ps_pb2 as pb
from faults.simulation.nodes import Server
from faults.simulation.scenario import scenario_of

RUN = "5e" * 32


class Follower:
    """Shard 1 of two, driven by hand.

    Attributes:
        asked: What it wants to ask shard 0.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[Task[object]] = []
        self._later: list[Ticket[object]] = []
        self._server = Server(1, scenario_of(2, 2, 1, 1, None))
        self._course = self._server.start(lambda: RUN)
        self.happens(Called(self._course))

    def happens(self, event: Event) -> None:
        """Takes an event, and does at once what it wants of its disk."""
        core = self._server.core
        assert core is not None
        for effect in core.handle(event, self.now):
            if not isinstance(effect, Perform):
                continue
            task = effect.ticket.task
            assert task is not None
            if isinstance(task, Compute):
                task.run()
            elif isinstance(task, BeginRun):
                self._server.store.begin(task.run_id)
                task.done(None)
            else:
                self.asked.append(task)
                continue
            self._later.append(effect.ticket)
        while self._later:
            self.happens(Performed(self._later.pop()))

    def join(self, node: str) -> None:
        """A node joins."""
        request = pb.JoinRequest(train_examples=8, data_set_digest=bytes(32))
        join = self._server.calls.join(Caller(node, "worker", 1), request)
        self.happens(Called(Ticket(join, node)))

    def answer(self) -> None:
        """Shard 0 answers the first question: a run begins."""
        task = self.asked.pop()
        assert isinstance(task, AskEnlist)
        task.done(pb.EnlistReply(ps_incarnation=1, run_id=RUN))
        self.happens(Performed(self._course))


def test_it_asks_whether_its_life_goes_on_however_often_it_is_called() -> None:
    """Or nodes that wait on it, for others that cannot come any more, would keep it from asking."""
    follower = Follower()
    follower.answer()
    while follower.now < 2:
        assert follower.asked == []
        follower.join("w0")
        follower.now += 0.5
    follower.join("w0")
    (asked,) = follower.asked
    assert isinstance(asked, AskCommit)
    assert not asked.request.waits
