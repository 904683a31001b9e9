"""Permissions of calls: maps a call's certificate to its attested peer, before any handler runs."""

from __future__ import annotations

import hashlib
import logging
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar, cast
from weakref import WeakKeyDictionary

import grpc

from coterie.errors import CallRefused, CoterieError, MessageRefused, PeerBusy
from coterie.permissions import Permissions, check_role
from coterie.ratls.call_limits import CallsUnderWay
from coterie.ratls.credentials import Clock
from coterie.ratls.link import SESSION_KEY
from coterie.ratls.peer import Peer
from coterie.ratls.pins import PinBoard
from coterie.ratls.wire_errors import error_metadata, status_code
from coterie.text import printable

_log = logging.getLogger(__name__)
Req = TypeVar("Req")

# The peer of each call in progress; entries vanish with gRPC's context. WeakKeyDictionary is not
# thread-safe, hence the lock.
_callers: WeakKeyDictionary[grpc.ServicerContext, Peer] = WeakKeyDictionary()
_callers_lock = threading.Lock()


def peer_of(context: grpc.ServicerContext) -> Peer:
    """The attested peer that calls a handler.

    Args:
        context: The call's context, as the handler received it from an attested server.

    Raises:
        CallRefused: The call did not come through an attested server.
    """
    with _callers_lock:
        peer = _callers.get(context)
    if peer is None:
        raise CallRefused(
            "the caller is not attested",
            expected="a call through an attested server",
            seen="none",
            remedy="serve this handler with AttestedServer",
        )
    return peer


class AttestationInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]  # not at run time
    """Checks pin, expiry and role of every call; converts Coterie's errors to gRPC statuses.

    Args:
        pins: The pinned peers.
        permissions: Which roles may call a method, by full name; methods that are not listed
            are refused.
        clock: The time now, UTC.
        calls_per_peer: Largest number of concurrent calls of one peer.
        admitted: Called for every admitted call with the other end of its connection.
    """

    def __init__(
        self,
        pins: PinBoard,
        permissions: Permissions,
        clock: Clock,
        calls_per_peer: int,
        *,
        admitted: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._pins = pins
        self._permissions = dict(permissions)
        self._clock = clock
        self._admitted = admitted
        self._calls = CallsUnderWay(calls_per_peer)

    def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], grpc.RpcMethodHandler[object, object] | None
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[object, object] | None:
        """Wraps the method's handler; see `grpc.ServerInterceptor`."""
        method = str(handler_call_details.method)
        if method not in self._permissions:
            return _refusing(_unlisted(), grpc.StatusCode.PERMISSION_DENIED)
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        token = _token(handler_call_details)
        try:
            # Count before a thread is taken: the pool has a thread for every call that a peer may
            # make.
            end = self._calls.enter(self._pins.holder(token))
        except CallRefused as error:
            return _refusing(error, grpc.StatusCode.UNAUTHENTICATED)
        except PeerBusy as error:
            return _refusing(error, status_code(error))
        return self._guarded(_Call(method, token, end), handler)

    def _guarded(
        self, call: _Call, handler: grpc.RpcMethodHandler[object, object]
    ) -> grpc.RpcMethodHandler[object, object]:
        # Present every call to gRPC as a stream of requests. Otherwise gRPC would wait for a unary
        # call's message before it calls this handler, and would never call it if no message comes.
        codec = (handler.request_deserializer, handler.response_serializer)

        def one(
            behaviour: Callable[[Req, grpc.ServicerContext], object],
            read: Callable[[Iterator[object]], Req],
        ) -> grpc.RpcMethodHandler[object, object]:
            def answer(requests: Iterator[object], context: grpc.ServicerContext) -> object:
                try:
                    call.begin(context)
                    request = read(requests)
                    self._admit(call, context)
                    return behaviour(request, context)
                except Exception as error:  # noqa: BLE001 (all become a status)
                    _fail(context, error)
                finally:
                    call.end()

            return grpc.stream_unary_rpc_method_handler(answer, *codec)

        def many(
            behaviour: Callable[[Req, grpc.ServicerContext], Iterator[object]],
            read: Callable[[Iterator[object]], Req],
        ) -> grpc.RpcMethodHandler[object, object]:
            def answers(
                requests: Iterator[object], context: grpc.ServicerContext
            ) -> Iterator[object]:
                try:
                    call.begin(context)
                    request = read(requests)
                    self._admit(call, context)
                    yield from behaviour(request, context)
                except Exception as error:  # noqa: BLE001 (all become a status)
                    _fail(context, error)
                finally:
                    call.end()

            return grpc.stream_stream_rpc_method_handler(answers, *codec)

        if handler.unary_unary is not None:
            return one(handler.unary_unary, _only)
        if handler.unary_stream is not None:
            return many(handler.unary_stream, _only)
        if handler.stream_unary is not None:
            return one(handler.stream_unary, iter)
        assert handler.stream_stream is not None
        return many(handler.stream_stream, iter)

    def _admit(self, call: _Call, context: grpc.ServicerContext) -> None:
        """Checks a call after its message came, since a peer may delay it until its pin expires."""
        try:
            now = self._clock()
            peer = self._pins.caller(_certificate_sha256(context), call.token, now)
        except CallRefused as error:
            _abort(context, error, grpc.StatusCode.UNAUTHENTICATED)
        # A host's clock that is behind is reported like any other error.
        self._admitted(context.peer())
        check_role(peer.node, peer.role, call.method, self._permissions[call.method])
        with _callers_lock:
            _callers[context] = peer


