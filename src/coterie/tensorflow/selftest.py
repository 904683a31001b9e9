"""The self-test before a program runs: a canary that TensorFlow sends must leave only within TLS.

A session is opened to a virtual address that belongs to this test instead of a node. The test holds
the other end of the connection. It sees the raw bytes and, since it terminates the TLS, the
decrypted ones. The canary, the name of an operation, must be in the decrypted bytes and not in the
raw ones. TensorFlow's eager state is not touched.
"""

from __future__ import annotations

import secrets
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from cryptography import x509
from OpenSSL import SSL

from coterie.errors import CoterieError, EnvironmentUnfit
from coterie.ratls.deadline import Deadline
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.session_proof import showing_only
from coterie.tensorflow.cluster import virtual_address
from coterie.tensorflow.connections import ALPN, DataConnection
from coterie.tensorflow.native import CANARY_NODE, Native, not_in_front

_EMPTY_SETTINGS = bytes(
    [0, 0, 0, 4, 0, 0, 0, 0, 0]
)  # empty SETTINGS, which an HTTP/2 server sends first (RFC 9113, 3.4 and 6.5)
# RST_STREAM (RFC 9113, 6.4) of the only call.
_CANCEL = bytes([0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8])
_PREFACE = b"PRI * HTTP/2.0"
_SECONDS = 20.0
_READ_BYTES = 1 << 16
_MOST_BYTES = 1 << 20


_unfit = partial(
    EnvironmentUnfit,
    "the self-test of TensorFlow's connections failed, so nothing runs here",
    expected="a canary that leaves this process inside of TLS",
    remedy="run `coterie tensorflow build`, and use a TensorFlow release that the documentation names",
)


@dataclass(frozen=True)
class Heard:
    """The bytes that came through the connection.

    Attributes:
        raw: The bytes as they left the process.
        meant: The decrypted bytes.
    """

    raw: bytes
    meant: bytes


def self_test(native: Native, identity: NodeIdentity, at: datetime) -> None:
    """Tests that TensorFlow's connections pass through the native part, and leave it in TLS.

    Args:
        native: The native part, armed.
        identity: Any identity, for both ends of the test's connection.
        at: The time now, UTC.

    Raises:
        EnvironmentUnfit: They do not; no program may run in this process.
    """
    canary = f"canary_{secrets.token_hex(16)}"
    ours, theirs = socket.socketpair()
    with theirs:
        listener = _Listener(theirs, identity, canary.encode())
        connection = DataConnection(
            ours,
            identity,
            showing_only(identity.certificate_der, lambda: _unfit(seen="another certificate")),
            # OpenSSL's servers send session tickets, which data connections do not have.
            listener=True,
            at=at,
            deadline=Deadline.after(_SECONDS),
            peer_name="the self-test",
        )
        answering = threading.Thread(target=listener.run, name="self-test-listener")
        answering.start()
        try:
            _shake_hands(connection)
            connection.hand_over(native, CANARY_NODE, 1, to_dial=True)
            _send(canary, listener)
        finally:
            with suppress(OSError):
                theirs.shutdown(socket.SHUT_RDWR)
            answering.join()
    check(listener.heard, canary.encode())


def check(heard: Heard, canary: bytes) -> None:
    """Checks the received bytes.

    Raises:
        EnvironmentUnfit: The canary did not come, or came in plaintext.
    """
    if canary in heard.raw or _PREFACE in heard.raw:
        raise _unfit(seen="the canary in plaintext")
    if canary not in heard.meant:
        raise not_in_front()


def _shake_hands(connection: DataConnection) -> None:
    try:
        connection.handshake()
    except CoterieError as error:
        raise _unfit(seen=f"the test's own TLS handshake failed: {error.seen}") from error


def _send(canary: str, listener: _Listener) -> None:
    """Makes TensorFlow send a graph with the canary; ends when it arrived or TensorFlow gave up."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        fetched = tf.constant(0.0, name=canary)
    options = tf.compat.v1.ConfigProto(operation_timeout_in_ms=int(_SECONDS * 1000))
    target = f"grpc://{virtual_address(CANARY_NODE)}"

    def run() -> None:
        with suppress(tf.errors.OpError):  # the call itself is never answered
            session = tf.compat.v1.Session(target, graph=graph, config=options)
            session.run(fetched)

    sender = threading.Thread(target=run, name="self-test-sender")
    sender.start()
    listener.done.wait(_SECONDS)
    sender.join()


class _Listener:
    """The other end of the connection: terminates TLS in memory, so that it sees both sides."""

    def __init__(self, sock: socket.socket, identity: NodeIdentity, canary: bytes) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.use_certificate(x509.load_der_x509_certificate(identity.certificate_der))
        context.use_privatekey(identity.private_key)
        context.set_alpn_protos([ALPN])
        self._tls = SSL.Connection(context)
        self._tls.set_connect_state()
        self._socket = sock
        self._canary = canary
        self._raw = bytearray()
        self._meant = bytearray()
        self.done = threading.Event()

    @property
    def heard(self) -> Heard:
        """The bytes received so far."""
        return Heard(bytes(self._raw), bytes(self._meant))

    def run(self) -> None:
        """Answers until the connection ends."""
        greeted = False
        with suppress(OSError, SSL.Error):
            with suppress(SSL.WantReadError):
                self._tls.do_handshake()
            self._send()
            while (data := self._socket.recv(_READ_BYTES)) and len(self._raw) < _MOST_BYTES:
                self._raw += data
                self._tls.bio_write(data)
                with suppress(SSL.WantReadError):
                    self._tls.do_handshake()
                    while True:
                        self._meant += self._tls.recv(_READ_BYTES)
                if not greeted and self._meant.startswith(_PREFACE):
                    self._tls.sendall(_EMPTY_SETTINGS)
                    greeted = True
                if come := self._canary in self._meant:
                    self._tls.sendall(_CANCEL)
                self._send()
                if come or self._canary in self._raw:
                    break
        self.done.set()

    def _send(self) -> None:
        with suppress(SSL.WantReadError):  # no plaintext yet
            self._socket.sendall(self._tls.bio_read(_READ_BYTES))
