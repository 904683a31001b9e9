"""gRPC among attested nodes, on real sockets."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest

from coterie.attestation.clock import FlooredClock
from coterie.errors import (
    AddressInUse,
    CallRefused,
    ContractInvalid,
    ContractMismatch,
    CoterieError,
    EvidenceRefused,
    HandshakeFailed,
    MessageRefused,
    PeerUnreachable,
    StepRefused,
)
from coterie.ratls.issue import stray_certificate_pem
from coterie.ratls.transport import (
    AttestedChannel,
    ListenerLimits,
    error_of,
    peer_of,
)
from faults.loopback import free_address
from tests.ratls.net import LIMIT, Net, call, raw
from tests.test_address import has_ipv6

pytestmark = pytest.mark.long


class TestCalls:
    def test_a_handler_knows_who_calls(self, net: Net) -> None:
        server = net.serve()

        assert call(net.dial(server), "Who") == b"acme-worker"
        assert call(net.dial(server, net.world.trust("bolt-worker")), "Who") == b"bolt-worker"
        assert {peer.node for peer in server.peers} == {"acme-worker", "bolt-worker"}

    def test_every_arity_works(self, net: Net) -> None:
        channel = net.dial(net.serve()).channel

        future = channel.unary_unary("/test.S/Who", raw, raw).future(b"", timeout=10)
        assert future.result() == b"acme-worker"
        reply, done = channel.unary_unary("/test.S/Who", raw, raw).with_call(b"")
        assert (reply, done.code()) == (b"acme-worker", grpc.StatusCode.OK)
        assert list(channel.unary_stream("/test.S/Count", raw, raw)(b"2")) == [
            b"acme-worker 0",
            b"acme-worker 1",
        ]
        assert channel.stream_unary("/test.S/Sum", raw, raw)(iter([b"1", b"2"])) == b"3"
        assert list(channel.stream_stream("/test.S/Each", raw, raw)(iter([b"1", b"2"]))) == [
            b"11",
            b"22",
        ]

    @pytest.mark.parametrize(
        ("request_", "kind", "code"),
        [
            (b"message", MessageRefused, grpc.StatusCode.INVALID_ARGUMENT),
            (b"step", StepRefused, grpc.StatusCode.FAILED_PRECONDITION),
        ],
    )
    def test_a_handlers_error_comes_back_as_itself(
        self, net: Net, request_: bytes, kind: type[CoterieError], code: grpc.StatusCode
    ) -> None:
        channel = net.dial(net.serve())

        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "Fail", request_)

        assert caught.value.code() is code
        error = error_of(caught.value)
        assert type(error) is kind
        assert error.remedy

    def test_a_defect_in_a_handler_tells_the_caller_nothing(self, net: Net) -> None:
        channel = net.dial(net.serve())

        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "Fail", b"bug")

        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "4711" not in str(caught.value)
        assert error_of(caught.value) is None

    def test_a_message_over_the_limit_is_refused(self, net: Net) -> None:
        channel = net.dial(net.serve())

        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "Who", bytes(LIMIT + 1))

        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


class TestPermissions:
    @pytest.mark.parametrize("method", ["ForTheChief", "Unlisted", "Nonsense"])
    def test_a_method_that_is_not_for_the_role_is_refused(self, net: Net, method: str) -> None:
        channel = net.dial(net.serve())

        with pytest.raises(grpc.RpcError) as caught:
            call(channel, method)

        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert isinstance(error_of(caught.value), CallRefused)

    def test_the_refusal_names_both_roles(self, net: Net) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            call(net.dial(net.serve()), "ForTheChief")

        error = error_of(caught.value)
        assert error is not None
        assert (error.expected, error.seen) == ("a caller with role chief", "worker")

    def test_a_call_after_the_pin_has_expired_is_refused(self, net: Net) -> None:
        """The dialler's own clock stands still, so that it does not attest again by itself."""
        now = net.world.clock()
        server = net.serve()
        channel = net.dial(server, replace(net.world.trust("acme-worker"), clock=lambda: now))
        net.world.clock.advance(timedelta(minutes=61))

        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "Who")

        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        error = error_of(caught.value)
        assert isinstance(error, CallRefused)
        assert "expired" in error.what

    def test_a_server_whose_clock_was_set_back_serves_nobody(self, net: Net) -> None:
        floor = FlooredClock(net.world.clock(), clock=net.world.clock)
        channel = net.dial(net.serve(replace(net.world.trust("ps0"), clock=floor)))
        assert call(channel, "Who") == b"acme-worker"
        floor.observe(net.world.clock() + timedelta(hours=2))

        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "Who")

        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        error = error_of(caught.value)
        assert isinstance(error, EvidenceRefused)
        assert error.failed_check == "clock"

    def test_a_newer_incarnation_takes_the_place_of_an_older_one(self, net: Net) -> None:
        server = net.serve()
        old = net.dial(server, net.world.trust("acme-worker", incarnation=1))
        new = net.dial(server, net.world.trust("acme-worker", incarnation=2))

        assert call(new, "Who") == b"acme-worker"
        with pytest.raises(grpc.RpcError) as caught:
            call(old, "Who")
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

        with pytest.raises(HandshakeFailed, match="incarnation"):
            old.reattest()

    def test_outside_of_an_attested_server_nobody_is_attested(self) -> None:
        class Context:
            pass

        with pytest.raises(CallRefused):
            peer_of(Context())  # type: ignore[arg-type]


