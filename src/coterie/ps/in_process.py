"""The in-memory transport: calls a service in the same process with the wire's own messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from coterie.errors import CoterieError
from coterie.ps.ports import Caller
from coterie.ps.service import ParameterService
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest


class ShardService(Protocol):
    """An SDT worker's receiving side."""

    def watch(self, caller: Caller, request: pb.WatchRequest) -> pb.WatchReply:
        """Waits until a shard is needed."""
        ...

    def deliver(self, caller: Caller, parts: Iterable[pb.DeliverRequest]) -> pb.DeliverReply:
        """Takes a shard."""
        ...

    def fail(self, error: CoterieError) -> None:
        """Ends the wait for a shard with ``error``."""
        ...


class InProcessParameterServer:
    """A ParameterServerPort onto a service in this process.

    Args:
        service: The server.
        caller: Who calls: a given here, a proven fact elsewhere.
    """

    def __init__(self, service: ParameterService, caller: Caller) -> None:
        self._service = service
        self._caller = caller

    def join(self, request: pb.JoinRequest) -> pb.JoinReply:
        """See ParameterServerPort."""
        return self._service.join(self._caller, request)

    def initialize(self, request: pb.InitializeRequest) -> pb.InitializeReply:
        """See ParameterServerPort."""
        return self._service.initialize(self._caller, request)

    def exchange(self, request: ExchangeRequest) -> ExchangeReply:
        """See ParameterServerPort."""
        return self._service.exchange(self._caller, request)

    def lookup(self, request: pb.LookupRequest) -> pb.LookupReply:
        """See ParameterServerPort."""
        return self._service.lookup(self._caller, request)

    def report(self, request: pb.ReportRequest) -> pb.ReportReply:
        """See ParameterServerPort."""
        return self._service.report(self._caller, request)

    def leave(self, request: pb.LeaveRequest) -> pb.LeaveReply:
        """See ParameterServerPort."""
        return self._service.leave(self._caller, request)

    def download(self, request: pb.DownloadRequest) -> Iterator[pb.DownloadPart]:
        """See ParameterServerPort."""
        return self._service.download(self._caller, request)

    def start(self, parts: Iterable[pb.StartPart]) -> pb.StartReply:
        """See ParameterServerPort."""
        return self._service.start(self._caller, iter(parts))

    def tell(self, request: pb.TellRequest) -> pb.TellReply:
        """See ParameterServerPort."""
        return self._service.tell(self._caller, request)

    def enlist(self, request: pb.EnlistRequest) -> pb.EnlistReply:
        """See ParameterServerPort."""
        return self._service.enlist(self._caller, request)

    def commit(self, request: pb.CommitRequest) -> pb.CommitReply:
        """See ParameterServerPort."""
        return self._service.commit(self._caller, request)

    def conclude(self, request: pb.ConcludeRequest) -> pb.ConcludeReply:
        """See ParameterServerPort."""
        return self._service.conclude(self._caller, request)

    def close(self) -> None:
        """See ParameterServerPort."""

    def status(self, request: pb.StatusRequest) -> pb.StatusReply:
        """See ParameterServerPort."""
        return self._service.status(self._caller, request)


class InProcessShardReceiver:
    """A ShardReceiverPort onto a worker in this process.

    Args:
        service: The worker's receiving side.
        caller: Who calls.
    """

    def __init__(self, service: ShardService, caller: Caller) -> None:
        self._service = service
        self._caller = caller

    def watch(self, request: pb.WatchRequest) -> pb.WatchReply:
        """See ShardReceiverPort."""
        return self._service.watch(self._caller, request)

    def close(self) -> None:
        """See ShardReceiverPort."""

    def deliver(self, parts: Iterable[pb.DeliverRequest]) -> pb.DeliverReply:
        """See ShardReceiverPort."""
        return self._service.deliver(self._caller, parts)
