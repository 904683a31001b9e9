"""A transport for tests to build on: it carries no call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coterie.ps.methods import ReplyStream, RequestStream, Unary
from coterie.ps.wire.codecs import Reply, Request


class NoTransport:
    """Fails the test that makes a call which a subclass does not carry."""

    def unary(self, method: Unary[Request, Reply], request: Request) -> Reply:
        raise AssertionError(method.name, request)

    def reply_stream(
        self, method: ReplyStream[Request, Reply], request: Request
    ) -> Iterator[Reply]:
        raise AssertionError(method.name, request)

    def request_stream(
        self, method: RequestStream[Request, Reply], requests: Iterable[Request]
    ) -> Reply:
        raise AssertionError(method.name, requests)

    def close(self) -> None:
        pass