class TestStrangersAtTheGrpcPort:
    def grpc_port(self, net: Net) -> int:
        return net.dial(net.serve()).peer.grpc_port

    def unreachable(self, channel: grpc.Channel) -> None:
        with channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/test.S/Who", raw, raw)(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    def test_plaintext_is_refused(self, net: Net) -> None:
        self.unreachable(grpc.insecure_channel(f"127.0.0.1:{self.grpc_port(net)}"))

    def test_a_client_without_a_certificate_is_refused(self, net: Net) -> None:
        channel = net.dial(net.serve())
        self.unreachable(
            grpc.secure_channel(
                f"127.0.0.1:{channel.peer.grpc_port}",
                grpc.ssl_channel_credentials(channel.peer.certificate_pem),
                (("grpc.ssl_target_name_override", channel.peer.dns_name),),
            )
        )

    def test_a_node_that_did_not_attest_itself_is_refused(self, net: Net) -> None:
        """It has a good certificate with good evidence, but skipped the handshake."""
        channel = net.dial(net.serve())
        other = net.world.trust("bolt-worker").credentials.current().identity
        self.unreachable(
            grpc.secure_channel(
                f"127.0.0.1:{channel.peer.grpc_port}",
                grpc.ssl_channel_credentials(
                    channel.peer.certificate_pem, other.private_key_pem(), other.certificate_pem
                ),
                (("grpc.ssl_target_name_override", channel.peer.dns_name),),
            )
        )

    def test_a_client_that_trusts_another_certificate_does_not_connect(self, net: Net) -> None:
        self.unreachable(
            grpc.secure_channel(
                f"127.0.0.1:{self.grpc_port(net)}",
                grpc.ssl_channel_credentials(stray_certificate_pem(net.world.clock())),
            )
        )


class TestReaching:
    def test_a_server_that_comes_late_is_waited_for(self, net: Net) -> None:
        address = free_address()

        def start_meanwhile(_: float) -> bool:
            net.serve(listen=address)
            return False

        channel = AttestedChannel(
            net.world.trust("acme-worker"),
            address,
            "ps0",
            LIMIT,
            patience_seconds=30,
            waiter=start_meanwhile,
        )

        with channel:
            assert call(channel, "Who") == b"acme-worker"

    def test_patience_ends(self, net: Net) -> None:
        address = free_address()

        with pytest.raises(PeerUnreachable) as caught:
            AttestedChannel(
                net.world.trust("acme-worker"), address, "ps0", LIMIT, patience_seconds=0
            )

        assert address in caught.value.what

    def test_a_waiter_that_gives_up_ends_the_waiting(self, net: Net) -> None:
        address = free_address()

        with pytest.raises(PeerUnreachable):
            AttestedChannel(
                net.world.trust("acme-worker"),
                address,
                "ps0",
                LIMIT,
                patience_seconds=600,
                waiter=lambda _: True,
            )

    def test_a_channel_with_a_stream_under_way_closes(self, net: Net) -> None:
        channel = net.dial(net.serve())
        replies = channel.channel.unary_stream("/test.S/Wait", raw, raw)(b"")
        assert net.service.entered.wait(30)

        closing = threading.Thread(target=channel.close, daemon=True)
        closing.start()
        closing.join(timeout=30)

        assert not closing.is_alive()
        assert replies.code() is grpc.StatusCode.CANCELLED

    def test_a_closed_channel_makes_no_calls(self, net: Net) -> None:
        channel = net.dial(net.serve())
        channel.close()

        with pytest.raises(PeerUnreachable):
            call(channel, "Who")

    @pytest.mark.parametrize("address", ["", "host", ":1", "host:", "host:x", "host:70000"])
    def test_nonsense_is_no_address(self, net: Net, address: str) -> None:
        with pytest.raises(ContractInvalid):
            AttestedChannel(net.world.trust("acme-worker"), address, "ps0", LIMIT)


