"""The gRPC transport: one table of methods, served by handlers and called by ports.

Which TLS the channel has, and who the caller is, comes from outside: ``caller_of`` reads what the
attested transport has proved. Errors of the tree travel in the status details.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol, runtime_checkable

import grpc
from google.protobuf.message import DecodeError, Message

from coterie.errors import CoterieError, MessageRefused, PeerUnreachable, ProtocolError
from coterie.kinds import Role
from coterie.ps.call_metrics import CallObserver, CallTimer, ignore_call, work_of
from coterie.ps.in_process import ShardService
from coterie.ps.ports import Caller
from coterie.ps.service import ParameterService
from coterie.ps.wire import codecs
from coterie.ps.wire.codecs import Codec, Reply, Request
from coterie.ratls.wire_errors import error_metadata, error_of, status_code

CallerOf = Callable[[grpc.ServicerContext], Caller]
Metadata = tuple[tuple[str, str], ...]
if TYPE_CHECKING:  # grpcio's classes take no type arguments at run time
    Handler = grpc.GenericRpcHandler[Message, Message]

_PS = "coterie.ps.v2.ParameterServer"
_RECEIVER = "coterie.ps.v2.ShardReceiver"

_WATCH_SECONDS = 120.0
_STREAM_SECONDS = 6 * 3600.0  # a connection that stalls is dropped long before

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
    f"/{_PS}/Download": frozenset({"worker", "chief"}),
    f"/{_PS}/Start": frozenset({"worker", "chief"}),
    f"/{_PS}/Status": frozenset({"worker", "chief", "ps"}),
    f"/{_PS}/Tell": frozenset({"worker", "chief", "ps"}),
    f"/{_PS}/Enlist": frozenset({"ps"}),
    f"/{_PS}/Commit": frozenset({"ps"}),
    f"/{_PS}/Conclude": frozenset({"ps"}),
    f"/{_RECEIVER}/Watch": frozenset({"chief"}),
    f"/{_RECEIVER}/Deliver": frozenset({"chief"}),
}


def parameter_server_handler(
    service: ParameterService, caller_of: CallerOf, observe: CallObserver = ignore_call
) -> Handler:
    """Serves a parameter server's calls."""
    server = _Server(caller_of, observe)
    serve = server.method
    return grpc.method_handlers_generic_handler(
        _PS,
        {
            "Join": serve("Join", service.join, codecs.JOIN),
            "Initialize": serve("Initialize", service.initialize, codecs.INITIALIZE),
            "Exchange": serve("Exchange", service.exchange, codecs.EXCHANGE),
            "Lookup": serve("Lookup", service.lookup, codecs.LOOKUP),
            "Report": serve("Report", service.report, codecs.REPORT),
            "Leave": serve("Leave", service.leave, codecs.LEAVE),
            "Download": server.stream("Download", service.download, codecs.DOWNLOAD),
            "Start": server.taking("Start", service.start, codecs.START),
            "Status": serve("Status", service.status, codecs.STATUS),
            "Tell": serve("Tell", service.tell, codecs.TELL),
            "Enlist": serve("Enlist", service.enlist, codecs.ENLIST),
            "Commit": serve("Commit", service.commit, codecs.COMMIT),
            "Conclude": serve("Conclude", service.conclude, codecs.CONCLUDE),
        },
    )


