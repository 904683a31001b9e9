"""Calls over data connections: what each side accepts of the other, in memory and on sockets."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from coterie.errors import (
    CallRefused,
    CoterieError,
    MessageRefused,
    PeerUnreachable,
    ProtocolError,
    StepRefused,
)
from coterie.plaintext.data import PlainStream
from coterie.ps.call_metrics import CallRecord
from coterie.ps.caller import Caller
from coterie.ps.data_calls import MOST_PER_NODE, DataCalls, DataService
from coterie.ps.data_server import DataServer
from coterie.ps.methods import Port, Unary
from coterie.ps.wire.codecs import EXCHANGE
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest
from fuzz.scripted import ScriptedStream

MOST = 4096
WORKER, CHIEF = Caller("w", "worker", 1), Caller("c", "chief", 1)
REQUEST = ExchangeRequest(1, 7, None, b"")


class Table(Port):
    """One bulk call, for workers."""

    exchange = Unary("/test.T/Exchange", frozenset({"worker"}), EXCHANGE, bulk=True)


class Service:
    """Answers with the step after the one that it was asked for; fails on some."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()

    @Table.exchange.serves
    def exchange(self, caller: Caller, request: ExchangeRequest) -> ExchangeReply:
        if request.step == 1:
            raise StepRefused("too late", expected="step 4", seen=caller.node, remedy="join again")
        if request.step == 2:
            raise ZeroDivisionError("user 4711 has 0 clicks")
        if request.step == 3:
            self.entered.set()
            assert self.leave.wait(60)
        return ExchangeReply(request.step + 1, rows=bytes(100))


def called(answer: bytes, *, request: ExchangeRequest = REQUEST) -> ExchangeReply:
    """What a caller makes of an answer."""

    @contextmanager
    def lease() -> Iterator[ScriptedStream]:
        yield ScriptedStream(answer)

    return DataCalls(lease, "ps0", MOST, lambda _: None).call(Table.exchange, request)


def served(
    octets: bytes, admitted: Callable[[], Caller] = lambda: WORKER
) -> tuple[bool, int, bytes]:
    """What a service makes of a request: whether it goes on, and kind and message of its answer."""
    stream, records = ScriptedStream(octets), list[CallRecord]()
    service = DataService(
        Table.exchange,
        Table.exchange.on(Service()),
        most_bytes=MOST,
        observe=records.append,
    )
    goes_on = service.serve_one(stream, admitted)
    kind, length = struct.unpack("<BI", stream.sent[:5])
    assert len(stream.sent) == 5 + length
    assert len(records) == 1
    return goes_on, kind, stream.sent[5:]


def framed(message: bytes) -> bytes:
    return struct.pack("<I", len(message)) + message


def answered(kind: int, message: bytes) -> bytes:
    return struct.pack("<BI", kind, len(message)) + message


def told(octets: bytes) -> dict[str, str]:
    fields: dict[str, str] = json.loads(octets)
    return fields


class TestService:
    def test_answers(self) -> None:
        goes_on, kind, octets = served(framed(b"".join(REQUEST.encode())))
        assert (goes_on, kind) == (True, 0)
        assert ExchangeReply.decode(octets).step == 8

    def test_goes_on_after_an_error_of_the_call(self) -> None:
        goes_on, kind, octets = served(framed(b"".join(ExchangeRequest(1, 1, None, b"").encode())))
        assert (goes_on, kind) == (True, 1)
        assert (
            told(octets)
            == StepRefused("too late", expected="step 4", seen="w", remedy="join again").to_dict()
        )

    def test_tells_nothing_of_a_defect(self) -> None:
        _, kind, octets = served(framed(b"".join(ExchangeRequest(1, 2, None, b"").encode())))
        assert kind == 1
        assert b"4711" not in octets
        assert told(octets)["error"] == "ProtocolError"

    def test_refuses_a_message_that_is_none(self) -> None:
        goes_on, kind, octets = served(framed(b"\xff\xff\xff\xff"))
        assert (goes_on, kind) == (True, 1)
        assert told(octets)["what"] == "the message is not a frame of this protocol"

    @pytest.mark.parametrize("length", [MOST + 1, 2**32 - 1])
    def test_ends_with_a_message_over_the_limit_before_it_takes_memory(self, length: int) -> None:
        goes_on, kind, octets = served(struct.pack("<I", length))
        assert (goes_on, kind) == (False, 2)
        assert told(octets)["error"] == "MessageRefused"
        assert told(octets)["seen"] == f"{length} bytes"

    def test_ends_with_a_caller_whose_session_has_run_out(self) -> None:
        def admitted() -> Caller:
            raise CallRefused("the attestation of w has expired")

        goes_on, kind, octets = served(framed(b"".join(REQUEST.encode())), admitted)
        assert (goes_on, kind) == (False, 2)
        assert told(octets)["error"] == "CallRefused"

    def test_ends_with_a_caller_of_another_role(self) -> None:
        goes_on, kind, octets = served(framed(b"".join(REQUEST.encode())), lambda: CHIEF)
        assert (goes_on, kind) == (False, 2)
        assert told(octets)["what"] == "c may not call /test.T/Exchange"

    @pytest.mark.parametrize("length", [0, 3, 10])
    def test_ends_with_a_caller_that_goes_away(self, length: int) -> None:
        with pytest.raises(PeerUnreachable):
            served(framed(b"".join(REQUEST.encode()))[:length])


