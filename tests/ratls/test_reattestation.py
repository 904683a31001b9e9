"""Attesting anew while calls go on: before pins expire, over renewed keys, after restarts."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import grpc
import pytest

from coterie.errors import EvidenceRefused
from coterie.ratls.link import SESSION_KEY
from faults.loopback import free_address
from tests.ratls.net import Net, call, raw

pytestmark = pytest.mark.long


class TestReattestation:
    def test_happens_by_itself_before_the_pin_expires(self, net: Net) -> None:
        channel = net.dial(net.serve())
        first = channel.peer
        who = channel.channel.unary_unary("/test.S/Who", raw, raw)
        assert who(b"") == b"acme-worker"

        for _ in range(4):
            net.world.clock.advance(timedelta(minutes=46))
            assert who(b"") == b"acme-worker"

        assert channel.peer.attested_at > first.attested_at + timedelta(hours=3)

    @pytest.mark.parametrize(
        ("minutes", "start", "step", "steps"),
        [
            (1, timedelta(), timedelta(seconds=4), 60),
            # Certificates live twelve hours, so both sides renew their keys on the way; the clock
            # runs from the past to now, since gRPC judges validity by the machine's clock.
            (60, timedelta(hours=-11, minutes=-40), timedelta(minutes=5), 139),
        ],
        ids=["pins of one minute", "keys are renewed"],
    )
    def test_calls_go_on_meanwhile(
        self, net: Net, minutes: int, start: timedelta, step: timedelta, steps: int
    ) -> None:
        """Two threads call without pause, and one call lasts from the start to the end."""
        net.world.clock.advance(start)
        contract = net.world.changed("trust", "reattestation_minutes", value=minutes)
        channel = net.dial(
            net.serve(net.world.trust("ps0", contract=contract)),
            net.world.trust("acme-worker", contract=contract),
        )
        first = channel.peer
        who = channel.channel.unary_unary("/test.S/Who", raw, raw)
        lasting = channel.channel.unary_unary("/test.S/Wait", raw, raw).future(b"kept")
        assert net.service.entered.wait(10)
        enough, called, failures = threading.Event(), threading.Semaphore(0), list[Exception]()

        def train() -> None:
            while not enough.is_set():
                try:
                    assert who(b"") == b"acme-worker"
                except Exception as error:  # noqa: BLE001 (shown below)
                    failures.append(error)
                    enough.set()
                called.release()

        threads = [threading.Thread(target=train) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(steps):
            net.world.clock.advance(step)
            while called.acquire(blocking=False):
                pass  # calls of before do not count: no step may pass without any
            for _ in range(6):
                assert called.acquire(timeout=30), failures
        enough.set()
        for thread in threads:
            thread.join()
        net.service.leave.set()

        assert failures == []
        assert lasting.result() == b"kept"
        assert channel.peer.attested_at - first.attested_at >= step * steps * 3 / 4
        assert (channel.peer.spki_sha256 != first.spki_sha256) == (minutes == 60)

    def test_survives_the_renewal_of_both_keys(self, net: Net) -> None:
        """Certificates live twelve hours here: both sides renew their keys on the way.

        The clock runs from the past to now, since gRPC judges validity by the machine's clock.
        """
        net.world.clock.advance(timedelta(hours=-11, minutes=-40))
        channel = net.dial(net.serve())
        first = channel.peer
        who = channel.channel.unary_unary("/test.S/Who", raw, raw)

        for _ in range(16):
            net.world.clock.advance(timedelta(minutes=43))
            assert who(b"") == b"acme-worker"

        assert channel.peer.spki_sha256 != first.spki_sha256
        assert channel.peer.incarnation == first.incarnation

    def test_a_renewed_server_still_shows_its_old_certificate_to_whom_has_it_pinned(
        self, net: Net
    ) -> None:
        net.world.clock.advance(timedelta(hours=-11, minutes=-30))
        server_trust, worker = net.world.trust("ps0"), net.world.trust("acme-worker")
        net.world.clock.advance(timedelta(hours=10, minutes=35))
        channel = net.dial(net.serve(server_trust), worker)
        pinned, shown = channel.peer, worker.credentials.current().identity
        net.world.clock.advance(timedelta(minutes=30))
        renewed = server_trust.credentials.current().identity
        assert renewed.certificate.sha256 != pinned.certificate_sha256

        with grpc.secure_channel(
            f"127.0.0.1:{pinned.grpc_port}",
            grpc.ssl_channel_credentials(
                pinned.certificate_pem, shown.private_key_pem(), shown.certificate_pem
            ),
            (("grpc.ssl_target_name_override", pinned.dns_name),),
        ) as reconnected:
            who = reconnected.unary_unary("/test.S/Who", raw, raw)
            token = ((SESSION_KEY, pinned.call_token),)
            assert who(b"", timeout=10, metadata=token) == b"acme-worker"

    def test_does_not_lose_a_call_under_way(self, net: Net) -> None:
        channel = net.dial(net.serve())
        waiting = channel.channel.unary_unary("/test.S/Wait", raw, raw).future(b"kept")
        assert net.service.entered.wait(10)

        channel.reattest()
        assert call(channel, "Who") == b"acme-worker"
        net.service.leave.set()

        assert waiting.result() == b"kept"

    def test_a_server_that_came_back_is_attested_anew(self, net: Net) -> None:
        address = free_address()
        server = net.serve(listen=address)
        channel = net.dial(server)
        assert call(channel, "Who") == b"acme-worker"
        server.stop()
        net.serve(listen=address)

        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "Who")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

        assert call(channel, "Who") == b"acme-worker"

    def test_an_older_server_that_came_back_is_refused(self, net: Net) -> None:
        address = free_address()
        server = net.serve(net.world.trust("ps0", incarnation=5), listen=address)
        channel = net.dial(server)
        server.stop()
        net.serve(net.world.trust("ps0", incarnation=4), listen=address)

        with pytest.raises(EvidenceRefused) as caught:
            channel.reattest()

        assert caught.value.failed_check == "incarnation"

    def test_an_absent_server_does_not_matter_as_long_as_the_pin_holds(self, net: Net) -> None:
        """Its attestation port is gone; its gRPC port still serves."""
        server = net.serve()
        channel = net.dial(server)
        assert server._listener is not None
        server._listener.stop()
        server._listener = None
        net.world.clock.advance(timedelta(minutes=50))

        assert call(channel, "Who") == b"acme-worker"

    def test_an_attestation_port_that_says_nothing_holds_up_one_call_at_most(
        self, net: Net
    ) -> None:
        server = net.serve()
        channel = net.dial(server)
        assert server._listener is not None
        server._listener.stop()
        server._listener = None
        net.world.clock.advance(timedelta(minutes=50))
        host, port = server.address.rsplit(":", 1)
        with (
            socket.create_server((host, int(port))) as silent,
            ThreadPoolExecutor(1) as pool,
        ):
            first = pool.submit(call, channel, "Who")
            dialled, _ = silent.accept()
            with dialled:
                for _ in range(5):
                    assert call(channel, "Who") == b"acme-worker"
                assert channel.peer.node == "ps0"
                assert not first.done()
            assert first.result(30) == b"acme-worker"

    def test_a_server_with_other_code_is_refused(self, net: Net) -> None:
        address = free_address()
        server = net.serve(listen=address)
        channel = net.dial(server, waiter=lambda _: False, patience_seconds=0)
        server.stop()
        net.serve(net.world.trust("ps0", measurement=b"\x66" * 32), listen=address)

        with pytest.raises(EvidenceRefused) as caught:
            channel.reattest()

        assert caught.value.failed_check == "mrenclave"
