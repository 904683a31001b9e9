"""Definitions of calls between nodes: name, permitted roles, and codec of the messages.

A table of calls is a subclass of ``Port`` with attributes ``Unary``, ``ReplyStream`` or
``RequestStream`` (``ports.py``). Everything else derives from these entries: an instance of the
table makes the calls over a transport, a server makes a handler for each, and permissions and
metrics read them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar, cast, overload

from coterie.kinds import Role
from coterie.permissions import Permissions, check_role
from coterie.ps.call_metrics import CallWork
from coterie.ps.caller import Caller
from coterie.ps.wire.codecs import Codec, Reply, Request

Service = TypeVar("Service")
Handler_co = TypeVar("Handler_co", covariant=True)
Handler = TypeVar("Handler")

# Longer than a server's longest wait, after which it answers ``pending``.
CALL_SECONDS = 120.0
_SERVES = "coterie_serves"


def no_work(_request: object, _reply: object) -> CallWork | None:
    """The work of calls that move no rows."""
    return None


class Transport(Protocol):
    """Carries calls to one service. Every call may raise any CoterieError."""

    def unary(self, method: Unary[Request, Reply], request: Request, /) -> Reply:
        """Sends one message and returns the reply."""
        ...

    def reply_stream(
        self, method: ReplyStream[Request, Reply], request: Request, /
    ) -> Iterator[Reply]:
        """Sends one message and returns the replies as they come."""
        ...

    def request_stream(
        self, method: RequestStream[Request, Reply], requests: Iterable[Request], /
    ) -> Reply:
        """Sends messages until they end or the service answers."""
        ...

    def close(self) -> None:
        """Ends the connection; the transport cannot be used afterwards."""
        ...


class HandlerMaker(Protocol[Handler_co]):
    """Makes handlers of methods for a transport's server."""

    def unary(
        self, method: Unary[Request, Reply], call: Callable[[Caller, Request], Reply], /
    ) -> Handler_co:
        """Serves a method of one message and one reply."""
        ...

    def reply_stream(
        self,
        method: ReplyStream[Request, Reply],
        call: Callable[[Caller, Request], Iterator[Reply]],
        /,
    ) -> Handler_co:
        """Serves a method whose replies are a stream."""
        ...

    def request_stream(
        self,
        method: RequestStream[Request, Reply],
        call: Callable[[Caller, Iterable[Request]], Reply],
        /,
    ) -> Handler_co:
        """Serves a method whose requests are a stream."""
        ...


class Port:
    """A service's interface for callers. A subclass is a table of calls.

    Args:
        transport: Carries the calls.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @classmethod
    def methods(cls) -> tuple[Method, ...]:
        """The table's entries."""
        found = {name: item for base in reversed(cls.__mro__) for name, item in vars(base).items()}
        return tuple(item for item in found.values() if isinstance(item, Method))

    def close(self) -> None:
        """Ends the connection; the port cannot be used afterwards."""
        self.transport.close()


def permissions(table: type[Port]) -> Permissions:
    """The roles that may make a table's calls over gRPC, by full name."""
    return {method.path: method.roles for method in table.methods() if method.on_grpc}


@dataclass(frozen=True)
class Method(ABC):
    """An entry of a table.

    Attributes:
        path: Full name on the wire, ``/package.Service/Method``.
        roles: The roles that may make the call.
        seconds: The caller's time limit.
    """

    path: str
    roles: frozenset[Role]
    seconds: float = field(default=CALL_SECONDS, kw_only=True)

    @property
    def service(self) -> str:
        """Full name of the service."""
        return self.path.split("/")[1]

    @property
    def name(self) -> str:
        """Short name, for metrics."""
        return self.path.split("/")[2]

    @property
    def on_grpc(self) -> bool:
        """Whether gRPC carries the call."""
        return True

    @property
    def attribute(self) -> str:
        """Name of the table's entry and of the service's method."""
        return self.name.lower()

    def check(self, caller: Caller) -> None:
        """Refuses callers that may not make the call.

        Raises:
            CallRefused: The caller's role is not permitted.
        """
        check_role(caller.node, caller.role, self.path, self.roles)

    @abstractmethod
    def handled(self, maker: HandlerMaker[Handler], service: object) -> Handler:
        """Makes the handler by which a service serves the method."""


def _found(method: Method, service: object) -> object:
    """The service's method that is marked with ``serves``; the type checker compares signatures."""
    call: object = getattr(service, method.attribute, None)
    if getattr(call, _SERVES, None) != method.path:
        kind = type(service).__name__
        raise TypeError(f"{kind}.{method.attribute} is not marked as what serves {method.path}")
    return call


