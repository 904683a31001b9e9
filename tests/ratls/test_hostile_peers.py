"""Peers that are attested and behave badly all the same: floods, silence, hung-up calls."""

from __future__ import annotations

import socket
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from itertools import islice

import grpc
import pytest

from coterie.errors import CoterieError, PeerBusy
from coterie.ratls.calls import CallsUnderWay
from coterie.ratls.transport import AttestedChannel, CallLimits, error_of
from faults.relay import Relay
from tests.ratls.net import LIMIT, Net, call

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
        with ThreadPoolExecutor(6) as pool:
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
