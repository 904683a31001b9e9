"""Peers that are attested and behave badly all the same: floods, silence, hung-up calls."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from itertools import islice

import grpc
import pytest

from coterie.errors import CoterieError, MessageRefused, PeerBusy
from coterie.ratls.call_limits import CallsUnderWay
from coterie.ratls.transport import AttestedChannel, CallLimits, error_of
from faults.relay import Relay
from tests.ratls.net import LIMIT, Net, call, raw, thief

QUICK = CallLimits(
    per_peer=3, handshake_seconds=0.2, silence_seconds=0.2, answer_seconds=0.2, idle_seconds=60
)


def grpc_port(channel: AttestedChannel) -> int:
    return channel.peer.grpc_port


def drained(sock: socket.socket) -> bool:
    """Reads until the other side closes; False if it does not."""
    sock.settimeout(30)
    try:
        while sock.recv(4096):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


class TestCallsUnderWay:
    def test_a_peer_may_have_so_many_calls_and_no_more(self) -> None:
        calls = CallsUnderWay(2)
        first = calls.enter("acme-worker")
        calls.enter("acme-worker")

        with pytest.raises(PeerBusy) as refused:
            calls.enter("acme-worker")

        assert refused.value.what == "acme-worker has too many calls under way"
        assert refused.value.expected == "at most 2 at once"
        assert refused.value.seen == "one more than 2"
        calls.enter("bolt-worker")
        first()
        with pytest.raises(PeerBusy):
            calls.enter("acme-worker")
        first()
        calls.enter("acme-worker")

    def test_a_call_that_ends_thrice_frees_one_place(self) -> None:
        calls = CallsUnderWay(1)
        end = calls.enter("acme-worker")
        for _ in range(3):
            end()
        calls.enter("acme-worker")
        with pytest.raises(PeerBusy):
            calls.enter("acme-worker")


class TestFlood:
    def test_what_is_over_the_limit_is_refused_and_others_are_served(self, net: Net) -> None:
        server = net.serve(calls=CallLimits(per_peer=2))
        trust = net.world.trust("acme-worker")
        flooding = [net.dial(server, trust) for _ in range(3)]  # streams are bounded by connection
        honest = net.dial(server, net.world.trust("bolt-worker"))
        with ThreadPoolExecutor(6) as pool, ExitStack() as stack:
            stack.callback(net.service.leave.set)  # however it ends
            waits = [pool.submit(call, flooding[i % 3], "Wait", b"x") for i in range(6)]

            refused = [failed(future) for future in islice(as_completed(waits, 30), 4)]

            assert {type(error) for error in refused} == {PeerBusy}
            assert {error.what for error in refused} == {"acme-worker has too many calls under way"}
            for _ in range(20):
                assert call(honest, "Who") == b"bolt-worker"
            net.service.leave.set()
            assert sorted(f.result() for f in waits if f.exception() is None) == [b"x", b"x"]
        assert call(flooding[0], "Who") == b"acme-worker"

    def test_hanging_up_does_not_free_a_waiting_handler(self, net: Net) -> None:
        server = net.serve(calls=CallLimits(per_peer=1))
        trust = net.world.trust("acme-worker")
        flooder = net.dial(server, trust)
        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(call, flooder, "Wait")
            assert net.service.entered.wait(30)
            flooder.close()
            assert isinstance(wait.exception(30), grpc.RpcError)

            with pytest.raises(grpc.RpcError) as caught:
                call(net.dial(server, trust), "Who")

        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert isinstance(error_of(caught.value), PeerBusy)


class Withheld:
    """The message of calls that are begun: it comes when it is let go, or never."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def begin(self, channel: grpc.Channel, method: str = "Who") -> grpc.Future[bytes]:
        """Begins a call, of which the server gets the headers only."""
        return channel.stream_unary(f"/test.S/{method}", raw, raw).future(self._message())

    def _message(self) -> Iterator[bytes]:
        self.go.wait(240)
        yield b""


@pytest.fixture
def withheld() -> Iterator[Withheld]:
    made = Withheld()
    yield made
    made.go.set()


