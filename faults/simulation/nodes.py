"""Workers and server shards in the simulated world."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from coterie.errors import CoterieError, PeerUnreachable, StepRefused
from coterie.metrics.histogram import ScoreHistogram
from coterie.ps.caller import Caller
from coterie.ps.core.evaluation import SPLITS, SplitCounts
from coterie.ps.core.flushes import FlushPlan
from coterie.ps.core.node_calls import NodeCalls
from coterie.ps.core.procedures import Steps, Ticket
from coterie.ps.core.schedule import Lane
from coterie.ps.core.shard import ShardCore, Surroundings
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest
from coterie.training.push_encoder import Remainder
from faults.simulation.disk import Disk, Store
from faults.simulation.scenario import Scenario
from faults.simulation.tiny import (
    VALUE_AT_START,
    NoStopwatch,
    TinyState,
    decoded,
    mixed,
    push_of,
    value_from,
)

_NO_IDS = np.zeros(0, np.int32)
_DATA = bytes(32)
Start = Callable[["Server"], Steps[object]]
Replies = list[object]


class Asker(Protocol):
    """Who has made a call."""

    name: str
    life: int

    def answered(self, call: Call, reply: object, error: CoterieError | None) -> None:
        """Takes the reply."""
        ...


class Call:
    """A call on its way.

    Args:
        asker: Who makes it.
        server: Whom to.
        start: Begins it in the server's core.

    Attributes:
        life: Of the asker: an answer to an earlier one is nobody's.
        over: Whether the asker has its answer.
    """

    __slots__ = ("asker", "life", "over", "place", "server", "start", "what")

    def __init__(self, asker: Asker, server: int, start: Start, what: str, place: int = 0) -> None:
        self.asker = asker
        self.life = asker.life
        self.server = server
        self.start = start
        self.what = what
        self.place = place
        self.over = False


class Server:
    """A shard of the parameter server: its disk, and the process that is there at the moment.

    Args:
        shard: Which shard.
        scenario: The run.

    Attributes:
        life: Of the process; it begins with 1.
        core: None where the process is dead.
        ended: Whether it has done its part.
    """

    def __init__(self, shard: int, scenario: Scenario) -> None:
        self.shard = shard
        self.name = scenario.servers[shard]
        self.scenario = scenario
        self.disk = Disk()
        self.life = 0
        self.runs = 0
        self.ended = False
        self.core: ShardCore | None = None
        self.tickets: dict[Ticket[object], Call] = {}

    def start(self, new_run_id: Callable[[], str]) -> Ticket[object]:
        """Starts the process; the ticket of the run's course.

        Raises:
            DiskDamaged: What lies on the disk is refused.
        """
        self.life += 1
        scenario, shard = self.scenario, self.shard
        self.store = Store(self.disk, shard)
        shards = len(scenario.servers)
        self.core = core = ShardCore(
            scenario.contract,
            self.name,
            incarnation=1000 * self.life,  # as a clock gives them: lives of the server lie between
            disk=self.store.state,
            notes=self.store.notes(),
            outside=Surroundings(
                new_state=lambda: TinyState(shard, shards),
                new_stopwatch=NoStopwatch,
                new_run_id=new_run_id,
            ),
            disclosure=scenario.disclosure,
        )
        self.calls = NodeCalls(core, decoded)
        self.tickets = {}
        self.seen = -1
        if self.calls.leader is not None:
            self.course: Ticket[object] = Ticket(self.calls.leader.drive())
        else:
            assert self.calls.follower is not None
            self.course = Ticket(self.calls.follower.drive())
        return self.course

    def crash(self) -> None:
        """The process dies."""
        self.core = None
        self.tickets = {}


@dataclass
class Position:
    """Where a worker joined."""

    incarnation: int
    step: int
    steps: int
    finished: bool


Course = Generator[list[Call], Replies, None]


class Worker:
    """A worker: what ``training/client.py`` and ``training/worker.py`` do, without waiting on threads.

    Args:
        index: Which worker.
        scenario: The run.
        send: Sends a call.
        gone: Whether a shard has ended, by its number.

    Attributes:
        remembered: What was announced to it, beyond its process.
        told_end: It was told that the last step is applied.
        done: It needs the server no more.
    """

    def __init__(
        self,
        index: int,
        scenario: Scenario,
        send: Callable[[Call], None],
        gone: Callable[[int], bool],
    ) -> None:
        self.index = index
        self.name = f"w{index}"
        self.scenario = scenario
        self.life = 0
        self.remembered: tuple[str, pb.Checkpoint] | None = None
        self.told_end = False
        self.left = False
        self._send = send
        self._gone = gone
        self._shards = range(len(scenario.servers))
        self._run_id = ""
        self.begin()

    def begin(self) -> None:
        """Starts the process."""
        self.life += 1
        self._caller = Caller(self.name, "worker", self.life)
        self._waiting: list[Call] = []
        self._replies: Replies = []
        self._missing = 0
        self._remainder = Remainder[int]()
        self._course = self._run()

    def go(self, life: int) -> None:
        """Makes the first calls, unless the process is dead by now."""
        if life == self.life:
            self._next(None, None)

    def answered(self, call: Call, reply: object, error: CoterieError | None) -> None:
        """Takes a reply; as soon as a call fails, the others that were made with it are left behind."""
        if call.place >= len(self._waiting) or self._waiting[call.place] is not call:
            return
        if error is not None:
            self._waiting = []
            self._next(None, error)
            return
        self._replies[call.place] = reply
        self._missing -= 1
        if not self._missing:
            replies, self._waiting = self._replies, []
            self._next(replies, None)

    def _next(self, replies: Replies | None, error: CoterieError | None) -> None:
        try:
            if error is not None:
                calls = self._course.throw(error)
            elif replies is None:
                calls = next(self._course)
            else:
                calls = self._course.send(replies)
        except StopIteration:
            self.left = True
            return
        self._waiting, self._replies = calls, [None] * len(calls)
        self._missing = len(calls)
        for place, call in enumerate(calls):
            call.place = place
            self._send(call)

    # --- what it does --------------------------------------------------------------------------

    def _run(self) -> Course:
        while True:
            try:
                position = yield from self._join()
                if not position.finished:
                    yield from self._train(position)
                    yield from self._report(position)
            except (PeerUnreachable, StepRefused):
                if not self._gone(0):
                    continue
            break
        for shard in reversed(self._shards):
            yield from self._leave(shard)

    def _call(self, server: int, what: str, start: Callable[[NodeCalls], Steps[object]]) -> Call:
        return Call(self, server, lambda there: start(there.calls), what)

    def _one(
        self, server: int, what: str, start: Callable[[NodeCalls], Steps[object]]
    ) -> Generator[list[Call], Replies, object]:
        (reply,) = yield [self._call(server, what, start)]
        return reply

    def _join(self) -> Generator[list[Call], Replies, Position]:
        request = pb.JoinRequest(train_examples=self.scenario.examples, data_set_digest=_DATA)
        if self.remembered is not None:
            run_id, checkpoint = self.remembered
            request.remembered.run_id = run_id
            request.remembered.checkpoint.CopyFrom(checkpoint)
        caller = self._caller
        while True:
            first = yield from self._one(0, "join", lambda to: to.join(caller, request))
            assert isinstance(first, pb.JoinReply)
            if not first.pending:
                break
        self._run_id = first.lineage.run_id
        if first.lineage.HasField("durable"):
            self.remembered = (self._run_id, first.lineage.durable)
        if first.finished:
            return Position(0, first.step, first.steps, finished=True)
        request = pb.JoinRequest(
            train_examples=self.scenario.examples,
            data_set_digest=_DATA,
            ps_incarnation=first.ps_incarnation,
            step=first.step,
        )
        for shard in self._shards[1:]:
            while True:
                other = yield from self._one(shard, "join", lambda to: to.join(caller, request))
                assert isinstance(other, pb.JoinReply)
                if not other.pending:
                    break
            if (other.ps_incarnation, other.step) != (first.ps_incarnation, first.step):
                raise StepRefused("the parameter server's shards are not of one life")
        return Position(first.ps_incarnation, first.step, first.steps, finished=False)

    def _train(self, position: Position) -> Generator[list[Call], Replies, None]:
        lane = Lane.of(
            self.scenario.contract.training,
            self.scenario.examples,
            steps_per_epoch=self.scenario.steps_per_epoch,
            steps=position.steps,
        )
        step = lane.next_step(position.step)
        value = yield from self._exchange(position, step, None)
        while step < position.steps:
            gradient = self._with_remainder(lane, step, mixed(self.index, step, value))
            examples = len(lane.span(step))
            request = push_of(self.index, step, gradient, examples)
            following = lane.next_step(step + 1)
            value = yield from self._exchange(position, step, request)
            if following != step + 1:
                value = yield from self._exchange(position, following, None)
            step = following

    def _with_remainder(self, lane: Lane, step: int, gradient: int) -> int:
        """Under error feedback, a number that depends on all since workers had no remainder."""
        contract = self.scenario.contract
        if not contract.training.error_feedback:
            return gradient
        plan = FlushPlan.of(contract, lane.steps_per_epoch)
        gradient = mixed(gradient, self._remainder.at(step, plan) or 0)
        self._remainder.keep(gradient)
        return gradient

    def _exchange(
        self, position: Position, step: int, push: object
    ) -> Generator[list[Call], Replies, int]:
        request = ExchangeRequest(position.incarnation, step, push, b"")  # type: ignore[arg-type]
        caller = self._caller
        what = f"push {step}" if push is not None else f"pull {step}"
        replies: list[object] = [None] * len(self._shards)
        asked = list(self._shards)
        while asked:
            answers = yield [
                self._call(shard, what, lambda to: to.exchange(caller, request, _NO_IDS))
                for shard in asked
            ]
            for shard, answer in zip(asked, answers, strict=True):
                assert isinstance(answer, ExchangeReply)
                replies[shard] = None if answer.pending else answer
            asked = [shard for shard in self._shards if replies[shard] is None]
        values = set()
        for reply in replies:
            assert isinstance(reply, ExchangeReply)
            values.add(value_from(reply.dense_parameters))
        first = replies[0]
        assert isinstance(first, ExchangeReply)
        if first.durable is not None:
            self.remembered = (self._run_id, first.durable)
        if first.step == position.steps:
            self.told_end = True
        if len(values) > 1:
            raise AssertionError(f"shards gave {self.name} the states {values} after a {what}")
        return values.pop()

    def _report(self, position: Position) -> Generator[list[Call], Replies, None]:
        request = pb.ReportRequest(ps_incarnation=position.incarnation)
        caller, counts = self._caller, _COUNTS
        while True:
            reply = yield from self._one(0, "report", lambda to: to.report(caller, request, counts))
            assert isinstance(reply, pb.ReportReply)
            if not reply.pending:
                return

    def _leave(self, shard: int) -> Generator[list[Call], Replies, None]:
        while not self._gone(shard):  # one that is gone for good is not needed
            try:
                yield from self._one(shard, "leave", lambda to: to.leave(self._caller, None))
            except PeerUnreachable:
                continue
            except StepRefused:
                yield from self._join_again()
            else:
                return

    def _join_again(self) -> Generator[list[Call], Replies, None]:
        while not self._gone(0):
            try:
                yield from self._join()
            except (PeerUnreachable, StepRefused):
                continue
            else:
                return


def _counts() -> tuple[SplitCounts, ...]:
    logits, labels = np.array([0.5, -0.5]), np.array([1.0, 0.0])
    return tuple(SplitCounts(split, ScoreHistogram.count(logits, labels)) for split in SPLITS)


_COUNTS = _counts()
assert VALUE_AT_START
