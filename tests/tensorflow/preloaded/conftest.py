"""One node's attested layer, and peers that dial it. The process has the native part in front of libc."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from OpenSSL import SSL

from coterie.address import Address
from coterie.errors import CoterieError
from coterie.ratls.handshake import AttestedPeer, dial
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.peer import Peer
from coterie.ratls.trust import TrustContext
from coterie.tensorflow.native import Native
from coterie.tensorflow.sockets import AttestedSockets, Ports
from tests.ratls.conftest import World
from tests.tensorflow.preloaded.calling import Caller

ALPN, BACK = b"coterie-tf/2", b"coterie-tf-back/2"
HEAD = b"\x17\x03\x03\x00\x20"  # of a proof
ACME = 1  # acme-worker's place among the contract's nodes


@pytest.fixture(scope="session")
def tensorflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose files the native part takes for TensorFlow's."""
    return tmp_path_factory.mktemp("tensorflow")


@pytest.fixture(scope="session")
def native(tensorflow: Path) -> Iterator[Native]:
    armed = Native(tensorflow, 0)
    yield armed
    armed.close()


@pytest.fixture(scope="session")
def caller(native: Native, tensorflow: Path) -> Caller:
    return Caller(tensorflow)


@pytest.fixture
def world() -> World:
    return World()


class Layer:
    """ps0's attested layer; workers only dial out."""

    def __init__(self, world: World, native: Native, places: dict[str, Address]) -> None:
        self.world = world
        self.native = native
        self.ports = Ports.bind(Address("127.0.0.1", 0))
        self.attestation = Address(*self.ports.attestation.getsockname())
        self.data = Address(*self.ports.data.getsockname())
        self.refusals: list[CoterieError] = []
        self.admitted: list[Peer] = []
        self._changed = threading.Condition()
        self.sockets = AttestedSockets(
            world.trust("ps0"),
            native,
            places,
            self.ports,
            inspection=None,  # these peers speak no HTTP/2
            attested=self._admit,
            refused=self._refuse,
        )

    def _admit(self, peer: Peer) -> None:
        with self._changed:
            self.admitted.append(peer)
            self._changed.notify_all()

    def _refuse(self, _: str, error: CoterieError, __: int) -> None:
        with self._changed:
            self.refusals.append(error)
            self._changed.notify_all()

    def refusal(self, *kinds: type[CoterieError]) -> CoterieError:
        """Waits for a refusal of some kind."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: [one for one in self.refusals if isinstance(one, kinds)], timeout=20
            )
        assert found, self.refusals
        return found[0]

    def wait_admitted(self) -> Peer:
        """Waits for an attested peer."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.admitted, timeout=20)
        return self.admitted[-1]

    def attest(self, trust: TrustContext) -> AttestedPeer:
        """Has a worker attest itself and ps0."""
        return dial(self.attestation, "ps0", trust)


@pytest.fixture
def layer(world: World, native: Native) -> Iterator[Layer]:
    made = Layer(world, native, {})
    with made.sockets:
        yield made


def proof(tls: SSL.Connection, side: bytes, token: bytes) -> bytes:
    """What one side shows of a session's token."""
    exported = tls.export_keying_material(b"EXPORTER-coterie-tf-2", 32)
    return hmac.digest(token, side + exported, "sha256")


class Line:
    """A TLS connection to the data port: an attested peer's, or of whoever has no more than a key."""

    def __init__(
        self,
        at: Address,
        shown: AttestedPeer | NodeIdentity | None,
        *,
        alpn: bytes | None = ALPN,
        version: int = SSL.TLS1_3_VERSION,
    ) -> None:
        self.socket = socket.create_connection((at.host, at.port), timeout=20)
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(version)
        if alpn is not None:
            context.set_alpn_protos([alpn])
        self.token: bytes | None = None
        self.answer = b""
        identity = shown.credentials.identity if isinstance(shown, AttestedPeer) else shown
        if isinstance(shown, AttestedPeer):
            self.token = shown.peer.call_token
        if identity is not None:
            from cryptography import x509

            context.use_certificate(x509.load_der_x509_certificate(identity.certificate_der))
            context.use_privatekey(identity.private_key)
        self.socket.settimeout(None)
        self.tls = SSL.Connection(context, self.socket)
        self.tls.set_connect_state()

    def shake_hands(self) -> Line:
        self.tls.do_handshake()
        if self.token is not None:
            # Who refuses may be gone before it reads the proof, and the connection is reset then.
            with contextlib.suppress(ConnectionError):
                self.say(proof(self.tls, b"dialler", self.token))
                self.answer = self.socket.recv(5 + 32, socket.MSG_WAITALL)
        return self

    def say(self, shown: bytes) -> None:
        """Shows a proof, or what is none."""
        self.socket.sendall(HEAD + shown)

    def shown(self) -> bytes:
        """SHA-256 of the certificate that the other side showed."""
        certificate = self.tls.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        from cryptography.hazmat.primitives.serialization import Encoding

        return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()

    def wait_end(self) -> None:
        """Waits until the other side has ended the connection."""
        poll = select.poll()
        poll.register(self.socket, select.POLLRDHUP)
        assert poll.poll(20_000), "the connection is still open"

    def is_open(self) -> bool:
        poll = select.poll()
        poll.register(self.socket, select.POLLRDHUP)
        return not poll.poll(0)

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def line(layer: Layer) -> Iterator[Callable[..., Line]]:
    lines: list[Line] = []

    def make(shown: AttestedPeer | NodeIdentity | None, **options: object) -> Line:
        lines.append(Line(layer.data, shown, **options))  # type: ignore[arg-type]
        return lines[-1]

    yield make
    for one in lines:
        one.close()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits for what another thread does and does not tell."""
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, what
        select.select([], [], [], 0.01)