class TestListening:
    def test_grpc_takes_the_next_port(self, net: Net) -> None:
        address = free_address()

        server = net.serve(listen=address)

        assert server.address == address
        assert net.dial(server).peer.grpc_port == int(address.rsplit(":", 1)[1]) + 1

    def test_a_taken_attestation_port_is_an_error(self, net: Net) -> None:
        server = net.serve()

        with pytest.raises(AddressInUse) as caught:
            net.serve(listen=server.address)

        assert server.address in caught.value.what

    def test_a_taken_grpc_port_is_an_error_and_leaves_nothing_behind(self, net: Net) -> None:
        wanted = free_address()
        grpc_port = int(wanted.rsplit(":", 1)[1]) + 1
        with socket.create_server(("127.0.0.1", grpc_port)), pytest.raises(AddressInUse):
            net.serve(listen=wanted)

        assert net.serve(listen=wanted).address == wanted

    def test_refusals_are_told(self, net: Net) -> None:
        server = net.serve()

        other = net.world.changed("training", "seed", value=99)

        with pytest.raises(ContractMismatch):
            net.dial(server, net.world.trust("acme-worker", contract=other))

        assert net.refusal.wait(10)
        assert isinstance(net.refused[0], ContractMismatch)
        assert "training.seed" in net.refused[0].seen

    def test_too_many_slow_peers_from_one_host_are_dropped(self, net: Net) -> None:
        server = net.serve(limits=ListenerLimits(pending=4, pending_per_host=2, seconds=30))
        host, port = server.address.rsplit(":", 1)
        slow = [socket.create_connection((host, int(port))) for _ in range(3)]
        try:
            slow[2].settimeout(10)
            assert slow[2].recv(1) == b""
        finally:
            for sock in slow:
                sock.close()

        # The two others have left by now, so that there is room again.
        assert call(net.dial(server), "Who") == b"acme-worker"

    def test_a_full_port_drops_whoever_comes_next(self, net: Net) -> None:
        server = net.serve(limits=ListenerLimits(pending=2, pending_per_host=2, seconds=30))
        host, port = server.address.rsplit(":", 1)
        slow = [
            socket.create_connection((host, int(port)), source_address=(source, 0))
            for source in ("127.0.0.2", "127.0.0.3", "127.0.0.4")
        ]
        try:
            slow[2].settimeout(10)
            assert slow[2].recv(1) == b""
        finally:
            for sock in slow:
                sock.close()

    def test_slow_peers_of_one_host_do_not_keep_others_out(self, net: Net) -> None:
        server = net.serve(limits=ListenerLimits(pending=4, pending_per_host=1, seconds=30))
        host, port = server.address.rsplit(":", 1)
        source = ("127.0.0.2", 0)
        with (
            socket.create_connection((host, int(port)), source_address=source),
            socket.create_connection((host, int(port)), source_address=source) as second,
        ):
            second.settimeout(10)
            assert second.recv(1) == b""
            assert call(net.dial(server), "Who") == b"acme-worker"

    def test_slow_peers_are_dropped(self, net: Net) -> None:
        server = net.serve(limits=ListenerLimits(seconds=0.1))
        host, port = server.address.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"\x16\x03\x01")  # a TLS record begins, and never ends
            slow.settimeout(10)
            assert slow.recv(1) == b""
        assert net.refusal.wait(10)
        assert isinstance(net.refused[0], PeerUnreachable)
        assert "in time" in net.refused[0].seen

    def test_stop_does_not_wait_for_slow_peers(self, net: Net) -> None:
        server = net.serve(limits=ListenerLimits(seconds=600))
        host, port = server.address.rsplit(":", 1)
        with socket.create_connection((host, int(port))):
            server.stop()

    def test_nothing_is_left_open(self, net: Net) -> None:
        def files() -> int:
            return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

        def once() -> None:
            server = net.serve()
            channel = net.dial(server)
            call(channel, "Who")
            channel.reattest()
            channel.close()
            server.stop()

        once()  # gRPC opens what it keeps
        before = files()
        for _ in range(5):
            once()

        assert files() <= before + 2


class TestWhereANodeListens:
    @pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
    @pytest.mark.parametrize("listen", ["[::]:0", "0.0.0.0:0"])
    @pytest.mark.parametrize("dialled", ["127.0.0.1", "[::1]"])
    def test_both_ports_take_both_families(self, net: Net, listen: str, dialled: str) -> None:
        port = net.serve(listen=listen).address.rpartition(":")[2]

        with AttestedChannel(
            net.world.trust("acme-worker"), f"{dialled}:{port}", "ps0", LIMIT, patience_seconds=10
        ) as channel:
            assert call(channel, "Who") == b"acme-worker"

    def test_a_name_with_several_addresses_has_one_for_both_ports(self, net: Net) -> None:
        port = net.serve(listen="localhost:0").address.rpartition(":")[2]

        with AttestedChannel(
            net.world.trust("acme-worker"), f"127.0.0.1:{port}", "ps0", LIMIT, patience_seconds=10
        ) as channel:
            assert call(channel, "Who") == b"acme-worker"

    def test_the_last_port_is_refused_since_two_are_needed(self, net: Net) -> None:
        with pytest.raises(ContractInvalid, match="cannot listen at") as error:
            net.serve(listen="127.0.0.1:65535")
        assert "65534" in error.value.expected

    def test_a_proxy_in_the_environment_is_not_asked(
        self, net: Net, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")

        assert call(net.dial(net.serve()), "Who") == b"acme-worker"