class TestCaller:
    def test_gets_the_reply(self) -> None:
        assert called(answered(0, b"".join(ExchangeReply(8).encode()))).step == 8

    @pytest.mark.parametrize("kind", [1, 2])
    def test_gets_the_services_error(self, kind: int) -> None:
        error = StepRefused("too late", expected="step 4", seen="step 3", remedy="join again")
        with pytest.raises(StepRefused) as refused:
            called(answered(kind, json.dumps(error.to_dict()).encode()))
        assert refused.value.to_dict() == error.to_dict()

    @pytest.mark.parametrize(
        ("answer", "kind", "what"),
        [
            pytest.param(answered(3, b""), ProtocolError, "the call to ps0 failed", id="kind"),
            pytest.param(answered(1, b"{"), ProtocolError, "the call to ps0 failed", id="no error"),
            pytest.param(
                struct.pack("<BI", 1, 4097),
                ProtocolError,
                "the call to ps0 failed",
                id="long error",
            ),
            pytest.param(
                struct.pack("<BI", 0, MOST + 1),
                MessageRefused,
                "a message to or from ps0 is over the limit",
                id="long reply",
            ),
            pytest.param(
                answered(0, b"\xff\xff\xff\xff"),
                MessageRefused,
                "the message is not a frame of this protocol",
                id="no reply",
            ),
            pytest.param(b"\0", PeerUnreachable, "the peer is gone", id="cut"),
        ],
    )
    def test_refuses_what_is_no_reply(
        self, answer: bytes, kind: type[CoterieError], what: str
    ) -> None:
        with pytest.raises(kind) as refused:
            called(answer)
        assert type(refused.value) is kind
        assert refused.value.what == what

    def test_sends_no_message_over_the_limit(self) -> None:
        long = ExchangeRequest(1, 7, None, bytes(MOST))
        with pytest.raises(MessageRefused, match="a message to or from ps0 is over the limit"):
            called(b"", request=long)


class Served:
    """A server of data connections, and callers on sockets."""

    def __init__(self) -> None:
        self.service = Service()
        self.records: list[CallRecord] = []
        self.server = DataServer(Table, self.service, most_bytes=MOST, observe=self.records.append)
        self.streams: list[PlainStream] = []

    def connect(self, caller: Caller = WORKER) -> PlainStream:
        here, there = socket.socketpair()
        self.streams.append(PlainStream(here, "ps0"))
        self.server.take(PlainStream(there, caller.node), lambda: caller)
        return self.streams[-1]

    def call(self, stream: PlainStream, step: int = 7) -> ExchangeReply:
        @contextmanager
        def lease() -> Iterator[PlainStream]:
            yield stream

        calls = DataCalls(lease, "ps0", MOST, lambda _: None)
        return calls.call(Table.exchange, ExchangeRequest(1, step, None, b""))


@pytest.fixture
def served_on() -> Iterator[Served]:
    made = Served()
    yield made
    made.service.leave.set()
    made.server.stop(5.0)
    for stream in made.streams:
        stream.close()


class TestServer:
    def test_serves_many_calls_of_many_callers_and_reports_them(self, served_on: Served) -> None:
        streams = [served_on.connect() for _ in range(3)]
        assert [served_on.call(stream, step).step for step in (7, 8) for stream in streams] == (
            [8] * 3 + [9] * 3
        )
        assert {(r.side, r.method, r.peer, r.error) for r in served_on.records} == {
            ("server", "Exchange", "w", "")
        }

    def test_a_node_that_connects_too_often_loses_its_oldest_connection(
        self, served_on: Served
    ) -> None:
        other = served_on.connect(Caller("v", "worker", 1))
        streams = [served_on.connect() for _ in range(MOST_PER_NODE + 1)]
        with pytest.raises(PeerUnreachable):
            served_on.call(streams[0])
        for stream in (other, *streams[1:]):
            assert served_on.call(stream).step == 8

    def test_a_stop_ends_idle_connections_and_lets_calls_under_way_end(
        self, served_on: Served
    ) -> None:
        idle, busy = served_on.connect(), served_on.connect()
        answers: list[int] = []
        thread = threading.Thread(target=lambda: answers.append(served_on.call(busy, 3).step))
        thread.start()
        assert served_on.service.entered.wait(60)
        stopping = threading.Thread(target=served_on.server.stop, args=(60.0,))
        stopping.start()
        assert not idle.wait(), "it is closed at once"
        served_on.service.leave.set()
        thread.join()
        stopping.join()
        assert answers == [4]
        assert not busy.wait()

    def test_after_a_stop_nobody_is_served(self, served_on: Served) -> None:
        served_on.server.stop(0.0)
        assert not served_on.connect().wait()