@dataclass(frozen=True)
class _Call:
    """A call that is counted for its peer.

    Attributes:
        method: Its full name.
        token: Its token.
        end: Called when its handler has ended and when the call has ended; the second frees the
            place.
    """

    method: str
    token: bytes = field(repr=False)
    end: Callable[[], None]

    def begin(self, context: grpc.ServicerContext) -> None:
        """Registers for the call's end."""
        if not context.add_callback(self.end):
            self.end()  # the peer has hung up already


def _only(requests: Iterator[object]) -> object:
    """The only message of a unary call."""
    for request in requests:
        return request
    raise MessageRefused("a call came without its message", expected="one message", seen="none")


def _unlisted() -> CallRefused:
    return CallRefused(
        "this method may not be called",
        expected="a method of this node's protocol",
        seen="another one",
        remedy="both sides must run the same Coterie release",
    )


def _refusing(error: CoterieError, code: grpc.StatusCode) -> grpc.RpcMethodHandler[object, object]:
    """A handler that refuses a call at once, without waiting for a message."""

    def refuse(_: Iterator[object], context: grpc.ServicerContext) -> NoReturn:
        _abort(context, error, code)

    return grpc.stream_unary_rpc_method_handler(refuse)


def _certificate_sha256(context: grpc.ServicerContext) -> bytes:
    # The stub's type is wrong.
    properties = cast("Mapping[str, Sequence[bytes]]", context.auth_context())
    pem = properties.get("x509_pem_cert", ())
    if len(pem) != 1:
        return b""  # pinned nowhere: the lookup refuses it
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[0].decode("ascii"))).digest()


def _token(call: grpc.HandlerCallDetails) -> bytes:
    found = [value for key, value in call.invocation_metadata if key == SESSION_KEY]
    return found[0] if len(found) == 1 and isinstance(found[0], bytes) else b""


def _fail(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    if isinstance(error, CoterieError):
        _abort(context, error, status_code(error))
    if isinstance(error, grpc.RpcError) and not context.is_active():
        raise error  # the peer has hung up
    if context.code() is not None:  # type: ignore[attr-defined]  # the stub lacks it
        raise error  # the call was already aborted
    # Do not send the text of an internal error: it may contain private data.
    _log.error("a handler failed", exc_info=error)
    context.abort(grpc.StatusCode.INTERNAL, "an internal error; see the log of this node")
    raise AssertionError("abort raises")


def _abort(context: grpc.ServicerContext, error: CoterieError, code: grpc.StatusCode) -> NoReturn:
    context.set_trailing_metadata(error_metadata(error))
    context.abort(code, printable(str(error)))
    raise AssertionError("abort raises")
