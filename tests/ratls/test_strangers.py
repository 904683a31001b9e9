"""Whoever is no node at all: without certificate, evidence, TLS 1.3, or anything to say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from coterie.address import Address
from coterie.errors import (
    CoterieError,
    EvidenceRefused,
    HandshakeFailed,
    PeerUnreachable,
)
from coterie.ratls.handshake import AttestedPeer, accept, dial
from coterie.ratls.tls import ALPN
from coterie.ratls.trust import TrustContext

if TYPE_CHECKING:
    from tests.ratls.conftest import World
from tests.ratls.conftest import GRPC_PORT, attested


def run_listener(
    trust: TrustContext, client: Callable[[Address], None], *, seconds: float = 5.0
) -> CoterieError | AttestedPeer:
    """Lets a foreign client meet a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=client, args=(Address(*server.getsockname()),))
        thread.start()
        sock, _ = server.accept()
        try:
            return attested(accept(sock, trust, lambda _: GRPC_PORT, seconds=seconds))
        except CoterieError as error:
            return error
        finally:
            thread.join()


def tls_client(
    *,
    version: int = SSL.TLS1_3_VERSION,
    certificate: x509.Certificate | None = None,
    alpn: bytes = ALPN,
) -> Callable[[Address], None]:
    def client(address: Address) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(version)
        context.set_alpn_protos([alpn])
        if certificate is not None:
            context.use_certificate(certificate)
            context.use_privatekey(STRANGER)
        with socket.create_connection((address.host, address.port)) as sock:
            connection = SSL.Connection(context, sock)
            connection.set_connect_state()
            try:
                connection.do_handshake()
                connection.recv(1)
            except SSL.Error:
                return

    return client


STRANGER = ec.generate_private_key(ec.SECP256R1())


def strangers_certificate(*, issuer: str, signer: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder()
        .subject_name(name("stranger"))
        .issuer_name(name(issuer))
        .public_key(STRANGER.public_key())
        .serial_number(7)
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
        .not_valid_after(datetime.now(UTC) + timedelta(hours=1))
        .sign(signer, hashes.SHA256())
    )


class TestStrangers:
    def test_a_peer_without_a_certificate(self, world: World) -> None:
        error = run_listener(world.trust("ps0"), tls_client())

        assert isinstance(error, EvidenceRefused)
        assert error.failed_check == "certificate_missing"

    def test_a_self_signed_certificate_without_evidence(self, world: World) -> None:
        certificate = strangers_certificate(issuer="stranger", signer=STRANGER)

        error = run_listener(world.trust("ps0"), tls_client(certificate=certificate))

        assert isinstance(error, EvidenceRefused)
        assert error.failed_check == "evidence_extension"

    def test_a_certificate_that_some_authority_signed(self, world: World) -> None:
        authority = ec.generate_private_key(ec.SECP256R1())
        certificate = strangers_certificate(issuer="authority", signer=authority)

        error = run_listener(world.trust("ps0"), tls_client(certificate=certificate))

        assert isinstance(error, EvidenceRefused)
        assert error.failed_check == "certificate_chain"

    def test_tls_1_2(self, world: World) -> None:
        client = tls_client(version=SSL.TLS1_2_VERSION)

        error = run_listener(world.trust("ps0"), client)

        assert isinstance(error, HandshakeFailed)

    def test_another_application_protocol(self, world: World) -> None:
        client = tls_client(alpn=b"h2")

        error = run_listener(world.trust("ps0"), client)

        assert isinstance(error, HandshakeFailed)
        assert "coterie-ra-tls/1" in error.expected

    @pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff"])
    def test_a_peer_that_speaks_no_tls_or_leaves(self, world: World, sent: bytes) -> None:
        def client(address: Address) -> None:
            with socket.create_connection((address.host, address.port)) as sock:
                sock.sendall(sent)

        error = run_listener(world.trust("ps0"), client)

        assert isinstance(error, HandshakeFailed | PeerUnreachable)

    def test_a_peer_that_says_nothing_is_dropped(self, world: World) -> None:
        dropped = threading.Event()

        def client(address: Address) -> None:
            with socket.create_connection((address.host, address.port)):
                dropped.wait()

        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=client, args=(Address(*server.getsockname()),))
            thread.start()
            sock, _ = server.accept()
            with pytest.raises(PeerUnreachable) as caught:
                accept(sock, world.trust("ps0"), lambda _: GRPC_PORT, seconds=0.05)
            dropped.set()
            thread.join()

        assert "in time" in caught.value.seen

    def test_nobody_listens(self, world: World) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = Address(*server.getsockname())

        with pytest.raises(PeerUnreachable) as caught:
            dial(address, "ps0", world.trust("acme-worker"))

        assert caught.value.remedy
