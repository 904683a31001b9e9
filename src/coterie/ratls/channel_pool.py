"""A gRPC channel in which each call uses the connection that is attested at that time.

Stubs keep their channel for ever, but attested connections end: keys are renewed and servers
restart. So stubs use this channel, and every call leases a link from the attestation layer. A
replaced link closes when the last call on it has ended, so that no call is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, Self, TypedDict, TypeVar, Unpack, cast

import grpc
from typing_extensions import override

from coterie.ratls.link import Link

Req = TypeVar("Req")
Res = TypeVar("Res")
AnyCall = TypeVar("AnyCall", bound=grpc.Call)
Metadata = tuple[tuple[str, str | bytes], ...]
Lease = Callable[[], Link]


class CallOptions(TypedDict, total=False):
    """Keyword arguments of a stub's call; see `grpc.UnaryUnaryMultiCallable`."""

    timeout: float | None
    metadata: Metadata | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class ChannelPool(grpc.Channel):
    """The channel for stubs.

    Args:
        lease: Returns the present link with one call counted; may attest the node again first, and
            raises a CoterieError if that fails.
        close: Closes the attestation layer.
    """

    def __init__(self, lease: Lease, close: Callable[[], None]) -> None:
        self._lease = lease
        self._close = close

    @override
    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryUnaryMultiCallable[Req, Res]:
        return cast(
            "grpc.UnaryUnaryMultiCallable[Req, Res]",
            _Unary(
                self._lease,
                lambda on: on.unary_unary(method, request_serializer, response_deserializer),
            ),
        )

    @override
    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryStreamMultiCallable[Req, Res]:
        return cast(
            "grpc.UnaryStreamMultiCallable[Req, Res]",
            _Streaming(
                self._lease,
                lambda on: on.unary_stream(method, request_serializer, response_deserializer),
            ),
        )

    @override
    def stream_unary(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamUnaryMultiCallable[Req, Res]:
        return cast(
            "grpc.StreamUnaryMultiCallable[Req, Res]",
            _Unary(
                self._lease,
                lambda on: cast(
                    "grpc.UnaryUnaryMultiCallable[Iterator[Req], Res]",
                    on.stream_unary(method, request_serializer, response_deserializer),
                ),
            ),
        )

    @override
    def stream_stream(
        self,
        method: str,
        request_serializer: Callable[[Req], bytes] | None = None,
        response_deserializer: Callable[[bytes], Res] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamStreamMultiCallable[Req, Res]:
        return cast(
            "grpc.StreamStreamMultiCallable[Req, Res]",
            _Streaming(
                self._lease,
                lambda on: cast(
                    "grpc.UnaryStreamMultiCallable[Iterator[Req], Res]",
                    on.stream_stream(method, request_serializer, response_deserializer),
                ),
            ),
        )

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool | None = False,  # noqa: FBT001, FBT002 (grpc's signature)
    ) -> None:
        """Not offered: the connections below come and go."""
        raise NotImplementedError

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Not offered: the connections below come and go."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes everything; cancels calls in progress."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# grpc's multi-callable classes are abstract and, at run time, not generic. So these two classes
# have the same interface without inheriting. A request is a message or an iterator of messages.


class _Unary(Generic[Req, Res]):
    """Calls with one reply."""

    def __init__(
        self,
        lease: Lease,
        on: Callable[[grpc.Channel], grpc.UnaryUnaryMultiCallable[Req, Res]],
    ) -> None:
        self._lease = lease
        self._on = on

    def __call__(self, request: Req, **options: Unpack[CallOptions]) -> Res:
        return self.with_call(request, **options)[0]

    def with_call(self, request: Req, **options: Unpack[CallOptions]) -> tuple[Res, grpc.Call]:
        link = self._lease()
        code: grpc.StatusCode | None = None
        try:
            return self._on(link.channel).with_call(request, **_with_token(link, options))
        except grpc.RpcError as error:
            code = error.code()
            raise
        finally:
            link.end(code)

    def future(self, request: Req, **options: Unpack[CallOptions]) -> grpc.CallFuture[Res]:
        link = self._lease()
        full = _with_token(link, options)
        return _started(link, lambda: self._on(link.channel).future(request, **full))


class _Streaming(Generic[Req, Res]):
    """Calls with a stream of replies."""

    def __init__(
        self,
        lease: Lease,
        on: Callable[[grpc.Channel], grpc.UnaryStreamMultiCallable[Req, Res]],
    ) -> None:
        self._lease = lease
        self._on = on

    def __call__(self, request: Req, **options: Unpack[CallOptions]) -> grpc.CallIterator[Res]:
        link = self._lease()
        full = _with_token(link, options)
        return _started(link, lambda: self._on(link.channel)(request, **full))


def _with_token(link: Link, options: CallOptions) -> CallOptions:
    metadata = (*(options.get("metadata") or ()), *link.metadata)
    return {**options, "metadata": metadata}


def _started(link: Link, start: Callable[[], AnyCall]) -> AnyCall:
    try:
        call = start()
    except BaseException:
        link.end(None)
        raise
    if not call.add_callback(lambda: link.end(call.code())):
        link.end(call.code())
    return call