@dataclass(frozen=True)
class Unary(Method, Generic[Request, Reply]):
    """A call of one message and one reply.

    Attributes:
        codec: How its messages become bytes.
        work: The work of a call, for metrics.
        bulk: Whether its messages are so long that data connections carry it, not gRPC.
    """

    codec: Codec[Request, Reply]
    work: Callable[[Request, Reply], CallWork | None] = field(default=no_work, kw_only=True)
    bulk: bool = field(default=False, kw_only=True)

    @property
    def on_grpc(self) -> bool:
        """Whether gRPC carries the call."""
        return not self.bulk

    @overload
    def __get__(self, port: None, table: type[Port]) -> Self: ...
    @overload
    def __get__(self, port: Port, table: type[Port]) -> Callable[[Request], Reply]: ...
    def __get__(self, port: Port | None, table: type[Port]) -> Self | Callable[[Request], Reply]:
        """The entry, of a table; the call, of a port."""
        if port is None:
            return self
        return lambda request: port.transport.unary(self, request)

    def serves(
        self, call: Callable[[Service, Caller, Request], Reply]
    ) -> Callable[[Service, Caller, Request], Reply]:
        """Marks a service's method as what serves the calls."""
        call.__dict__[_SERVES] = self.path
        return call

    def on(self, service: object) -> Callable[[Caller, Request], Reply]:
        """The marked method of a service."""
        return cast("Callable[[Caller, Request], Reply]", _found(self, service))

    def handled(self, maker: HandlerMaker[Handler], service: object) -> Handler:
        """Makes a handler of the marked method."""
        return maker.unary(self, self.on(service))


@dataclass(frozen=True)
class ReplyStream(Method, Generic[Request, Reply]):
    """A call of one message whose replies are a stream.

    Attributes:
        codec: How its messages become bytes.
    """

    codec: Codec[Request, Reply]

    @overload
    def __get__(self, port: None, table: type[Port]) -> Self: ...
    @overload
    def __get__(self, port: Port, table: type[Port]) -> Callable[[Request], Iterator[Reply]]: ...
    def __get__(
        self, port: Port | None, table: type[Port]
    ) -> Self | Callable[[Request], Iterator[Reply]]:
        """The entry, of a table; the call, of a port."""
        if port is None:
            return self
        return lambda request: port.transport.reply_stream(self, request)

    def serves(
        self, call: Callable[[Service, Caller, Request], Iterator[Reply]]
    ) -> Callable[[Service, Caller, Request], Iterator[Reply]]:
        """Marks a service's method as what serves the calls."""
        call.__dict__[_SERVES] = self.path
        return call

    def on(self, service: object) -> Callable[[Caller, Request], Iterator[Reply]]:
        """The marked method of a service."""
        return cast("Callable[[Caller, Request], Iterator[Reply]]", _found(self, service))

    def handled(self, maker: HandlerMaker[Handler], service: object) -> Handler:
        """Makes a handler of the marked method."""
        return maker.reply_stream(self, self.on(service))


@dataclass(frozen=True)
class RequestStream(Method, Generic[Request, Reply]):
    """A call whose requests are a stream; the service may answer before they end.

    Attributes:
        codec: How its messages become bytes.
    """

    codec: Codec[Request, Reply]

    @overload
    def __get__(self, port: None, table: type[Port]) -> Self: ...
    @overload
    def __get__(self, port: Port, table: type[Port]) -> Callable[[Iterable[Request]], Reply]: ...
    def __get__(
        self, port: Port | None, table: type[Port]
    ) -> Self | Callable[[Iterable[Request]], Reply]:
        """The entry, of a table; the call, of a port."""
        if port is None:
            return self
        return lambda requests: port.transport.request_stream(self, requests)

    def serves(
        self, call: Callable[[Service, Caller, Iterable[Request]], Reply]
    ) -> Callable[[Service, Caller, Iterable[Request]], Reply]:
        """Marks a service's method as what serves the calls."""
        call.__dict__[_SERVES] = self.path
        return call

    def on(self, service: object) -> Callable[[Caller, Iterable[Request]], Reply]:
        """The marked method of a service."""
        return cast("Callable[[Caller, Iterable[Request]], Reply]", _found(self, service))

    def handled(self, maker: HandlerMaker[Handler], service: object) -> Handler:
        """Makes a handler of the marked method."""
        return maker.request_stream(self, self.on(service))
