"""The gRPC transport: one table of methods, served by handlers and called by ports.

Which TLS the channel has, and who the caller is, comes from outside: ``caller_of`` reads what the
attested transport has proved. Errors of the tree travel in the status details.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar, runtime_checkable

import grpc
from google.protobuf.message import Message

from coterie.contract import Role
from coterie.errors import CoterieError, MessageRefused, PeerUnreachable, ProtocolError
from coterie.ps.memory import ShardService
from coterie.ps.ports import Caller
from coterie.ps.service import ParameterService
from coterie.ps.wire import ps_pb2 as pb
from coterie.ratls.wire_errors import error_metadata, error_of, status_code

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)
CallerOf = Callable[[grpc.ServicerContext], Caller]
Metadata = tuple[tuple[str, str], ...]
if TYPE_CHECKING:  # grpcio's classes take no type arguments at run time
    Handler = grpc.GenericRpcHandler[Message, Message]

_PS = "coterie.ps.v1.ParameterServer"
_RECEIVER = "coterie.ps.v1.ShardReceiver"

_UNREACHABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    }
)

PERMISSIONS: Mapping[str, frozenset[Role]] = {
    f"/{_PS}/Join": frozenset({"worker", "chief"}),
    f"/{_PS}/Initialize": frozenset({"chief"}),
    f"/{_PS}/Exchange": frozenset({"worker", "chief"}),
    f"/{_PS}/Lookup": frozenset({"worker", "chief"}),
    f"/{_PS}/Report": frozenset({"worker", "chief"}),
    f"/{_PS}/Status": frozenset({"worker", "chief", "ps"}),
    f"/{_RECEIVER}/Deliver": frozenset({"chief"}),
}


def parameter_server_handler(service: ParameterService, caller_of: CallerOf) -> Handler:
    """Serves a parameter server's calls."""

    def unary(
        call: Callable[[Caller, Request], Reply], request: type[Request]
    ) -> grpc.RpcMethodHandler[Request, Reply]:
        def handle(message: Request, context: grpc.ServicerContext) -> Reply:
            try:
                return call(caller_of(context), message)
            except CoterieError as error:
                _abort(context, error)

        return grpc.unary_unary_rpc_method_handler(
            handle, request.FromString, lambda reply: reply.SerializeToString()
        )

    return grpc.method_handlers_generic_handler(
        _PS,
        {
            "Join": unary(service.join, pb.JoinRequest),
            "Initialize": unary(service.initialize, pb.InitializeRequest),
            "Exchange": unary(service.exchange, pb.ExchangeRequest),
            "Lookup": unary(service.lookup, pb.LookupRequest),
            "Report": unary(service.report, pb.ReportRequest),
            "Status": unary(service.status, pb.StatusRequest),
        },
    )


def shard_receiver_handler(service: ShardService, caller_of: CallerOf) -> Handler:
    """Serves an SDT worker's one call."""

    def handle(
        parts: Iterator[pb.DeliverRequest], context: grpc.ServicerContext
    ) -> pb.DeliverReply:
        try:
            return service.deliver(caller_of(context), parts)
        except CoterieError as error:
            _abort(context, error)

    return grpc.method_handlers_generic_handler(
        _RECEIVER,
        {
            "Deliver": grpc.stream_unary_rpc_method_handler(
                handle, pb.DeliverRequest.FromString, lambda reply: reply.SerializeToString()
            )
        },
    )


@runtime_checkable
class _FailedCall(Protocol):
    """What grpcio raises for a call that got a status other than OK."""

    def code(self) -> grpc.StatusCode: ...

    def details(self) -> str | None: ...


