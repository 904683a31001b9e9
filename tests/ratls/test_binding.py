"""gRPC's own TLS is not enough to call: only 1.3, and only with the token of an attested session."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import timedelta

import grpc
import pytest
from cryptography import x509
from OpenSSL import SSL

from coterie import grpc_settings
from coterie.errors import CallRefused
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.link import SESSION_KEY
from coterie.ratls.peer import Peer
from coterie.ratls.transport import error_of
from tests.conftest import REPOSITORY
from tests.ratls.net import Net, call, raw, thief


def handshake(port: int, identity: NodeIdentity, peer: Peer, version: int) -> SSL.Connection:
    """A client of gRPC's port with a node's own key, of one version of TLS."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_alpn_protos([b"h2"])
    context.use_certificate(x509.load_der_x509_certificate(identity.certificate_der))
    context.use_privatekey(identity.private_key)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        connection = SSL.Connection(context, sock)
        connection.set_tlsext_host_name(peer.dns_name.encode())
        connection.set_connect_state()
        connection.do_handshake()
        connection.recv(1)  # in TLS 1.3 a client is done before the server has judged it
        return connection


def test_tls_1_2_is_refused_at_the_grpc_port(net: Net) -> None:
    trust = net.world.trust("acme-worker")
    channel = net.dial(net.serve(), trust)
    port, identity = channel.peer.grpc_port, trust.credentials.current().identity
    connection = handshake(port, identity, channel.peer, SSL.TLS1_3_VERSION)
    assert connection.get_protocol_version_name() == "TLSv1.3"
    for version in (SSL.TLS1_2_VERSION, SSL.TLS1_1_VERSION):
        with pytest.raises(SSL.Error):
            handshake(port, identity, channel.peer, version)
    assert call(channel, "Who") == b"acme-worker"


def test_a_client_of_ours_does_not_speak_tls_1_2_either(net: Net) -> None:
    identity = net.world.trust("ps0").credentials.current().identity
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate(x509.load_der_x509_certificate(identity.certificate_der))
    context.use_privatekey(identity.private_key)
    context.set_alpn_select_callback(lambda _, __: b"h2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        channel = grpc.secure_channel(
            f"127.0.0.1:{server.getsockname()[1]}",
            grpc.ssl_channel_credentials(identity.certificate_pem),
            (("grpc.ssl_target_name_override", identity.dns_name),),
        )
        with channel:
            called = channel.unary_unary("/test.S/Who", raw, raw).future(b"", wait_for_ready=True)
            sock, _ = server.accept()
            with sock:
                connection = SSL.Connection(context, sock)
                connection.set_accept_state()
                with pytest.raises(SSL.Error):
                    connection.do_handshake()
            assert not called.done()


@pytest.mark.system
@pytest.mark.parametrize(
    ("first", "expected"), [("coterie", "served"), ("grpc", "EnvironmentUnfit")]
)
def test_a_process_that_loaded_grpc_first_serves_nobody(first: str, expected: str) -> None:
    script = (
        f"import {first}\n"
        "import coterie, grpc\n"
        "from coterie import errors, grpc_settings\n"
        "try:\n"
        "    grpc_settings.check()\n"
        "    print('served')\n"
        "except errors.CoterieError as error:\n"
        "    print(type(error).__name__)\n"
    )
    kept = {key: value for key, value in os.environ.items() if key != grpc_settings.SUITES}
    finished = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**kept, "PYTHONPATH": f"{REPOSITORY}/src"},
    )
    assert finished.stdout.strip() == expected


def who(channel: grpc.Channel, *tokens: bytes) -> bytes:
    metadata = tuple((SESSION_KEY, token) for token in tokens)
    answer: bytes = channel.unary_unary("/test.S/Who", raw, raw)(b"", timeout=10, metadata=metadata)
    return answer


def refused(channel: grpc.Channel, *tokens: bytes) -> CallRefused:
    with pytest.raises(grpc.RpcError) as caught:
        who(channel, *tokens)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    error = error_of(caught.value)
    assert isinstance(error, CallRefused)
    return error


def test_a_stolen_key_alone_makes_no_calls(net: Net) -> None:
    server, acme = net.serve(), net.world.trust("acme-worker")
    channel = net.dial(server, acme)
    other = net.dial(server, net.world.trust("bolt-worker"))
    assert call(channel, "Who") == b"acme-worker"
    identity = acme.credentials.current().identity
    with thief(channel.peer, identity) as stolen:
        none = refused(stolen)
        assert (none.what, none.seen) == ("a call is of no attested session", "none")
        assert refused(stolen, bytes(32)).seen == "another one"
        assert refused(stolen, b"").seen == "none"
        another = refused(stolen, other.peer.call_token)
        assert another.what == "what comes with the key of acme-worker is of no attested session"
        own = channel.peer.call_token
        assert refused(stolen, own, own).seen == "none"  # once, or not at all
        assert who(stolen, own) == b"acme-worker"


def test_both_ends_of_a_session_know_one_token_and_no_other_session_has_it(net: Net) -> None:
    server, trust = net.serve(), net.world.trust("acme-worker")
    first, second = net.dial(server, trust), net.dial(server, trust)
    assert len({first.peer.call_token, second.peer.call_token}) == 2
    assert {len(one.peer.call_token) for one in (first, second)} == {32}
    assert call(first, "Who") == call(second, "Who") == b"acme-worker"
    assert first.peer.call_token.hex() not in repr(first.peer)
    assert [peer.call_token for peer in server.peers] == [second.peer.call_token]


def test_the_token_of_a_session_that_has_run_out_is_worth_nothing(net: Net) -> None:
    server, trust = net.serve(), net.world.trust("acme-worker")
    channel = net.dial(server, trust)
    old = channel.peer
    net.world.clock.advance(timedelta(minutes=50))
    assert call(channel, "Who") == b"acme-worker"
    assert channel.peer.certificate_sha256 == old.certificate_sha256
    with thief(channel.peer, trust.credentials.current().identity) as stolen:
        assert who(stolen, old.call_token) == b"acme-worker"
        net.world.clock.advance(timedelta(minutes=11))
        refused(stolen, old.call_token)
        assert who(stolen, channel.peer.call_token) == b"acme-worker"
