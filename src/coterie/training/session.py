"""A node's standing with the parameter server: joins, repeats what is pending, remembers.

The server answers ``pending`` rather than let a call hang; repeating the same message is safe. The
newest durable checkpoint that a reply named is remembered, and a server that has fallen behind it
is refused: it would undo what was announced as done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from coterie.errors import PeerUnreachable, ProtocolError, RollbackRefused, StepRefused
from coterie.ps.aggregation import Gradients
from coterie.ps.evaluation import SplitCounts
from coterie.ps.ports import ParameterServerPort
from coterie.ps.schedule import Lane
from coterie.ps.wire import ps_pb2 as pb

FloatArray = npt.NDArray[np.float32]
IdArray = npt.NDArray[np.int32]
Outcome = TypeVar("Outcome")
# A node that was thrown out this often without a step in between gives up.
MAX_FAILURES = 5
Reply = TypeVar("Reply", pb.JoinReply, pb.ExchangeReply, pb.ReportReply)


@dataclass(frozen=True)
class Position:
    """Where a run stands.

    Attributes:
        step: Updates applied so far.
        lane: This worker's part of the run.
    """

    step: int
    lane: Lane


@dataclass(frozen=True)
class Parameters:
    """The model as far as a batch needs it.

    Attributes:
        step: Updates that it holds.
        dense_p: float32 [P].
        rows_ud: Rows of the asked ids, float32 [u, dim].
    """

    step: int
    dense_p: FloatArray
    rows_ud: FloatArray


class ServerSession:
    """Calls of one node to the parameter server.

    Args:
        connect: Dials the server; called at first, and again when the server went away.
        dim: Width of an embedding row.
        batch: Examples per worker and step.
        train_examples: What this node trains on; 0 for the chief.
        data_set_digest: SHA-256 of the training shard; empty for the chief.
    """

    def __init__(
        self,
        connect: Callable[[], ParameterServerPort],
        *,
        dim: int,
        batch: int,
        train_examples: int,
        data_set_digest: bytes = b"",
    ) -> None:
        self._connect = connect
        self._server = connect()
        self._dim = dim
        self._batch = batch
        self._train_examples = train_examples
        self._data_set_digest = data_set_digest
        self._initial: pb.InitializeRequest | None = None
        self._remembered: pb.Checkpoint | None = None
        self._incarnation = 0

    def join(self) -> Position:
        """Comes (back) and waits until everybody has.

        Raises:
            RollbackRefused: The server is older than a checkpoint that it announced.
            CoterieError: The server refuses.
        """
        request = pb.JoinRequest(
            train_examples=self._train_examples,
            remembered=self._remembered,
            data_set_digest=self._data_set_digest,
        )
        reply = _until_done(lambda: self._server.join(request))
        remembered, durable = self._remembered, reply.durable
        if remembered is not None and (
            durable.step < remembered.step
            or (durable.step == remembered.step and durable.digest != remembered.digest)
        ):
            raise RollbackRefused(
                "the parameter server was restored from an older checkpoint than it had announced, "
                "or from another one",
                expected=f"step {remembered.step} or later (SHA-256 {remembered.digest.hex()})",
                seen=f"step {reply.step}"
                if reply.step < remembered.step
                else f"checkpoint of step {durable.step} (SHA-256 {durable.digest.hex()})",
                remedy="restore the server's newest checkpoint, or start a new run",
            )
        self._incarnation = reply.ps_incarnation
        self._remember(reply.durable)
        lane = Lane(self._train_examples, self._batch, reply.steps_per_epoch, reply.steps)
        return Position(reply.step, lane)

    def through_restarts(self, action: Callable[[Position], Outcome]) -> Outcome:
        """Joins and acts; does both again whenever the server went away or started anew.

        Args:
            action: Given where the run stands; must be safe to repeat.

        Raises:
            CoterieError: The server refuses this node, or cannot be reached any more.
        """
        failures, reached, broken = 0, -1, False
        while True:
            step = reached
            try:
                if broken:
                    self._reconnect()
                position = self.join()
                step = position.step
                return action(position)
            except (PeerUnreachable, StepRefused):
                failures = failures + 1 if step == reached else 1
                if failures >= MAX_FAILURES:
                    raise
                reached, broken = step, True

    def initialize(self, dense_p: FloatArray) -> None:
        """Gives the model's initial dense parameters, float32 [P] (chief).

        A server that starts anew is given them again; one that has trained ignores them.
        """
        octets = dense_p.astype("<f4", copy=False).tobytes()
        self._initial = pb.InitializeRequest(dense_parameters=octets)
        self._server.initialize(self._initial)

    def pull(self, step: int, row_ids_u: IdArray) -> Parameters:
        """Waits until ``step`` updates are applied and reads the model."""
        return self._exchange(step, None, row_ids_u)

    def push(self, step: int, gradients: Gradients, next_row_ids_u: IdArray) -> Parameters:
        """Pushes a step and reads the model after it.

        Args:
            step: The open step.
            gradients: Of the sum of losses over this worker's examples.
            next_row_ids_u: The rows that the next batch needs.
        """
        push = pb.Push(
            examples=gradients.examples,
            loss_sum=gradients.loss_sum,
            dense_gradient=gradients.dense_p.tobytes(),
            row_ids=gradients.row_ids_u.tobytes(),
            row_gradients=gradients.rows_ud.tobytes(),
        )
        return self._exchange(step, push, next_row_ids_u)

    def lookup(self, row_ids_u: IdArray) -> FloatArray:
        """Rows for evaluation, float32 [u, dim]."""
        request = pb.LookupRequest(ps_incarnation=self._incarnation, row_ids=row_ids_u.tobytes())
        return self._rows(self._server.lookup(request).rows, row_ids_u.size)

    def dense(self) -> FloatArray:
        """The trained dense parameters, float32 [P]."""
        request = pb.LookupRequest(ps_incarnation=self._incarnation, dense=True)
        return self._dense(self._server.lookup(request).dense_parameters)

    def report(self, counts: tuple[SplitCounts, ...]) -> tuple[SplitCounts, ...]:
        """Reports evaluation counts and waits for the totals over all data owners."""
        request = pb.ReportRequest(
            ps_incarnation=self._incarnation, counts=[count.to_wire() for count in counts]
        )
        reply = _until_done(lambda: self._server.report(request))
        return tuple(SplitCounts.from_wire(total) for total in reply.totals)

    def _reconnect(self) -> None:
        self._server = self._connect()
        if self._initial is not None:
            self._server.initialize(self._initial)

    def _exchange(self, step: int, push: pb.Push | None, row_ids_u: IdArray) -> Parameters:
        request = pb.ExchangeRequest(
            ps_incarnation=self._incarnation,
            step=step,
            push=push,
            next_row_ids=row_ids_u.tobytes(),
        )
        reply = _until_done(lambda: self._server.exchange(request))
        self._remember(reply.durable)
        return Parameters(
            reply.step,
            self._dense(reply.dense_parameters),
            self._rows(reply.rows, row_ids_u.size),
        )

    def _dense(self, octets: bytes) -> FloatArray:
        if len(octets) % 4:
            raise ProtocolError(
                "the parameter server sent dense parameters of a wrong size",
                expected="float32 values",
                seen=f"{len(octets)} bytes",
                remedy="run the same version of Coterie on all nodes",
            )
        return np.frombuffer(octets, "<f4")

    def _rows(self, octets: bytes, count: int) -> FloatArray:
        if len(octets) != 4 * count * self._dim:
            raise ProtocolError(
                "the parameter server sent rows of a wrong size",
                expected=f"{count} rows of {self._dim} float32 values",
                seen=f"{len(octets)} bytes",
                remedy="run the same version of Coterie on all nodes",
            )
        return np.frombuffer(octets, "<f4").reshape(count, self._dim)

    def _remember(self, durable: pb.Checkpoint) -> None:
        if durable.digest and (self._remembered is None or durable.step > self._remembered.step):
            self._remembered = durable


def _until_done(call: Callable[[], Reply]) -> Reply:
    while (reply := call()).pending:
        pass
    return reply
