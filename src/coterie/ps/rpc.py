"""The transport over gRPC: handlers and a client, made from the entries of any table of calls.

The caller provides the channel's TLS and the identity of peers: ``caller_of`` reads what the
attested transport has authenticated. CoterieErrors are sent in the call's metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol, runtime_checkable

import grpc
from google.protobuf.message import Message

from coterie.errors import CoterieError, MessageRefused, PeerUnreachable, ProtocolError
from coterie.ps.call_metrics import CallObserver, CallTimer, ignore_call
from coterie.ps.caller import Caller
from coterie.ps.data_calls import DataCalls
from coterie.ps.methods import Method, Port, ReplyStream, RequestStream, Unary
from coterie.ps.wire.codecs import Reply, Request, decoded
from coterie.ratls.wire_errors import error_metadata, error_of, status_code

CallerOf = Callable[[grpc.ServicerContext], Caller]
Metadata = tuple[tuple[str, str], ...]
if TYPE_CHECKING:  # grpcio's classes are not generic at run time
    Handler = grpc.GenericRpcHandler[Message, Message]
    RawHandler = grpc.RpcMethodHandler[bytes, bytes]

_UNREACHABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    }
)


def handler(
    table: type[Port],
    service: object,
    caller_of: CallerOf,
    observe: CallObserver = ignore_call,
) -> Handler:
    """Serves every call of a table, except those that data connections carry.

    Args:
        table: The calls.
        service: Has a method for each, marked with ``serves``.
        caller_of: Gives the caller of a call.
        observe: Called for every call.
    """
    makes = _Handlers(caller_of, observe)
    methods = table.methods()
    (name,) = {method.service for method in methods}
    return grpc.method_handlers_generic_handler(
        name,
        {method.name: method.handled(makes, service) for method in methods if method.on_grpc},
    )


@dataclass(frozen=True)
class _Handlers:
    """Makes handlers of raw bytes, so that undecodable messages are refused like other errors."""

    caller_of: CallerOf
    observe: CallObserver

    def unary(
        self, method: Unary[Request, Reply], call: Callable[[Caller, Request], Reply]
    ) -> RawHandler:
        """Serves a method of one message and one reply."""

        def handle(octets: bytes, context: grpc.ServicerContext) -> bytes:
            with CallTimer(self.observe, "server", method.name) as timer:
                timer.received = len(octets)
                try:
                    caller = self._admitted(method, context, timer)
                    request = decoded(method.codec.decode_request, octets)
                    reply = call(caller, request)
                except CoterieError as error:
                    _abort(context, error, timer)
                encoded = b"".join(method.codec.encode_reply(reply))
                timer.sent = len(encoded)
                timer.work = method.work(request, reply)
                return encoded

        return grpc.unary_unary_rpc_method_handler(handle)

    def reply_stream(
        self,
        method: ReplyStream[Request, Reply],
        call: Callable[[Caller, Request], Iterator[Reply]],
    ) -> RawHandler:
        """Serves a method whose replies are a stream."""

        def handle(octets: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            with CallTimer(self.observe, "server", method.name) as timer:
                timer.received = len(octets)
                try:
                    caller = self._admitted(method, context, timer)
                    for reply in call(caller, decoded(method.codec.decode_request, octets)):
                        encoded = b"".join(method.codec.encode_reply(reply))
                        timer.sent += len(encoded)
                        yield encoded
                except CoterieError as error:
                    _abort(context, error, timer)

        return grpc.unary_stream_rpc_method_handler(handle)

    def request_stream(
        self,
        method: RequestStream[Request, Reply],
        call: Callable[[Caller, Iterable[Request]], Reply],
    ) -> RawHandler:
        """Serves a method whose requests are a stream; it may answer before that ends."""

        def handle(parts: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            with CallTimer(self.observe, "server", method.name) as timer:

                def requests() -> Iterator[Request]:
                    for part in parts:
                        timer.received += len(part)
                        yield decoded(method.codec.decode_request, part)

                try:
                    caller = self._admitted(method, context, timer)
                    encoded = b"".join(method.codec.encode_reply(call(caller, requests())))
                except CoterieError as error:
                    _abort(context, error, timer)
                timer.sent = len(encoded)
                return encoded

        return grpc.stream_unary_rpc_method_handler(handle)

    def _admitted(self, method: Method, context: grpc.ServicerContext, timer: CallTimer) -> Caller:
        caller = self.caller_of(context)
        timer.peer = caller.node
        # The attested server has checked this before; other transports have not.
        method.check(caller)
        return caller


@runtime_checkable
class _FailedCall(Protocol):
    """The exception of grpcio for a call with another status than OK."""

    def code(self) -> grpc.StatusCode: ...

    def details(self) -> str | None: ...


@dataclass(frozen=True)
class GrpcTransport:
    """A transport to one service of one peer over a gRPC channel.

    Attributes:
        channel: To the peer.
        peer: Its name, for errors and metrics.
        metadata: Sent with every call, for transports that do not authenticate callers.
        hang_up: Ends the connection; closes the channel if absent.
        observe: Told of every call.
        data: Makes the calls that data connections carry.
    """

    channel: grpc.Channel
    peer: str
    metadata: Metadata = ()
    hang_up: Callable[[], None] | None = None
    observe: CallObserver = ignore_call
    data: DataCalls | None = None

    def unary(self, method: Unary[Request, Reply], request: Request) -> Reply:
        """Sends one message and returns the reply."""
        if method.bulk:
            assert self.data is not None, f"{method.name} needs data connections"
            return self.data.call(method, request)
        invoke = self.channel.unary_unary(method.path, _raw, _raw)
        with self._timed(method) as timer:
            octets = b"".join(method.codec.encode_request(request))
            timer.sent = len(octets)
            try:
                answer: bytes = invoke(octets, timeout=method.seconds, metadata=self.metadata)
                timer.received = len(answer)
                reply = decoded(method.codec.decode_reply, answer)
            except grpc.RpcError as error:
                raise self._refused(error, timer) from error
            timer.work = method.work(request, reply)
            return reply

    def reply_stream(
        self, method: ReplyStream[Request, Reply], request: Request
    ) -> Iterator[Reply]:
        """Sends one message and returns the replies as they come."""
        invoke = self.channel.unary_stream(method.path, _raw, _raw)
        with self._timed(method) as timer:
            octets = b"".join(method.codec.encode_request(request))
            timer.sent = len(octets)
            answers = invoke(octets, timeout=method.seconds, metadata=self.metadata)
            try:
                for answer in answers:
                    timer.received += len(answer)
                    yield decoded(method.codec.decode_reply, answer)
            except grpc.RpcError as error:
                raise self._refused(error, timer) from error
            finally:
                answers.cancel()  # type: ignore[no-untyped-call]  # if the consumer stops early

    def request_stream(
        self, method: RequestStream[Request, Reply], requests: Iterable[Request]
    ) -> Reply:
        """Sends messages until they end or the service answers."""
        invoke = self.channel.stream_unary(method.path, _raw, _raw)
        with self._timed(method) as timer:
            broken: list[CoterieError] = []

            def parts() -> Iterator[bytes]:
                try:
                    for request in requests:
                        octets = b"".join(method.codec.encode_request(request))
                        timer.sent += len(octets)
                        yield octets
                except CoterieError as error:  # raised on gRPC's thread, which would swallow it
                    broken.append(error)

            try:
                answer: bytes = invoke(parts(), timeout=method.seconds, metadata=self.metadata)
                timer.received = len(answer)
                reply = decoded(method.codec.decode_reply, answer)
            except grpc.RpcError as error:
                raise self._refused(error, timer, *broken) from error
            if broken:
                raise broken[0]
            return reply

    def close(self) -> None:
        """Ends the connection."""
        (self.hang_up or self.channel.close)()

    def _timed(self, method: Method) -> CallTimer:
        return CallTimer(self.observe, "client", method.name, self.peer)

    def _refused(
        self, error: grpc.RpcError, timer: CallTimer, *broken: CoterieError
    ) -> CoterieError:
        refused = broken[0] if broken else _error_of(error, self.peer)
        timer.error = type(refused).__name__
        return refused


def _raw(octets: bytes) -> bytes:
    """Passes messages as bytes, so that observers get their size."""
    return octets


def _abort(context: grpc.ServicerContext, error: CoterieError, timer: CallTimer) -> NoReturn:
    timer.error = type(error).__name__
    context.set_trailing_metadata(error_metadata(error))
    context.abort(status_code(error), error.what[:200])
    raise AssertionError  # abort raises


def _error_of(error: grpc.RpcError, peer: str) -> CoterieError:
    """The CoterieError of a failed call."""
    said = error_of(error)
    if said is not None:
        return said
    failed: object = error  # not every RpcError has what grpcio's stub declares
    if not isinstance(failed, _FailedCall):
        return ProtocolError(f"the call to {peer} failed", seen=repr(error)[:200])
    status, details = failed.code(), (failed.details() or "")[:200]
    if status in _UNREACHABLE:
        return PeerUnreachable(
            f"{peer} cannot be reached", expected="a reply", seen=f"{status.name}: {details}"
        )
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return MessageRefused(
            f"a message to or from {peer} is over the limit",
            expected="a message of the size that the contract's batch and model need",
            seen=details,
        )
    return ProtocolError(
        f"the call to {peer} failed",
        expected="status OK",
        seen=f"{status.name}: {details}",
        remedy="look at that node's log",
    )
