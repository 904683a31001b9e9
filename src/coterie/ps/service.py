"""A parameter server shard's calls, whatever transport they come over.

What a peer sent is decoded and bounded here; the core answers (``ps/core/node_calls.py``), by the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from coterie.errors import CoterieError, MessageRefused
from coterie.ps.caller import Caller
from coterie.ps.core.evaluation import SplitCounts
from coterie.ps.driver import Driver
from coterie.ps.model_download import (
    check_given_out,
    check_recipient,
    model_parts,
    part_count,
    state_parts,
)
from coterie.ps.ports import ParameterServerPort
from coterie.ps.progress import Progress, progress_of
from coterie.ps.times import times_from_wire
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.bounds import EVALUATION_BATCH
from coterie.ps.wire.checkpoint_messages import keeps_receipt, receipt_to_wire
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest
from coterie.runs.outcome import RunOutcome

if TYPE_CHECKING:
    from coterie.ps.warm_start.inbox import StartInbox


class ParameterService:
    """One parameter server shard.

    Args:
        driver: Drives its core.

    Attributes:
        driver: Drives its core.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._calls = driver.calls
        self._bounds = driver.bounds
        self._contract = driver.core.contract
        self._starting = _start_inbox(driver) if self._contract.start is not None else None

    # --- the run as a whole --------------------------------------------------------------------

    def drive(self, on_outcome: Callable[[RunOutcome], None] = lambda _: None) -> RunOutcome | None:
        """Serves the run to its end; the outcome is shard 0's to tell.

        Args:
            on_outcome: Called when the outcome is kept, perhaps before all nodes have left.

        Raises:
            NodeMissing: A node did not come, or stayed away, longer than the contract allows.
            CoterieError: The run failed.
        """
        return self.driver.drive(on_outcome)

    def see_off_failed(self, seconds: float) -> None:
        """After a failure: serves until all participants were told of it, at most ``seconds``."""
        core, leader = self.driver.core, self._calls.leader
        with self.driver.changed:
            left = core.membership.left
            nodes = {node for node in core.membership.joined if node not in left}
            if leader is not None:
                nodes |= leader.enlisted
        self.driver.call(core.see_off_failed(nodes, seconds))

    def fail(self, error: CoterieError) -> None:
        """Ends the run: every waiting and later call raises ``error``."""
        self.driver.fail(error)

    # --- calls ---------------------------------------------------------------------------------

    @ParameterServerPort.join.serves
    def join(self, caller: Caller, request: pb.JoinRequest) -> pb.JoinReply:
        """Admits a node to the run; answers ``pending`` until all nodes have joined."""
        reply = self.driver.call(self._calls.join(caller, request), caller.node)
        if not reply.pending:
            # Read the receipt only now, when all earlier events are in it.
            receipt = self.driver.receipt
            if (head := receipt_to_wire(receipt.head())) is not None:
                reply.receipt.CopyFrom(head)
            reply.receipt_kept = keeps_receipt(receipt, request.remembered)
        return reply

    @ParameterServerPort.initialize.serves
    def initialize(self, caller: Caller, request: pb.InitializeRequest) -> pb.InitializeReply:
        """Takes the chief's initial dense parameters.

        Raises:
            MessageRefused: The contract has a start in their place.
        """
        if self._contract.start is not None:
            raise MessageRefused(
                "initial parameters came for a run that goes on from a model",
                expected="the start that the contract names",
                seen="a call to initialize",
            )
        dense = self._bounds.dense(request.dense_parameters, name="dense_parameters")
        return self.driver.call(self._calls.initialize(dense), caller.node)

    @ParameterServerPort.exchange.serves
    def exchange(self, caller: Caller, request: ExchangeRequest) -> ExchangeReply:
        """Takes a worker's push and answers with the model after its step."""
        arrived = self.driver.monotonic()
        next_ids = self._bounds.row_ids(
            request.next_row_ids,
            examples=self._contract.most_step_examples,
            name="next_row_ids",
        )
        reply = self.driver.call(self._calls.exchange(caller, request, next_ids), caller.node)
        if reply.pending:
            return reply
        return replace(
            reply,
            receipt=receipt_to_wire(self.driver.receipt.head()),
            served_seconds=self.driver.monotonic() - arrived,
        )

    @ParameterServerPort.lookup.serves
    def lookup(self, caller: Caller, request: pb.LookupRequest) -> pb.LookupReply:
        """Reads rows for evaluation."""
        ids = self._bounds.row_ids(request.row_ids, examples=EVALUATION_BATCH + 1, name="row_ids")
        return self.driver.call(self._calls.lookup(caller, request, ids), caller.node)

    @ParameterServerPort.report.serves
    def report(self, caller: Caller, request: pb.ReportRequest) -> pb.ReportReply:
        """Takes a data owner's evaluation counts."""
        exact = self.driver.core.disclosure.exact
        counts = tuple(SplitCounts.from_wire(count, exact=exact) for count in request.counts)
        return self.driver.call(self._calls.report(caller, request, counts), caller.node)

    @ParameterServerPort.leave.serves
    def leave(self, caller: Caller, request: pb.LeaveRequest) -> pb.LeaveReply:
        """Records that a node no longer needs this shard."""
        times = None
        if request.HasField("times") and caller.role == "worker":
            times = times_from_wire(caller.node, request.times)
        return self.driver.call(self._calls.leave(caller, times), caller.node)

    @ParameterServerPort.download.serves
    def download(self, caller: Caller, request: pb.DownloadRequest) -> Iterator[pb.DownloadPart]:
        """Streams the trained model, or its optimizers' state, once the run's outcome is made.

        Raises:
            CallRefused: The contract does not name this node's party, or names another node of it;
                or this process has left.
        """
        check_recipient(self._contract, caller)
        if request.optimizer_state:
            check_given_out(self._contract)
        given = self.driver.call(self._calls.download(caller))
        if given is None:
            yield pb.DownloadPart(pending=True)
            return
        sent = 0
        if request.optimizer_state:
            sent = part_count(given.state)  # the model's parts come before
            parts = state_parts(given.state, given.optimizer_digest, given.run_id)
        else:
            parts = model_parts(given.state, given.model_digest, given.run_id)
        for part in parts:  # without the lock: other nodes may download at the same time
            yield part
            sent += 1
            self.driver.now(lambda sent=sent: self._calls.sent(caller, sent))  # type: ignore[misc]

    @ParameterServerPort.start.serves
    def start(self, caller: Caller, parts: Iterable[pb.StartPart]) -> pb.StartReply:
        """Takes the files that the run starts from."""
        # Without a start in the contract the inbox refuses every caller.
        inbox = self._starting or _start_inbox(self.driver)
        return inbox.take(caller, iter(parts))

    @ParameterServerPort.status.serves
    def status(self, _caller: Caller, _request: pb.StatusRequest) -> pb.StatusReply:
        """Reads the run's state for any node of the contract."""
        return self.driver.now(self._calls.status)

    @ParameterServerPort.tell.serves
    def tell(self, caller: Caller, request: pb.TellRequest) -> pb.TellReply:
        """Takes a node's reason for ending, for those who wait for it."""
        return self.driver.now(lambda: self._calls.said(caller, request))

    def overview(self) -> Progress:
        """The run's progress, as far as operators may see it."""
        return self.driver.now(lambda: progress_of(self.driver.core, self._calls.leader))

    @ParameterServerPort.enlist.serves
    def enlist(self, caller: Caller, request: pb.EnlistRequest) -> pb.EnlistReply:
        """Registers another shard with shard 0."""
        leader = self._calls.leading("an enlisting shard")
        return self.driver.call(leader.enlist(caller, request), caller.node)

    @ParameterServerPort.commit.serves
    def commit(self, caller: Caller, request: pb.CommitRequest) -> pb.CommitReply:
        """Takes another shard's staged step; answers with the decision."""
        leader = self._calls.leading("a commit")
        return self.driver.call(leader.commit(caller, request), caller.node)

    @ParameterServerPort.conclude.serves
    def conclude(self, caller: Caller, request: pb.ConcludeRequest) -> pb.ConcludeReply:
        """Takes another shard's part of the model's digest."""
        leader = self._calls.leading("a conclusion")
        return self.driver.call(leader.conclude(caller, request), caller.node)


def _start_inbox(driver: Driver) -> StartInbox:
    """The inbox of a run with a start; other runs never import it."""
    from coterie.ps.warm_start.inbox import StartInbox

    return StartInbox(driver)
