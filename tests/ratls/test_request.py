"""One attested question over TLS: who may refuse, what is out of order, and how a connection ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from coterie.address import Address
from coterie.errors import (
    CoterieError,
    HandshakeFailed,
    KeyRefused,
    MessageRefused,
    PeerUnreachable,
)
from coterie.keys.server.messages import (
    GRANT_BYTES,
    HELLO_BYTES,
    PROTOCOL,
    Grant,
    KeyRequest,
    ServerHello,
    request_bytes,
)
from coterie.ratls.connect import Destination
from coterie.ratls.deadline import Deadline
from coterie.ratls.guests import KeyReader, ThrowAwayIdentity
from coterie.ratls.messages import Refusal
from coterie.ratls.request import Exchange, dialled, tls_session, told_of_refusals
from coterie.ratls.schema import Message
from tests.ratls.conftest import nothing_leaks

__all__ = ["nothing_leaks"]

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
HELLO = ServerHello(nonce=bytes(32), signature=bytes(64), wants_collateral=False)
REQUEST = KeyRequest(wanted="voucher", set_id=b"", voucher=b"", quote=b"q", collateral=b"")
GRANT = Grant(content=b"granted")
Part = Callable[[Exchange], object]


@dataclass
class Ends:
    """How the two ends of an exchange ended."""

    server: list[CoterieError] = field(default_factory=list)
    statements: set[bytes] = field(default_factory=set)


@contextmanager
def answering(part: Part, ends: Ends) -> Iterator[Address]:
    """Listens once, and plays the listener's part."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            identity, client = ThrowAwayIdentity.create(AT), KeyReader("the client")
            try:
                with (
                    server.accept()[0] as sock,
                    tls_session(
                        sock,
                        identity,
                        client,
                        side="listener",
                        at=AT,
                        deadline=Deadline.after(30),
                        peer_name="the client",
                        alpn=PROTOCOL.alpn,
                    ) as connection,
                    told_of_refusals(connection),
                ):
                    exchange = Exchange(
                        connection,
                        PROTOCOL,
                        side="listener",
                        own_key=identity.spki_sha256,
                        peer_key=client.sha256,
                        peer_name="the client",
                    )
                    ends.statements.add(exchange.statement)
                    part(exchange)
            except CoterieError as error:
                ends.server.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Address(*server.getsockname())
        finally:
            thread.join()


def talk(listener: Part, dialler: Part) -> Ends:
    """An exchange of two parts, over TLS."""
    ends = Ends()
    identity, server = ThrowAwayIdentity.create(AT), KeyReader("the server")
    with (
        answering(listener, ends) as address,
        dialled(
            Destination(address, "the server"), identity, server, alpn=PROTOCOL.alpn, at=AT
        ) as connection,
    ):
        exchange = Exchange(
            connection,
            PROTOCOL,
            side="dialler",
            own_key=identity.spki_sha256,
            peer_key=server.sha256,
            peer_name="the server",
        )
        ends.statements.add(exchange.statement)
        dialler(exchange)
    return ends


def sending(*messages: Message) -> Part:
    def part(exchange: Exchange) -> None:
        for message in messages:
            exchange.send(message)

    return part


def raising(error: Exception) -> Part:
    def part(_: Exchange) -> None:
        raise error

    return part


def test_messages_go_both_ways_and_both_ends_sign_one_statement() -> None:
    seen: list[Message] = []

    def serve(exchange: Exchange) -> None:
        exchange.send(HELLO)
        seen.append(exchange.receive(KeyRequest, most=request_bytes(stapled=False)))
        exchange.send(GRANT)

    def ask(exchange: Exchange) -> None:
        seen.append(exchange.receive(ServerHello, most=HELLO_BYTES))
        exchange.send(REQUEST)
        seen.append(exchange.receive(Grant, most=GRANT_BYTES))

    ends = talk(serve, ask)
    assert (ends.server, seen) == ([], [HELLO, REQUEST, GRANT])
    (statement,) = ends.statements
    assert statement.startswith(PROTOCOL.label)


def test_messages_that_come_at_once_are_read_one_by_one_each_under_its_bound() -> None:
    def ask(exchange: Exchange) -> None:
        assert exchange.receive(ServerHello, most=HELLO_BYTES) == HELLO
        assert exchange.receive(Grant, most=GRANT_BYTES) == GRANT

    assert talk(sending(HELLO, GRANT), ask).server == []


@pytest.mark.parametrize("proved", [False, True])
def test_a_refusal_by_the_listener_is_repeated_and_says_whose_word_it_is(*, proved: bool) -> None:
    refusal = KeyRefused("no key", expected="another", seen="this", remedy="ask")

    def ask(exchange: Exchange) -> None:
        exchange.peer_proved = proved
        with pytest.raises(HandshakeFailed) as refused:
            exchange.receive(ServerHello, most=GRANT_BYTES)
        assert refused.value.what == "the server refused this node: KeyRefused: no key"
        assert (refused.value.expected, refused.value.seen) == ("another", "this")
        assert refused.value.peer_proved is proved

    assert talk(raising(refusal), ask).server == [refusal]


def test_a_listener_is_refused_by_nobody() -> None:
    def ask(exchange: Exchange) -> None:
        exchange.send(Refusal.of({"error": "KeyRefused"}))
        with pytest.raises(HandshakeFailed, match="MessageRefused"):
            exchange.receive(Grant, most=GRANT_BYTES)

    (error,) = talk(lambda e: e.receive(KeyRequest, most=GRANT_BYTES), ask).server
    assert isinstance(error, MessageRefused)
    assert error.what == "the client sent a message out of order"
    assert (error.expected, error.seen) == ("the message request", "the message refusal")


def test_another_message_than_the_one_that_is_due_is_refused() -> None:
    def ask(exchange: Exchange) -> None:
        with pytest.raises(MessageRefused, match="out of order") as refused:
            exchange.receive(ServerHello, most=HELLO_BYTES)
        assert (refused.value.expected, refused.value.seen) == (
            "the message hello",
            "the message grant",
        )

    assert talk(sending(GRANT), ask).server == []


def test_a_message_longer_than_what_is_due_is_refused_unread() -> None:
    def ask(exchange: Exchange) -> None:
        with pytest.raises(MessageRefused) as refused:
            exchange.receive(ServerHello, most=64)
        assert refused.value.expected == "at most 64 bytes here"

    assert talk(sending(HELLO), ask).server == []


def test_nothing_is_told_to_whom_is_gone() -> None:
    def ask(_: Exchange) -> None:
        return

    (error,) = talk(lambda e: e.receive(KeyRequest, most=GRANT_BYTES), ask).server
    assert isinstance(error, PeerUnreachable)


def test_nobody_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(*server.getsockname())
    with (
        pytest.raises(PeerUnreachable, match="the server does not answer"),
        dialled(
            Destination(address, "the server"),
            ThrowAwayIdentity.create(AT),
            KeyReader("the server"),
            alpn=PROTOCOL.alpn,
            at=AT,
        ),
    ):
        pass


def test_one_deadline_covers_all_of_it() -> None:
    """Whoever accepts and says nothing holds a question no longer than its time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address(*silent.getsockname())
        with (
            pytest.raises(PeerUnreachable) as refused,
            dialled(
                Destination(address, "the server"),
                ThrowAwayIdentity.create(AT),
                KeyReader("the server"),
                alpn=PROTOCOL.alpn,
                at=AT,
                seconds=0.05,
            ),
        ):
            pass
    assert "in time" in refused.value.seen