class RpcParameterServer:
    """A ParameterServerPort over a gRPC channel.

    Args:
        channel: To the server.
        peer: Its name, for errors.
        timeout: Seconds that a call may take; more than the server's longest wait.
        metadata: Sent with every call, for transports that do not prove who calls.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        peer: str,
        timeout: float = 120.0,
        metadata: Metadata = (),
    ) -> None:
        self._channel = channel
        self._peer = peer
        self._timeout = timeout
        self._metadata = metadata
        self._join = self._method("Join", pb.JoinRequest, pb.JoinReply)
        self._initialize = self._method("Initialize", pb.InitializeRequest, pb.InitializeReply)
        self._exchange = self._method("Exchange", pb.ExchangeRequest, pb.ExchangeReply)
        self._lookup = self._method("Lookup", pb.LookupRequest, pb.LookupReply)
        self._report = self._method("Report", pb.ReportRequest, pb.ReportReply)
        self._status = self._method("Status", pb.StatusRequest, pb.StatusReply)

    def join(self, request: pb.JoinRequest) -> pb.JoinReply:
        """See ParameterServerPort."""
        return self._join(request)

    def initialize(self, request: pb.InitializeRequest) -> pb.InitializeReply:
        """See ParameterServerPort."""
        return self._initialize(request)

    def exchange(self, request: pb.ExchangeRequest) -> pb.ExchangeReply:
        """See ParameterServerPort."""
        return self._exchange(request)

    def lookup(self, request: pb.LookupRequest) -> pb.LookupReply:
        """See ParameterServerPort."""
        return self._lookup(request)

    def report(self, request: pb.ReportRequest) -> pb.ReportReply:
        """See ParameterServerPort."""
        return self._report(request)

    def status(self, request: pb.StatusRequest) -> pb.StatusReply:
        """See ParameterServerPort."""
        return self._status(request)

    def _method(
        self, name: str, request: type[Request], reply: type[Reply]
    ) -> Callable[[Request], Reply]:
        invoke = self._channel.unary_unary(
            f"/{_PS}/{name}", request.SerializeToString, reply.FromString
        )

        def call(message: Request) -> Reply:
            try:
                answer: Reply = invoke(message, timeout=self._timeout, metadata=self._metadata)
            except grpc.RpcError as error:
                _reraise(error, self._peer)
            return answer

        return call


class RpcShardReceiver:
    """A ShardReceiverPort over a gRPC channel.

    Args:
        channel: To the worker.
        peer: Its name, for errors.
        timeout: Seconds that a delivery may take.
        metadata: Sent with every call, for transports that do not prove who calls.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        peer: str,
        timeout: float = 3600.0,
        metadata: Metadata = (),
    ) -> None:
        self._deliver = channel.stream_unary(
            f"/{_RECEIVER}/Deliver",
            pb.DeliverRequest.SerializeToString,
            pb.DeliverReply.FromString,
        )
        self._peer = peer
        self._timeout = timeout
        self._metadata = metadata

    def deliver(self, parts: Iterable[pb.DeliverRequest]) -> pb.DeliverReply:
        """See ShardReceiverPort."""
        try:
            reply: pb.DeliverReply = self._deliver(
                iter(parts), timeout=self._timeout, metadata=self._metadata
            )
        except grpc.RpcError as error:
            _reraise(error, self._peer)
        return reply


def _abort(context: grpc.ServicerContext, error: CoterieError) -> NoReturn:
    context.set_trailing_metadata(error_metadata(error))
    context.abort(status_code(error), error.what[:200])
    raise AssertionError  # abort raises


def _reraise(error: grpc.RpcError, peer: str) -> NoReturn:
    """Turns a failed call into an error of the tree."""
    said = error_of(error)
    if said is not None:
        raise said from error
    if not isinstance(error, _FailedCall):
        raise ProtocolError(f"the call to {peer} failed", seen=repr(error)[:200]) from error
    status, details = error.code(), (error.details() or "")[:200]
    if status in _UNREACHABLE:
        raise PeerUnreachable(
            f"{peer} cannot be reached",
            expected="a reply",
            seen=f"{status.name}: {details}",
            remedy="check that the node runs and that its address is right",
        ) from error
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        raise MessageRefused(
            f"a message to or from {peer} is over the limit",
            expected="a message of the size that the contract's batch and model need",
            seen=details,
            remedy="run the same version of Coterie under the same contract on both sides",
        ) from error
    raise ProtocolError(
        f"the call to {peer} failed",
        expected="status OK",
        seen=f"{status.name}: {details}",
        remedy="look at that node's log",
    ) from error