@dataclass(frozen=True)
class _Server:
    """Makes handlers of raw bytes: so that what cannot be decoded is refused like anything else."""

    caller_of: CallerOf
    observe: CallObserver

    def method(
        self, name: str, call: Callable[[Caller, Request], Reply], codec: Codec[Request, Reply]
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        def handle(octets: bytes, context: grpc.ServicerContext) -> bytes:
            with CallTimer(self.observe, "server", name) as timer:
                timer.received = len(octets)
                try:
                    caller = self.caller_of(context)
                    timer.peer = caller.node
                    request = _decoded(codec.decode_request, octets)
                    reply = call(caller, request)
                except CoterieError as error:
                    timer.error = type(error).__name__
                    _abort(context, error)
                encoded = codec.encode_reply(reply)
                timer.sent = len(encoded)
                timer.work = work_of(request, reply)
                return encoded

        return grpc.unary_unary_rpc_method_handler(handle)

    def stream(
        self,
        name: str,
        call: Callable[[Caller, Request], Iterator[Reply]],
        codec: Codec[Request, Reply],
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """A method whose replies are a stream."""

        def handle(octets: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            with CallTimer(self.observe, "server", name) as timer:
                timer.received = len(octets)
                try:
                    caller = self.caller_of(context)
                    timer.peer = caller.node
                    for reply in call(caller, _decoded(codec.decode_request, octets)):
                        encoded = codec.encode_reply(reply)
                        timer.sent += len(encoded)
                        yield encoded
                except CoterieError as error:
                    timer.error = type(error).__name__
                    _abort(context, error)

        return grpc.unary_stream_rpc_method_handler(handle)

    def taking(
        self,
        name: str,
        call: Callable[[Caller, Iterator[Request]], Reply],
        codec: Codec[Request, Reply],
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """A method whose requests are a stream; it may answer before that ends."""

        def handle(parts: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            with CallTimer(self.observe, "server", name) as timer:

                def requests() -> Iterator[Request]:
                    for part in parts:
                        timer.received += len(part)
                        yield _decoded(codec.decode_request, part)

                try:
                    caller = self.caller_of(context)
                    timer.peer = caller.node
                    encoded = codec.encode_reply(call(caller, requests()))
                except CoterieError as error:
                    timer.error = type(error).__name__
                    _abort(context, error)
                timer.sent = len(encoded)
                return encoded

        return grpc.stream_unary_rpc_method_handler(handle)


def _decoded(decode: Callable[[bytes], Request], octets: bytes) -> Request:
    try:
        return decode(octets)
    except DecodeError as error:
        raise MessageRefused(
            "a message cannot be decoded",
            expected="a message of this protocol",
            seen=f"{len(octets)} bytes of something else",
            remedy="run the same version of Coterie on both sides",
        ) from error


def shard_receiver_handler(
    service: ShardService, caller_of: CallerOf, observe: CallObserver = ignore_call
) -> Handler:
    """Serves an SDT worker's calls."""
    server = _Server(caller_of, observe)
    return grpc.method_handlers_generic_handler(
        _RECEIVER,
        {
            "Watch": server.method("Watch", service.watch, codecs.WATCH),
            "Deliver": server.taking("Deliver", service.deliver, codecs.DELIVER),
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
        observe: Told of every call.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        peer: str,
        *,
        timeout: float = 120.0,
        metadata: Metadata = (),
        close: Callable[[], None] | None = None,
        observe: CallObserver = ignore_call,
    ) -> None:
        call = _Caller(channel, _PS, peer, timeout, metadata, observe)
        self.join = call.method("Join", codecs.JOIN)
        self.initialize = call.method("Initialize", codecs.INITIALIZE)
        self.exchange = call.method("Exchange", codecs.EXCHANGE)
        self.lookup = call.method("Lookup", codecs.LOOKUP)
        self.report = call.method("Report", codecs.REPORT)
        self.leave = call.method("Leave", codecs.LEAVE)
        self.download = call.stream("Download", codecs.DOWNLOAD, _STREAM_SECONDS)
        self.start = call.giving("Start", codecs.START, _STREAM_SECONDS)
        self.status = call.method("Status", codecs.STATUS)
        self.tell = call.method("Tell", codecs.TELL)
        self.enlist = call.method("Enlist", codecs.ENLIST)
        self.commit = call.method("Commit", codecs.COMMIT)
        self.conclude = call.method("Conclude", codecs.CONCLUDE)
        self.close = close or channel.close


@dataclass(frozen=True)
class _Caller:
    """Makes callable methods of one service of one peer."""

    channel: grpc.Channel
    service: str
    peer: str
    timeout: float
    metadata: Metadata
    observe: CallObserver

    def method(self, name: str, codec: Codec[Request, Reply]) -> Callable[[Request], Reply]:
        invoke = self.channel.unary_unary(f"/{self.service}/{name}", _raw, _raw)

        def call(message: Request) -> Reply:
            with CallTimer(self.observe, "client", name, self.peer) as timer:
                octets = codec.encode_request(message)
                timer.sent = len(octets)
                try:
                    answer: bytes = invoke(octets, timeout=self.timeout, metadata=self.metadata)
                    timer.received = len(answer)
                    reply = _decoded(codec.decode_reply, answer)
                except grpc.RpcError as error:
                    refused = _error_of(error, self.peer)
                    timer.error = type(refused).__name__
                    raise refused from error
                timer.work = work_of(message, reply)
                return reply

        return call

    def stream(
        self, name: str, codec: Codec[Request, Reply], timeout: float
    ) -> Callable[[Request], Iterator[Reply]]:
        """A method whose replies are a stream."""
        invoke = self.channel.unary_stream(f"/{self.service}/{name}", _raw, _raw)

        def call(message: Request) -> Iterator[Reply]:
            with CallTimer(self.observe, "client", name, self.peer) as timer:
                octets = codec.encode_request(message)
                timer.sent = len(octets)
                answers = invoke(octets, timeout=timeout, metadata=self.metadata)
                try:
                    for answer in answers:
                        timer.received += len(answer)
                        yield _decoded(codec.decode_reply, answer)
                except grpc.RpcError as error:
                    refused = _error_of(error, self.peer)
                    timer.error = type(refused).__name__
                    raise refused from error
                finally:
                    answers.cancel()  # type: ignore[no-untyped-call]  # for whoever stops listening in the middle

        return call

    def giving(
        self, name: str, codec: Codec[Request, Reply], timeout: float
    ) -> Callable[[Iterable[Request]], Reply]:
        """A method whose requests are a stream."""
        invoke = self.channel.stream_unary(f"/{self.service}/{name}", _raw, _raw)

        def call(messages: Iterable[Request]) -> Reply:
            with CallTimer(self.observe, "client", name, self.peer) as timer:
                broken: list[CoterieError] = []

                def parts() -> Iterator[bytes]:
                    try:
                        for message in messages:
                            octets = codec.encode_request(message)
                            timer.sent += len(octets)
                            yield octets
                    except CoterieError as error:  # on a thread of gRPC's, which would swallow it
                        broken.append(error)

                try:
                    answer: bytes = invoke(parts(), timeout=timeout, metadata=self.metadata)
                    timer.received = len(answer)
                    reply = _decoded(codec.decode_reply, answer)
                except grpc.RpcError as error:
                    refused = broken[0] if broken else _error_of(error, self.peer)
                    timer.error = type(refused).__name__
                    raise refused from error
                if broken:
                    raise broken[0]
                return reply

        return call


def _raw(octets: bytes) -> bytes:
    """Messages are bytes already: so that their size is known to whoever observes."""
    return octets


class RpcShardReceiver:
    """A ShardReceiverPort over a gRPC channel.

    Args:
        channel: To the worker.
        peer: Its name, for errors.
        timeout: Seconds that a delivery may take.
        metadata: Sent with every call, for transports that do not prove who calls.
        close: Ends the connection; closes the channel if absent.
        observe: Told of every call.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        peer: str,
        *,
        timeout: float = 3600.0,
        metadata: Metadata = (),
        close: Callable[[], None] | None = None,
        observe: CallObserver = ignore_call,
    ) -> None:
        self.watch = _Caller(channel, _RECEIVER, peer, _WATCH_SECONDS, metadata, observe).method(
            "Watch", codecs.WATCH
        )
        self.deliver = _Caller(channel, _RECEIVER, peer, timeout, metadata, observe).giving(
            "Deliver", codecs.DELIVER, timeout
        )
        self.close = close or channel.close


def _abort(context: grpc.ServicerContext, error: CoterieError) -> NoReturn:
    context.set_trailing_metadata(error_metadata(error))
    context.abort(status_code(error), error.what[:200])
    raise AssertionError  # abort raises


def _error_of(error: grpc.RpcError, peer: str) -> CoterieError:
    """What a failed call says, as an error of the tree."""
    said = error_of(error)
    if said is not None:
        return said
    failed: object = error  # grpcio's stub promises what not every RpcError has
    if not isinstance(failed, _FailedCall):
        return ProtocolError(f"the call to {peer} failed", seen=repr(error)[:200])
    status, details = failed.code(), (failed.details() or "")[:200]
    if status in _UNREACHABLE:
        return PeerUnreachable(
            f"{peer} cannot be reached",
            expected="a reply",
            seen=f"{status.name}: {details}",
            remedy="check that the node runs and that its address is right",
        )
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return MessageRefused(
            f"a message to or from {peer} is over the limit",
            expected="a message of the size that the contract's batch and model need",
            seen=details,
            remedy="run the same version of Coterie under the same contract on both sides",
        )
    return ProtocolError(
        f"the call to {peer} failed",
        expected="status OK",
        seen=f"{status.name}: {details}",
        remedy="look at that node's log",
    )
