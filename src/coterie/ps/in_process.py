"""The transport within a process: calls a service with the wire's own messages, unencoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coterie.ps.caller import Caller
from coterie.ps.methods import ReplyStream, RequestStream, Unary
from coterie.ps.wire.codecs import Reply, Request


class InProcess:
    """A transport to a service in this process.

    Args:
        service: Serves the calls.
        caller: The caller, who is not authenticated here.
    """

    def __init__(self, service: object, caller: Caller) -> None:
        self.service = service
        self.caller = caller

    def unary(self, method: Unary[Request, Reply], request: Request) -> Reply:
        """Sends one message and returns the reply."""
        method.check(self.caller)
        return method.on(self.service)(self.caller, request)

    def reply_stream(
        self, method: ReplyStream[Request, Reply], request: Request
    ) -> Iterator[Reply]:
        """Sends one message and returns the replies as they come."""
        method.check(self.caller)
        return method.on(self.service)(self.caller, request)

    def request_stream(
        self, method: RequestStream[Request, Reply], requests: Iterable[Request]
    ) -> Reply:
        """Sends messages until they end or the service answers."""
        method.check(self.caller)
        return method.on(self.service)(self.caller, requests)

    def close(self) -> None:
        """Does nothing: there is no connection."""