class TestMessagesThatDoNotCome:
    FEW = CallLimits(per_peer=2)  # of three nodes: ten threads

    def test_their_calls_take_their_own_peers_places_only(
        self, net: Net, withheld: Withheld
    ) -> None:
        server = net.serve(calls=self.FEW)
        trust = net.world.trust("acme-worker")
        honest = net.dial(server, net.world.trust("bolt-worker"))
        flooding = [net.dial(server, trust) for _ in range(8)]
        begun = [withheld.begin(one.channel) for one in flooding for _ in range(2)]

        refused = ended(begun, 14)

        assert {type(error_of(error)) for error in refused} == {PeerBusy}
        assert who(honest) == b"bolt-worker"
        withheld.go.set()
        held = [one.result() for one in begun if one.exception() is None]
        assert held == [b"acme-worker", b"acme-worker"]

    def test_a_thief_of_a_key_takes_none(self, net: Net, withheld: Withheld) -> None:
        server = net.serve(calls=self.FEW)
        trust = net.world.trust("acme-worker")
        victim = net.dial(server, trust)
        honest = net.dial(server, net.world.trust("bolt-worker"))
        with ExitStack() as stack:
            identity = trust.credentials.current().identity
            thieves = [stack.enter_context(thief(victim.peer, identity)) for _ in range(8)]
            begun = [withheld.begin(one) for one in thieves for _ in range(2)]

            assert {error.code() for error in ended(begun, 16)} == {grpc.StatusCode.UNAUTHENTICATED}
            assert who(honest) == b"bolt-worker"
            assert who(victim) == b"acme-worker"

    def test_a_method_that_nobody_may_call_waits_for_none(
        self, net: Net, withheld: Withheld
    ) -> None:
        begun = withheld.begin(net.dial(net.serve()).channel, "Nonsense")
        (error,) = ended([begun], 1)
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED

    def test_who_hangs_up_gets_its_place_back_and_leaves_no_line_in_the_log(
        self, net: Net, withheld: Withheld, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = net.serve(calls=CallLimits(per_peer=1))
        trust = net.world.trust("acme-worker")
        first, second = net.dial(server, trust), net.dial(server, trust)
        begun = withheld.begin(first.channel)
        until(second, grpc.StatusCode.RESOURCE_EXHAUSTED)  # its headers have come

        begun.cancel()

        until(second, grpc.StatusCode.OK)
        assert not caplog.records

    def test_a_pin_that_ends_meanwhile_counts(self, net: Net, withheld: Withheld) -> None:
        server = net.serve(calls=CallLimits(per_peer=1))
        now = net.world.clock()
        trust = replace(net.world.trust("acme-worker"), clock=lambda: now)
        first, second = net.dial(server, trust), net.dial(server, trust)
        begun = withheld.begin(first.channel)
        until(second, grpc.StatusCode.RESOURCE_EXHAUSTED)

        net.world.clock.advance(timedelta(minutes=61))
        withheld.go.set()

        (error,) = ended([begun], 1)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED

    def test_a_call_that_ends_without_one_is_refused(self, net: Net) -> None:
        channel = net.dial(net.serve()).channel
        begun = channel.stream_unary("/test.S/Who", raw, raw).future(iter(()))
        (error,) = ended([begun], 1)
        assert isinstance(error_of(error), MessageRefused)


class TestSilence:
    def test_a_connection_without_tls_is_dropped(self, net: Net) -> None:
        server = net.serve(calls=QUICK)
        channel = net.dial(server)
        with socket.create_connection(("127.0.0.1", grpc_port(channel))) as silent:
            assert drained(silent), "the server hangs up"
        assert call(channel, "Who") == b"acme-worker"

    def test_a_peer_that_stops_reading_is_dropped_and_comes_back(self, net: Net) -> None:
        server = net.serve(calls=QUICK)
        attestation = int(server.address.rpartition(":")[2])
        port = grpc_port(net.dial(server))
        relay = Relay((attestation, port), host="127.0.0.2")
        try:
            channel = AttestedChannel(
                net.world.trust("bolt-worker"),
                f"127.0.0.2:{attestation}",
                "ps0",
                LIMIT,
                patience_seconds=10,
                calls=QUICK,
            )
            with channel, ThreadPoolExecutor(1) as pool:
                assert call(channel, "Who") == b"bolt-worker"
                waiting = pool.submit(call, channel, "Wait")
                assert net.service.entered.wait(30)
                relay.stall()  # both ends still hold the connection: only pings can tell

                with pytest.raises(grpc.RpcError) as caught:
                    waiting.result(timeout=60)

                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                net.service.leave.set()
                assert call(channel, "Who") == b"bolt-worker", "on a new connection"
        finally:
            relay.close()


def failed(future: Future[bytes]) -> CoterieError:
    """The error of the tree that a call ended with."""
    raised = future.exception()
    assert isinstance(raised, grpc.RpcError)
    error = error_of(raised)
    assert error is not None
    return error


def who(channel: AttestedChannel) -> bytes:
    """Asks who calls, and does not wait for ever."""
    answer: bytes = channel.channel.unary_unary("/test.S/Who", raw, raw)(b"", timeout=20)
    return answer


def ended(calls: list[grpc.Future[bytes]], number: int) -> list[grpc.RpcError]:
    """The errors of the first of some calls to end."""
    done: queue.SimpleQueue[grpc.Future[bytes]] = queue.SimpleQueue()
    for one in calls:
        one.add_done_callback(done.put)
    return [error_in(done.get(timeout=30)) for _ in range(number)]


def error_in(call: grpc.Future[bytes]) -> grpc.RpcError:
    error = call.exception()
    assert isinstance(error, grpc.RpcError)
    return error


def until(channel: AttestedChannel, code: grpc.StatusCode) -> None:
    """Calls until it ends so: nothing else tells what a server has heard of another call."""
    for _ in range(10_000):
        asked = channel.channel.unary_unary("/test.S/Who", raw, raw).future(b"")
        asked.exception()
        if asked.code() is code:
            return
    raise AssertionError(f"never {code}")
