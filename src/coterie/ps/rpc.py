"""The gRPC transport: one table of methods, served by handlers and called by ports.

Which TLS the channel has, and who the caller is, comes from outside: ``caller_of`` reads what the
attested transport has proved. Errors of the tree travel in the status details.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NoReturn, Protocol, TypeVar, runtime_checkable

import grpc
from google.protobuf.message import DecodeError, Message

from coterie.contract import Role
from coterie.errors import CoterieError, MessageRefused, PeerUnreachable, ProtocolError
from coterie.ps.memory import ShardService
from coterie.ps.ports import Caller
from coterie.ps.service import ParameterService
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest
from coterie.ratls.wire_errors import error_metadata, error_of, status_code

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Sent = TypeVar("Sent", bound=Message)
Received = TypeVar("Received", bound=Message)
CallerOf = Callable[[grpc.ServicerContext], Caller]
Metadata = tuple[tuple[str, str], ...]
if TYPE_CHECKING:  # grpcio's classes take no type arguments at run time
    Handler = grpc.GenericRpcHandler[Message, Message]

_PS = "coterie.ps.v1.ParameterServer"
_RECEIVER = "coterie.ps.v1.ShardReceiver"

_WATCH_SECONDS = 120.0

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
    f"/{_PS}/Leave": frozenset({"worker", "chief"}),
    f"/{_PS}/Status": frozenset({"worker", "chief", "ps"}),
    f"/{_PS}/Enlist": frozenset({"ps"}),
    f"/{_PS}/Commit": frozenset({"ps"}),
    f"/{_PS}/Conclude": frozenset({"ps"}),
    f"/{_RECEIVER}/Watch": frozenset({"chief"}),
    f"/{_RECEIVER}/Deliver": frozenset({"chief"}),
}


@dataclass(frozen=True)
class _Codec(Generic[Request, Reply]):
    """How a method's messages become bytes and back."""

    encode_request: Callable[[Request], bytes]
    decode_request: Callable[[bytes], Request]
    encode_reply: Callable[[Reply], bytes]
    decode_reply: Callable[[bytes], Reply]


def _protobuf(request: type[Sent], reply: type[Received]) -> _Codec[Sent, Received]:
    return _Codec(
        lambda message: message.SerializeToString(),
        request.FromString,
        lambda message: message.SerializeToString(),
        reply.FromString,
    )


_JOIN = _protobuf(pb.JoinRequest, pb.JoinReply)
_INITIALIZE = _protobuf(pb.InitializeRequest, pb.InitializeReply)
_EXCHANGE = _Codec(
    ExchangeRequest.encode, ExchangeRequest.decode, ExchangeReply.encode, ExchangeReply.decode
)
_LOOKUP = _protobuf(pb.LookupRequest, pb.LookupReply)
_REPORT = _protobuf(pb.ReportRequest, pb.ReportReply)
_LEAVE = _protobuf(pb.LeaveRequest, pb.LeaveReply)
_STATUS = _protobuf(pb.StatusRequest, pb.StatusReply)
_ENLIST = _protobuf(pb.EnlistRequest, pb.EnlistReply)
_COMMIT = _protobuf(pb.CommitRequest, pb.CommitReply)
_CONCLUDE = _protobuf(pb.ConcludeRequest, pb.ConcludeReply)
_WATCH = _protobuf(pb.WatchRequest, pb.WatchReply)


def parameter_server_handler(service: ParameterService, caller_of: CallerOf) -> Handler:
    """Serves a parameter server's calls."""
    return grpc.method_handlers_generic_handler(
        _PS,
        {
            "Join": _serve(service.join, _JOIN, caller_of),
            "Initialize": _serve(service.initialize, _INITIALIZE, caller_of),
            "Exchange": _serve(service.exchange, _EXCHANGE, caller_of),
            "Lookup": _serve(service.lookup, _LOOKUP, caller_of),
            "Report": _serve(service.report, _REPORT, caller_of),
            "Leave": _serve(service.leave, _LEAVE, caller_of),
            "Status": _serve(service.status, _STATUS, caller_of),
            "Enlist": _serve(service.enlist, _ENLIST, caller_of),
            "Commit": _serve(service.commit, _COMMIT, caller_of),
            "Conclude": _serve(service.conclude, _CONCLUDE, caller_of),
        },
    )


def _serve(
    call: Callable[[Caller, Request], Reply], codec: _Codec[Request, Reply], caller_of: CallerOf
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """A handler of raw bytes: so that a message which cannot be decoded is refused like any other."""

    def handle(octets: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return codec.encode_reply(call(caller_of(context), _decoded(codec, octets)))
        except CoterieError as error:
            _abort(context, error)

    return grpc.unary_unary_rpc_method_handler(handle)


def _decoded(codec: _Codec[Request, Reply], octets: bytes) -> Request:
    try:
        return codec.decode_request(octets)
    except DecodeError as error:
        raise MessageRefused(
            "a message cannot be decoded",
            expected="a message of this protocol",
            seen=f"{len(octets)} bytes of something else",
            remedy="run the same version of Coterie on both sides",
        ) from error


def shard_receiver_handler(service: ShardService, caller_of: CallerOf) -> Handler:
    """Serves an SDT worker's calls."""

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
            "Watch": _serve(service.watch, _WATCH, caller_of),
            "Deliver": grpc.stream_unary_rpc_method_handler(
                handle, pb.DeliverRequest.FromString, lambda reply: reply.SerializeToString()
            ),
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
        close: Ends the connection; closes the channel if absent.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        peer: str,
        timeout: float = 120.0,
        metadata: Metadata = (),
        close: Callable[[], None] | None = None,
    ) -> None:
        call = _Caller(channel, _PS, peer, timeout, metadata)
        self.join = call.method("Join", _JOIN)
        self.initialize = call.method("Initialize", _INITIALIZE)
        self.exchange = call.method("Exchange", _EXCHANGE)
        self.lookup = call.method("Lookup", _LOOKUP)
        self.report = call.method("Report", _REPORT)
        self.leave = call.method("Leave", _LEAVE)
        self.status = call.method("Status", _STATUS)
        self.enlist = call.method("Enlist", _ENLIST)
        self.commit = call.method("Commit", _COMMIT)
        self.conclude = call.method("Conclude", _CONCLUDE)
        self.close = close or channel.close


@dataclass(frozen=True)
class _Caller:
    """Makes callable methods of one service of one peer."""

    channel: grpc.Channel
    service: str
    peer: str
    timeout: float
    metadata: Metadata

    def method(self, name: str, codec: _Codec[Request, Reply]) -> Callable[[Request], Reply]:
        invoke = self.channel.unary_unary(
            f"/{self.service}/{name}", codec.encode_request, codec.decode_reply
        )

        def call(message: Request) -> Reply:
            try:
                answer: Reply = invoke(message, timeout=self.timeout, metadata=self.metadata)
            except grpc.RpcError as error:
                _reraise(error, self.peer)
            return answer

        return call


class RpcShardReceiver:
    """A ShardReceiverPort over a gRPC channel.

    Args:
        channel: To the worker.
        peer: Its name, for errors.
        timeout: Seconds that a delivery may take.
        metadata: Sent with every call, for transports that do not prove who calls.
        close: Ends the connection; closes the channel if absent.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        peer: str,
        timeout: float = 3600.0,
        metadata: Metadata = (),
        close: Callable[[], None] | None = None,
    ) -> None:
        self.watch = _Caller(channel, _RECEIVER, peer, _WATCH_SECONDS, metadata).method(
            "Watch", _WATCH
        )
        self.close = close or channel.close
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
