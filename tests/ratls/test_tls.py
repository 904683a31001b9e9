"""The TLS layer by itself: one judged certificate per connection, TLS 1.3, nothing resumed."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL, crypto

from coterie.errors import CoterieError, EvidenceRefused, HandshakeFailed
from coterie.ratls.certificate import read_certificate
from coterie.ratls.deadline import Deadline
from coterie.ratls.issue import spki_der
from coterie.ratls.tls import ALPN, TlsConnection
from coterie.ratls.tls_context import Judge, _verifier

if TYPE_CHECKING:
    from tests.ratls.conftest import World

SECONDS = 10.0


def judged_key(der: bytes) -> bytes:
    return read_certificate(der).spki_der


def connection(
    world: World, sock: socket.socket, node: str, *, listener: bool, judge: Judge = judged_key
) -> TlsConnection:
    return TlsConnection(
        sock,
        world.trust(node).credentials.current().identity,
        judge,
        listener=listener,
        at=world.clock(),
        deadline=Deadline.after(SECONDS),
        peer_name="the peer",
    )


def together(first: Callable[[], None], second: Callable[[], None]) -> list[CoterieError | None]:
    """How both ends of a connection end, each on a thread of its own."""
    ends: list[CoterieError | None] = [None, None]

    def run(place: int, end: Callable[[], None]) -> None:
        try:
            end()
        except CoterieError as error:
            ends[place] = error

    thread = threading.Thread(target=run, args=(1, second))
    thread.start()
    run(0, first)
    thread.join()
    return ends


@pytest.mark.parametrize("judging", ["dialler", "listener"])
def test_the_key_that_was_judged_must_be_the_one_that_tls_uses(world: World, judging: str) -> None:
    """Two parsers that see two keys in one certificate are being played with."""
    other = spki_der(ec.generate_private_key(ec.SECP256R1()).public_key())
    left, right = socket.socketpair()
    with left, right:
        ends = {
            side: connection(
                world,
                sock,
                node,
                listener=side == "listener",
                judge=(lambda _: other) if side == judging else judged_key,
            )
            for side, sock, node in (("dialler", left, "acme-worker"), ("listener", right, "ps0"))
        }

        def handshake(side: str) -> Callable[[], None]:
            def run() -> None:
                ends[side].handshake()
                if side != judging:
                    ends[side].receive()  # a dialler is done before the listener has judged it

            return run

        mine, theirs = together(
            handshake(judging), handshake("listener" if judging == "dialler" else "dialler")
        )
    assert isinstance(mine, EvidenceRefused)
    assert mine.failed_check == "certificate_chain"
    assert isinstance(theirs, HandshakeFailed)


def test_one_connection_has_one_certificate(world: World) -> None:
    """OpenSSL tells of each finding on a certificate; it must be the one that was judged."""
    shown = [
        crypto.load_certificate(
            crypto.FILETYPE_ASN1, world.trust(node).credentials.current().identity.certificate_der
        )
        for node in ("acme-worker", "bolt-worker")
    ]
    judged: list[bytes] = []

    def judge(der: bytes) -> bytes:
        judged.append(der)
        return judged_key(der)

    verify = _verifier({ALPN: judge})
    idle = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    assert verify(idle, shown[0], 18, 0, 0)
    assert verify(idle, shown[0], 0, 0, 1), "told again of the same one"
    with pytest.raises(EvidenceRefused) as refusal:
        verify(idle, shown[1], 0, 0, 1)
    assert refusal.value.failed_check == "certificate_chain"
    assert len(judged) == 1


def test_a_server_that_agrees_on_no_protocol_is_not_spoken_to(world: World) -> None:
    """It has a good certificate, but ignores the name of the exchange."""
    identity = world.trust("ps0").credentials.current().identity
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(x509.load_der_x509_certificate(identity.certificate_der))
    context.use_privatekey(identity.private_key)
    left, right = socket.socketpair()
    with left, right:
        server = SSL.Connection(context, right)
        server.set_accept_state()
        dialler = connection(world, left, "acme-worker", listener=False)
        refused, served = together(dialler.handshake, server.do_handshake)
    assert served is None
    assert isinstance(refused, HandshakeFailed)
    assert refused.what == "the peer does not speak Coterie's attested handshake"
    assert refused.seen == "nothing"


def test_no_session_can_be_resumed(world: World, tmp_path: Path) -> None:
    """A resumed session would skip the judging; what OpenSSL gives out for it opens nothing."""
    identity = world.trust("acme-worker").credentials.current().identity
    chain = tmp_path / "node.pem"
    chain.write_bytes(identity.private_key_pem() + identity.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(chain)
    context.set_alpn_protocols([ALPN.decode()])
    judged: list[bytes] = []

    def judge(der: bytes) -> bytes:
        judged.append(der)
        return judged_key(der)

    def visit(session: ssl.SSLSession | None) -> ssl.SSLSession | None:
        left, right = socket.socketpair()
        with left, right:
            listener = connection(world, right, "ps0", listener=True, judge=judge)

            def serve() -> None:
                listener.handshake()
                listener.send(b"after the tickets")

            thread = threading.Thread(target=serve)
            thread.start()
            with context.wrap_socket(left, session=session) as client:
                assert client.recv(64)
                thread.join()
                assert not client.session_reused
                return client.session

    visit(visit(None))
    assert len(judged) == 2
