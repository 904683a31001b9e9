"""A node's client of the parameter server: joins, repeats pending calls, guards against rollback.

The server answers ``pending`` instead of letting a call hang; the client then repeats the same
message, which is safe. It remembers the run and the newest durable checkpoint that a reply named.
It refuses a server that continues another run or an older checkpoint, since that would undo
announced steps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from coterie.arrays import BoolArray, FloatArray, IdArray
from coterie.contract import Contract
from coterie.errors import CoterieError, EnvironmentUnfit, PeerUnreachable, StepRefused
from coterie.ps.checkpoints.lineage import Announced
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.evaluation import SplitCounts
from coterie.ps.core.schedule import Lane
from coterie.ps.farewell import farewell_of
from coterie.ps.ports import ParameterServerPort
from coterie.ps.times import times_to_wire
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.checkpoint_messages import lineage_from_wire, receipt_from_wire
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest, Push, octets_of
from coterie.ps.wire.shard_messages import checkpoint_from_wire
from coterie.runs.events import WorkerTimes
from coterie.text import printable
from coterie.training.messages import (
    HeldDense,
    Parameters,
    dense_of,
    held_after,
    push_of,
    wrong_size,
)
from coterie.training.push_encoder import PushEncoder
from coterie.training.reconnect_budget import MAX_FAILURES, ReconnectBudget
from coterie.training.rollback_guard import RollbackGuard
from coterie.training.sharded_client import ShardedClient, part_of
from coterie.waiting import Patience as Saying

Outcome = TypeVar("Outcome")
_FAREWELL_SECONDS = 5.0
_AGAIN_SECONDS = 1.0
_MOST_NAMES, _NAME = 20, 60


class _MayBePending(Protocol):
    @property
    def pending(self) -> bool: ...


Reply = TypeVar("Reply", bound=_MayBePending)


@dataclass(frozen=True)
class Position:
    """The position of a run.

    Attributes:
        step: Updates applied so far.
        lane: This worker's part of the run.
        validated: The step of the last finished validation.
        finished: Whether the run has its outcome, so that nothing is left to do.
    """

    step: int
    lane: Lane
    validated: int = 0
    finished: bool = False


@dataclass(frozen=True)
class WaitsFor:
    """What a run waits for, as the server reports it.

    Attributes:
        names: The nodes that it waits for.
        reason: Why, as far as known.
        seconds: Seconds for which this node has waited.
        begun: Whether all nodes had joined before.
    """

    names: tuple[str, ...]
    reason: str
    seconds: float
    begun: bool


@dataclass
class ExchangeTimes:
    """Seconds that exchanges took: in transport, in the server, and waiting for other workers."""

    transport: float = 0.0
    server: float = 0.0
    wait: float = 0.0


class ServerClient:
    """Calls of one node to the parameter server's shards.

    Args:
        connect: Connects to a shard, by number; called again after the connection was lost.
        contract: What is trained.
        train_examples: Number of examples that this node trains on; 0 for the chief.
        data_set_digest: SHA-256 of the training shard; empty for the chief.
        memory: Remembers announced checkpoints, if it has a file also beyond this process.
        while_waiting: Called whenever the server answers ``pending``; may raise to end the wait.
        monotonic: Monotonic clock, in seconds.
        on_waiting: Called, at growing intervals, with the nodes that the run waits for.
        on_lost: Called once when the server is lost, with the reason and the seconds for which the
            client tries to reconnect.
        on_back: Called after reconnecting, with the number of steps of the run that are done.
        start: Makes the messages that send a run's start to a shard, given the server's
            incarnation.
    """

    def __init__(
        self,
        connect: Callable[[int], ParameterServerPort],
        contract: Contract,
        *,
        train_examples: int,
        data_set_digest: bytes = b"",
        memory: RollbackGuard | None = None,
        while_waiting: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
        on_waiting: Callable[[WaitsFor], None] = lambda _: None,
        start: Callable[[int], Iterator[pb.StartPart]] | None = None,
        on_lost: Callable[[CoterieError, float], None] = lambda *_: None,
        on_back: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._on_lost = on_lost
        self._on_back = on_back
        self._shards = ShardedClient(connect, contract)
        self._contract = contract
        self._encoder = PushEncoder(contract)
        self._lane: Lane | None = None
        self._dense = sum(p.size for p in contract.model.dense_parameters(contract.data))
        self._train_examples = train_examples
        self._data_set_digest = data_set_digest
        self._memory = memory or RollbackGuard(None, contract)
        self._while_waiting = while_waiting
        self._monotonic = monotonic
        self._on_waiting = on_waiting
        self._start = start
        self._patience = Saying()
        self._closed = threading.Event()
        self._initial: pb.InitializeRequest | None = None
        self._incarnation = 0
        self._held: HeldDense | None = None
        self._lead_incarnation = self._initialized = 0
        self._run_id = ""
        self._successes = 0
        self._replies = 0
        self.times = ExchangeTimes()

    @property
    def run_id(self) -> str:
        """Name of the run that was joined, 64 hex digits; empty before."""
        return self._run_id

    def dial_ahead(self) -> None:
        """Starts to connect in the background, so that a wrong address shows before `join`."""
        self._shards.dial_ahead()

    def join(self) -> Position:
        """Joins (again) and waits until all nodes have joined.

        Raises:
            RollbackRefused: The server continues another run, or an older checkpoint than one that
                it announced.
            StepRefused: The shards belong to different incarnations of the server: join again.
            CoterieError: The server refuses.
        """
        request = pb.JoinRequest(
            train_examples=self._train_examples,
            remembered=self._memory.message(),
            data_set_digest=self._data_set_digest,
        )
        self._lead_incarnation, self._initialized = 0, -1
        first = self._until_done(lambda: self._join_lead(request))
        self._follow(first.lineage, first)
        self._lane = lane = Lane.of(
            self._contract.training,
            self._train_examples,
            steps_per_epoch=first.steps_per_epoch,
            steps=first.steps,
        )
        if first.finished:
            return Position(first.step, lane, finished=True)
        request = pb.JoinRequest(
            train_examples=self._train_examples,
            data_set_digest=self._data_set_digest,
            ps_incarnation=first.ps_incarnation,
            step=first.step,
        )
        for port in self._shards.ports[1:]:
            other = self._until_done(lambda port=port: port.join(request))  # type: ignore[misc]
            if (other.ps_incarnation, other.step) != (first.ps_incarnation, first.step):
                raise StepRefused(
                    "the parameter server's shards belong to different incarnations",
                    expected=f"incarnation {first.ps_incarnation} at step {first.step}",
                    seen=f"incarnation {other.ps_incarnation} at step {other.step}",
                )
        self._incarnation, self._held = first.ps_incarnation, None
        return Position(first.step, lane, first.validated)

    def through_restarts(self, action: Callable[[Position], Outcome]) -> Outcome:
        """Joins and runs an action; repeats both whenever the server is lost or restarts.

        Args:
            action: Called with the run's position; must be safe to repeat.

        Raises:
            CoterieError: The server refuses this node, or cannot be reached any more.
        """
        patience = ReconnectBudget(self._contract.limits.join_seconds, self._monotonic)
        reached, broken, lost = -1, False, False
        self._shards.arrive()  # a failure here is final: it took the whole reconnect budget
        while True:
            step, successes, replies = reached, self._successes, self._replies
            try:
                if broken:
                    self._shards.reconnect()
                position = self.join()
                if lost:
                    self._on_back(position.step)
                    lost = False
                step = position.step
                return action(position)
            except (PeerUnreachable, StepRefused) as error:
                progressed = step != reached or self._successes > successes
                if patience.ends(progressed=progressed, heard=self._replies > replies):
                    raise
                if not lost and step >= 0 and isinstance(error, PeerUnreachable):
                    self._on_lost(error, self._contract.limits.join_seconds)
                    lost = True
                reached, broken = step, True

    def initialize(self, dense_p: FloatArray) -> None:
        """Sends the model's initial dense parameters, float32 [P], with every join (chief).

        A server that starts again needs them again; a server that has trained ignores them.
        """
        octets = dense_p.astype("<f4", copy=False).tobytes()
        self._initial = pb.InitializeRequest(dense_parameters=octets)

    def pull(self, step: int, row_ids_u: IdArray) -> Parameters:
        """Waits until ``step`` updates are applied and reads the model."""
        return self._exchange(step, None, row_ids_u)

    def push(self, step: int, gradients: Gradients, next_row_ids_u: IdArray) -> Parameters:
        """Pushes a step and reads the model after it.

        Args:
            step: The open step.
            gradients: Gradients of the sum of losses over this worker's examples.
            next_row_ids_u: The rows that the next batch needs.
        """
        return self._exchange(step, gradients, next_row_ids_u)

    def lookup(self, row_ids_u: IdArray, validates: int = 0) -> tuple[FloatArray, BoolArray]:
        """Reads rows for evaluation, float32 [u, dim], and whether each was ever updated, bool [u].

        Args:
            row_ids_u: Distinct rows, int32 [u], ascending.
            validates: The step after which the model is read, which is waited for; 0: the trained
                model.
        """
        places = self._shards.deal(row_ids_u)

        def look_up(shard: int) -> pb.LookupReply:
            ids = part_of(row_ids_u, places[shard]).tobytes()
            request = pb.LookupRequest(
                ps_incarnation=self._incarnation, row_ids=ids, validates=validates
            )
            return self._until_done(lambda: self._shards.ports[shard].lookup(request), says=False)

        replies = self._shards.on_each(look_up)
        self._successes += 1
        counts = [part_of(row_ids_u, place).size for place in places]
        rows = [self._shards.rows(r.rows, n) for r, n in zip(replies, counts, strict=True)]
        trained = np.zeros(row_ids_u.size, np.bool_)
        for reply, place, count in zip(replies, places, counts, strict=True):
            if len(reply.trained) != count:
                raise wrong_size("marks of trained rows", f"{count} bytes", len(reply.trained))
            marks = np.frombuffer(reply.trained, np.uint8) != 0
            trained[slice(None) if place is None else place] = marks
        return self._shards.gather(rows, places, row_ids_u.size), trained

    def dense(self, validates: int = 0) -> FloatArray:
        """Reads the dense parameters, float32 [P]; ``validates`` as in ``lookup``."""
        request = pb.LookupRequest(
            ps_incarnation=self._incarnation, dense=True, validates=validates
        )
        reply = self._until_done(lambda: self._shards.ports[0].lookup(request))
        return dense_of(reply.dense_parameters)

    def report(self, counts: tuple[SplitCounts, ...], validates: int = 0) -> None:
        """Reports evaluation counts and waits until all data owners have.

        Args:
            counts: Counts of each split.
            validates: The step after which the model was validated, without waiting for other
                owners; 0: the trained model was evaluated.
        """
        request = pb.ReportRequest(
            ps_incarnation=self._incarnation,
            counts=[count.to_wire() for count in counts],
            validates=validates,
        )
        self._until_done(lambda: self._shards.ports[0].report(request))

    def downloads(
        self, *, optimizer_state: bool = False
    ) -> list[Callable[[], Iterator[pb.DownloadPart]]]:
        """One stream per shard, started by a call: of the model, or of its optimizers' state."""
        request = pb.DownloadRequest(optimizer_state=optimizer_state)
        return [lambda port=port: port.download(request) for port in self._shards.ports]  # type: ignore[misc]

    def waited(self) -> None:
        """Checks the wait; call it whenever a stream answers ``pending``."""
        self._replies += 1
        self._while_waiting()

    def training_ended(self) -> bool:
        """Whether the last step is applied and durable; False while that is not known."""
        try:
            status = self._shards.ports[0].status(pb.StatusRequest())
        except PeerUnreachable:
            self._shards.reconnect()
            return False
        if not 0 < status.steps <= status.lineage.durable.step:
            return False
        self._follow(status.lineage)
        return True

    def leave(self, times: WorkerTimes | None = None) -> None:
        """Tells every shard that this node no longer needs it; shard 0 last, since it ends the run.

        A server that restarts meanwhile is told again. A server that is gone for good is not
        needed. That also holds after a restart of this process, since the node remembers that it is
        done.

        Args:
            times: How a worker spent its time, for the result.
        """
        said = times_to_wire(times) if times is not None else None
        self._note(self._memory.conclude)
        for shard in reversed(range(self._shards.count)):
            self._leave(shard, said)

    def tell(self, error: CoterieError, *, goes_on: bool = False) -> None:
        """Reports why this node ends, if the server can be reached; waits some seconds at most.

        Args:
            error: The reason.
            goes_on: Whether the node will try again instead of ending.
        """
        ports = self._shards.open_ports
        if not ports or isinstance(error, PeerUnreachable):
            return

        def say() -> None:
            with suppress(CoterieError):
                ports[0].tell(farewell_of(error, goes_on=goes_on))

        # On a thread: if the connection broke meanwhile, the call reconnects, which can take long.
        telling = threading.Thread(target=say, name="farewell", daemon=True)
        telling.start()
        telling.join(_FAREWELL_SECONDS)

    def close(self) -> None:
        """Ends every connection and every pause."""
        self._closed.set()
        self._shards.close()

    def _join_lead(self, request: pb.JoinRequest) -> pb.JoinReply:
        """Sends shard 0 what this node gives, then joins; safe to repeat after a restart."""
        if self._initial is not None and self._initialized != self._lead_incarnation:
            self._shards.ports[0].initialize(self._initial)
            self._initialized = self._lead_incarnation
        if self._start is not None:
            incarnation = self._offer(0, 0)
            self._shards.on_each(
                lambda shard: self._offer(shard, incarnation) if shard else incarnation
            )
        reply = self._shards.ports[0].join(request)
        self._lead_incarnation = reply.ps_incarnation or self._lead_incarnation
        return reply

    def _offer(self, shard: int, incarnation: int) -> int:
        """Offers the start to a shard; returns the server's incarnation."""
        assert self._start is not None
        while (reply := self._shards.ports[shard].start(self._start(incarnation))).pending:
            self.waited()
        return reply.ps_incarnation

    def _leave(self, shard: int, times: pb.WorkerTimes | None) -> None:
        for _ in range(MAX_FAILURES):
            try:
                request = pb.LeaveRequest(ps_incarnation=self._incarnation, times=times)
                self._shards.ports[shard].leave(request)
            except StepRefused:
                self.through_restarts(lambda _: None)
            except PeerUnreachable:
                try:
                    self._shards.reconnect()
                    _ = self._shards.ports
                except CoterieError as error:
                    if not error.may_pass:
                        raise
                    return
            else:
                return

    def _exchange(self, step: int, gradients: Gradients | None, row_ids_u: IdArray) -> Parameters:
        began = self._monotonic()
        next_places = self._shards.deal(row_ids_u)
        push_to = self._pushes(step, gradients) if gradients else lambda _shard: None

        def exchange(shard: int) -> ExchangeReply:
            request = ExchangeRequest(
                ps_incarnation=self._incarnation,
                step=step,
                push=push_to(shard),
                next_row_ids=octets_of(part_of(row_ids_u, next_places[shard])),
                held_step=self._held.step if self._held and shard == 0 else None,
            )
            abandoned = self._shards.abandoned
            return self._until_done(
                lambda: self._shards.ports[shard].exchange(request), abandoned, says=shard == 0
            )

        replies = self._shards.on_each(exchange)
        self._successes += 1
        self._account(began, replies)
        self._remember(replies[0])
        rows = [
            self._shards.rows(reply.rows, part_of(row_ids_u, place).size, for_training=True)
            for reply, place in zip(replies, next_places, strict=True)
        ]
        together = self._shards.gather(rows, next_places, row_ids_u.size)
        self._held = held_after(replies[0], self._held)
        dense, dim = self._held.dense, self._contract.model.embedding_dim
        return Parameters(
            replies[0].step,
            dense[: self._dense],
            dense[self._dense :],
            together[:, :dim],
            together[:, dim:],
        )

    def _pushes(self, step: int, gradients: Gradients) -> Callable[[int], Push]:
        """Makes the push's messages, given a shard."""
        assert self._lane is not None
        places = self._shards.deal(gradients.row_ids_u)
        coding, dense = self._encoder.encode_dense(self._lane, step, gradients.dense_p)
        return lambda shard: push_of(gradients, b"" if shard else dense, places[shard], coding)

    def _until_done(
        self,
        call: Callable[[], Reply],
        abandoned: threading.Event | None = None,
        *,
        says: bool = True,
    ) -> Reply:
        began = self._monotonic()
        while (reply := call()).pending:
            self._replies += 1
            self._while_waiting()
            if says:
                self._say_waiting(began)
            if abandoned is not None and abandoned.is_set():
                raise PeerUnreachable("another shard of the parameter server cannot be reached")
        self._replies += 1
        return reply

    def _say_waiting(self, since: float) -> None:
        """Asks the server which nodes the run waits for and reports them, if it is time to."""
        now = self._monotonic()
        if not self._patience.due(now, since):
            return
        with suppress(PeerUnreachable):  # the waiting call then fails too, and reports it
            status = self._shards.ports[0].status(pb.StatusRequest())
            names = tuple(status.waits_for)[:_MOST_NAMES]
            self._on_waiting(
                WaitsFor(
                    names=tuple(printable(name, _NAME) for name in names),
                    reason=printable(status.reason),
                    seconds=now - since,
                    begun=status.steps > 0,
                )
            )

    def _account(self, began: float, replies: list[ExchangeReply]) -> None:
        slowest = max(replies, key=lambda reply: reply.served_seconds)
        whole = self._monotonic() - began
        wait = min(slowest.waited_seconds, whole)
        server = min(max(slowest.served_seconds - wait, 0.0), whole - wait)
        self.times.wait += wait
        self.times.server += server
        self.times.transport += whole - wait - server

    def _follow(self, message: pb.Lineage, joined: pb.JoinReply | None = None) -> None:
        lineage = lineage_from_wire(message, self._contract)
        if joined is not None:
            receipt, kept = receipt_from_wire(joined.receipt), joined.receipt_kept
            self._note(lambda: self._memory.join(lineage, receipt, kept=kept))
        else:
            self._note(lambda: self._memory.follow(lineage))
        self._run_id = lineage.run_id

    def _remember(self, reply: ExchangeReply) -> None:
        """Remembers what a reply says of the joined incarnation, and so of its run."""
        durable, announced = reply.durable, None
        if durable is not None and durable.digest:
            announced = Announced(self._run_id, checkpoint_from_wire(durable))
        receipt = receipt_from_wire(reply.receipt) if reply.receipt is not None else None
        self._note(lambda: self._memory.remember(announced, receipt))

    def _note(self, keep: Callable[[], None]) -> None:
        """Remembers durably; while the disk cannot be written, reports that and pauses."""
        began, limit = self._monotonic(), self._contract.limits.step_seconds
        while True:
            try:
                keep()
            except EnvironmentUnfit as error:
                waited = self._monotonic() - began
                if waited >= limit:
                    raise
                if not waited or self._patience.due(self._monotonic(), began):
                    self.tell(error, goes_on=True)
                    names = ("this node's own disk",)
                    reason = f"{error.what}: {error.seen}; make room or mend the folder"
                    self._on_waiting(WaitsFor(names, reason, waited, begun=True))
                if self._closed.wait(min(_AGAIN_SECONDS, limit - waited)):
                    raise
            else:
                return
