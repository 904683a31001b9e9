"""Data connections of attested nodes, on real sockets: who may have one, and for how long."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from coterie.address import Address
from coterie.errors import CallRefused, HandshakeFailed, PeerUnreachable
from coterie.ratls.channel import AttestedChannel
from coterie.ratls.data_connections import ALPN, DataConnection, connect_data
from coterie.ratls.deadline import Deadline
from coterie.ratls.handshake import AttestedPeer, dial
from coterie.ratls.server import AttestedServer
from coterie.ratls.session_proof import PROOF_BYTES
from coterie.ratls.tls import TlsConnection
from coterie.ratls.tls_stream import TlsStream
from coterie.ratls.trust import TrustContext
from tests.ratls.test_tls_stream import received

if TYPE_CHECKING:
    from tests.ratls.net import Net

pytestmark = pytest.mark.long
SECONDS = 20.0


class Names:
    """Answers every message of five bytes with the caller's name."""

    def __init__(self) -> None:
        self.taken: list[DataConnection] = []
        self._threads: list[threading.Thread] = []

    def take(self, connection: DataConnection) -> None:
        self.taken.append(connection)
        thread = threading.Thread(target=self._serve, args=(connection,))
        self._threads.append(thread)
        thread.start()

    def stop(self, grace: float) -> None:
        del grace
        for connection in self.taken:
            connection.stream.abort()
        for thread in self._threads:
            thread.join()

    def _serve(self, connection: DataConnection) -> None:
        stream = connection.stream
        while stream.wait():
            try:
                received(stream, 5)
                stream.send((connection.admitted().node.encode(),), Deadline.after(SECONDS))
            except (PeerUnreachable, CallRefused):
                break
        stream.close()


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def server(net: Net, names: Names) -> AttestedServer:
    return net.serve(data=names)


def ask(stream: TlsStream, name: str = "acme-worker") -> str:
    stream.send((b"who I",), Deadline.after(SECONDS))
    return received(stream, len(name)).decode()


def attested(server: AttestedServer, trust: TrustContext) -> AttestedPeer:
    return dial(Address.parse(server.address), "ps0", trust)


def connect(
    server: AttestedServer, trust: TrustContext, standing: AttestedPeer | None = None
) -> TlsStream:
    return connect_data(
        standing or attested(server, trust),
        Address.parse(server.address),
        at=trust.clock(),
        seconds=SECONDS,
    )


def call(channel: AttestedChannel) -> str:
    with channel.data_connection() as stream:
        return ask(stream)


class TestAttestedNodes:
    def test_are_known_by_name(self, net: Net, server: AttestedServer) -> None:
        acme, bolt = net.dial(server), net.dial(server, net.world.trust("bolt-worker"))
        assert call(acme) == "acme-worker"
        with bolt.data_connection() as stream:
            assert ask(stream, "bolt-worker") == "bolt-worker"

    def test_use_one_connection_for_many_calls(
        self, net: Net, server: AttestedServer, names: Names
    ) -> None:
        channel = net.dial(server)
        assert [call(channel) for _ in range(3)] == ["acme-worker"] * 3
        assert len(names.taken) == 1

    def test_have_one_for_each_call_under_way(
        self, net: Net, server: AttestedServer, names: Names
    ) -> None:
        channel = net.dial(server)
        with channel.data_connection() as first, channel.data_connection() as second:
            assert ask(second) == ask(first) == "acme-worker"
        assert len(names.taken) == 2

    def test_get_another_one_when_a_call_has_failed(
        self, net: Net, server: AttestedServer, names: Names
    ) -> None:
        channel = net.dial(server)
        before = channel.peer.attested_at
        with pytest.raises(ZeroDivisionError), channel.data_connection():
            raise ZeroDivisionError
        net.world.clock.advance(timedelta(seconds=1))
        assert call(channel) == "acme-worker"
        assert len(names.taken) == 2
        assert channel.peer.attested_at > before, "whoever answers is attested again"

    def test_get_another_one_if_the_server_has_closed_it(
        self, net: Net, server: AttestedServer, names: Names
    ) -> None:
        channel = net.dial(server)
        call(channel)
        names.stop(0)  # joins the thread that closes it
        assert call(channel) == "acme-worker"
        assert len(names.taken) == 2

    def test_stop_waiting_when_their_channel_closes(self, net: Net, server: AttestedServer) -> None:
        channel = net.dial(server)
        ended: list[bool] = []
        taken = threading.Event()

        def wait() -> None:
            with channel.data_connection() as stream:
                taken.set()
                ended.append(stream.wait())

        thread = threading.Thread(target=wait)
        thread.start()
        assert taken.wait(SECONDS)
        channel.close()
        thread.join()
        assert ended == [False]


