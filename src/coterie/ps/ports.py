"""The seam between nodes: who calls whom with which messages, whatever carries them.

Real implementations: ``rpc.py`` (gRPC). In one process: ``in_process.py``. Both raise the error tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from coterie.kinds import Role
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest


@dataclass(frozen=True)
class Caller:
    """Who calls, as the transport proved it.

    Attributes:
        node: Name in the contract.
        role: Its role there.
        incarnation: Of two incarnations of a node the newer one (the larger number) counts.
    """

    node: str
    role: Role
    incarnation: int


class ParameterServerPort(Protocol):
    """A parameter server shard, as its callers see it. Every call may raise any CoterieError."""

    def join(self, request: pb.JoinRequest, /) -> pb.JoinReply:
        """Comes (back); waits for the others."""
        ...

    def initialize(self, request: pb.InitializeRequest, /) -> pb.InitializeReply:
        """Gives the initial dense parameters (chief)."""
        ...

    def exchange(self, request: ExchangeRequest, /) -> ExchangeReply:
        """Pushes a step and pulls the state after it."""
        ...

    def lookup(self, request: pb.LookupRequest, /) -> pb.LookupReply:
        """Reads rows for evaluation."""
        ...

    def report(self, request: pb.ReportRequest, /) -> pb.ReportReply:
        """Adds evaluation counts."""
        ...

    def leave(self, request: pb.LeaveRequest, /) -> pb.LeaveReply:
        """Needs the server no more."""
        ...

    def download(self, request: pb.DownloadRequest, /) -> Iterator[pb.DownloadPart]:
        """Streams the shard's part of the trained model."""
        ...

    def start(self, parts: Iterable[pb.StartPart], /) -> pb.StartReply:
        """Gives the model that the run goes on from (the contract's giver)."""
        ...

    def status(self, request: pb.StatusRequest, /) -> pb.StatusReply:
        """Reads the state of the run."""
        ...

    def tell(self, request: pb.TellRequest, /) -> pb.TellReply:
        """Says why this node ends."""
        ...

    def enlist(self, request: pb.EnlistRequest, /) -> pb.EnlistReply:
        """A shard comes (back) to shard 0; waits for the others."""
        ...

    def commit(self, request: pb.CommitRequest, /) -> pb.CommitReply:
        """A shard tells shard 0 what it has staged; waits for the decision."""
        ...

    def conclude(self, request: pb.ConcludeRequest, /) -> pb.ConcludeReply:
        """A shard tells shard 0 its part of the model's digest."""
        ...

    def close(self) -> None:
        """Ends the connection; the port is of no use afterwards."""
        ...


class ShardReceiverPort(Protocol):
    """An SDT worker, as the chief sees it."""

    def watch(self, request: pb.WatchRequest, /) -> pb.WatchReply:
        """Waits until the worker needs its shard."""
        ...

    def deliver(self, parts: Iterable[pb.DeliverRequest], /) -> pb.DeliverReply:
        """Streams a shard of training data."""
        ...

    def close(self) -> None:
        """Ends the connection; the port is of no use afterwards."""
        ...