class TestRefused:
    def test_is_who_was_not_attested(self, net: Net, server: AttestedServer) -> None:
        """It has a certificate with evidence, and no handshake of this server's."""
        standing = attested(server, net.world.trust("acme-worker"))
        bolt = net.world.trust("bolt-worker")
        other = replace(standing, credentials=bolt.credentials.current())
        with pytest.raises((HandshakeFailed, PeerUnreachable)):
            ask(connect(server, bolt, other))
        assert net.refusal.wait(SECONDS)
        assert isinstance(net.refused[0], CallRefused)
        assert net.refused[0].what == "the caller's certificate is not attested here"

    def test_is_a_thief_of_a_key(self, net: Net, server: AttestedServer, names: Names) -> None:
        trust = net.world.trust("acme-worker")
        standing = attested(server, trust)
        stolen = replace(standing, peer=replace(standing.peer, call_token=bytes(32)))
        with pytest.raises(PeerUnreachable, match="broke the handshake off"):
            connect(server, trust, stolen)
        assert net.refusal.wait(SECONDS)
        assert isinstance(net.refused[0], CallRefused)
        assert net.refused[0].what == (
            "what comes with the key of acme-worker is of no attested session"
        )
        assert not names.taken

    def test_is_a_listener_with_another_certificate(self, net: Net, server: AttestedServer) -> None:
        trust = net.world.trust("acme-worker")
        standing = attested(server, trust)
        other = net.world.trust("bolt-worker").credentials.current().identity.certificate_der
        expects = replace(standing, peer=replace(standing.peer, certificate_der=other))
        with pytest.raises(HandshakeFailed) as refused:
            connect(server, trust, expects)
        assert refused.value.what == (
            "the attestation port of ps0 does not show the certificate that was attested"
        )

    def test_is_a_listener_who_knows_no_session(self, net: Net, names: Names) -> None:
        """A thief of the server's key answers in its place."""
        trust, server = net.world.trust("acme-worker"), net.world.trust("ps0")
        standing = attested(net.serve(server, data=names), trust)
        with thief(server, standing) as address, pytest.raises(HandshakeFailed) as refused:
            connect_data(standing, address, at=trust.clock(), seconds=SECONDS)
        assert refused.value.what == (
            "who answers with the key of ps0 knows of no attested session with this node"
        )

    def test_is_a_call_after_the_session_has_run_out(
        self, net: Net, server: AttestedServer, names: Names
    ) -> None:
        trust = net.world.trust("acme-worker")
        stream = connect(server, trust)
        assert ask(stream) == "acme-worker"
        net.world.clock.advance(timedelta(days=400))
        (connection,) = names.taken
        with pytest.raises(CallRefused, match="the attestation of acme-worker has expired"):
            connection.admitted()
        stream.close()

    def test_is_an_older_incarnation_once_a_newer_one_has_come(
        self, net: Net, server: AttestedServer, names: Names
    ) -> None:
        stream = connect(server, net.world.trust("acme-worker", incarnation=1))
        assert ask(stream) == "acme-worker"
        attested(server, net.world.trust("acme-worker", incarnation=2))
        (connection,) = names.taken
        with pytest.raises(CallRefused, match="certificate is not attested here"):
            connection.admitted()
        stream.close()

    def test_is_everybody_where_no_call_needs_data_connections(self, net: Net) -> None:
        trust = net.world.trust("acme-worker")
        with pytest.raises(HandshakeFailed, match="no application protocol"):
            connect(net.serve(), trust)
        assert net.refusal.wait(SECONDS)
        assert isinstance(net.refused[0], HandshakeFailed)
        assert net.refused[0].seen == ALPN.decode()


@contextmanager
def thief(server: TrustContext, standing: AttestedPeer) -> Iterator[Address]:
    """Answers with the server's key, and proves a session that there was not."""
    identity = server.credentials.current().identity
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        sock, _ = listening.accept()
        tls = TlsConnection(
            sock,
            identity,
            lambda _: standing.credentials.identity.spki_der,
            listener=True,
            at=server.clock(),
            deadline=Deadline.after(SECONDS),
            peer_name="the victim",
            alpn=ALPN,
            apart=[ALPN],
        )
        tls.handshake()
        tls.hear(PROOF_BYTES)
        tls.tell(bytes(PROOF_BYTES))
        tls.close_with_last_word()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield Address("127.0.0.1", listening.getsockname()[1])
    finally:
        thread.join()
        listening.close()
