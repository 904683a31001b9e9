"""Records that cost this node more than their sender, and key updates that ask for an answer; the peer seals them itself."""

from __future__ import annotations

import array
import fcntl
import hmac
import os
import select
import socket
import termios
from collections.abc import Callable, Iterator

import pytest

from coterie.errors import MessageRefused
from coterie.ratls.deadline import Deadline
from coterie.ratls.session_proof import showing_only
from coterie.ratls.tls import TlsConnection
from coterie.tensorflow.native import Native
from tests.ratls.conftest import World
from tests.tensorflow.preloaded.calling import Caller
from tests.tensorflow.preloaded.conftest import ACME, ALPN, Layer, wait_until
from tests.tensorflow.preloaded.sealing import DATA, HANDSHAKE, UPDATE, Sealer

SPARE = 16
ALERT, UNEXPECTED_MESSAGE = 21, b"\2\x0a"


class Peer:
    """acme-worker, attested, of which the other end is in TensorFlow's hands."""

    def __init__(self, world: World, layer: Layer, native: Native, caller: Caller) -> None:
        attested = layer.attest(world.trust("acme-worker"))
        self.caller = caller
        self.socket = socket.create_connection((layer.data.host, layer.data.port), timeout=20)
        tls = TlsConnection(
            self.socket,
            attested.credentials.identity,
            showing_only(attested.peer.certificate_der, lambda: MessageRefused("another one")),
            listener=False,
            at=world.clock(),
            deadline=Deadline.after(20),
            peer_name="ps0",
            alpn=ALPN,
            apart=[ALPN],
        )
        tls.handshake()
        token, exported = attested.peer.call_token, tls.exporter(b"EXPORTER-coterie-tf-2", 32)
        tls.tell(hmac.digest(token, b"dialler" + exported, "sha256"))
        tls.hear(32)
        taken = tls.take()
        self.socket = taken.socket
        self.socket.settimeout(20)
        self.sealer, self._opener = Sealer(taken.sending), Sealer(taken.receiving)
        wait_until(lambda: native.unused(ACME) == 1, "it was not handed over")
        self.port = caller.listen()
        self.far = caller.accept(self.port, ACME)

    def send(self, *records: bytes) -> None:
        self.socket.sendall(b"".join(records))

    def open(self) -> tuple[int, bytes]:
        """The next record from the node."""
        head = self.socket.recv(5, socket.MSG_WAITALL)
        return self._opener.open(
            head + self.socket.recv(int.from_bytes(head[3:]), socket.MSG_WAITALL)
        )

    def use_next_keys(self) -> None:
        self._opener.update()

    def heard(self) -> bytes:
        """What TensorFlow reads, once there is something."""
        while True:
            try:
                return self.caller.receive(self.far)
            except BlockingIOError:
                poll = select.poll()
                poll.register(self.far, select.POLLIN)
                assert poll.poll(20_000), "nothing came"

    def waiting(self) -> int:
        """Bytes that the kernel holds for TensorFlow."""
        counted = array.array("i", [0])
        fcntl.ioctl(self.far, termios.FIONREAD, counted)
        return counted[0]

    def close(self) -> None:
        for descriptor in (self.far, self.port):
            os.close(descriptor)
        self.socket.close()


@pytest.fixture
def peer(world: World, layer: Layer, native: Native, caller: Caller) -> Iterator[Peer]:
    made = Peer(world, layer, native, caller)
    yield made
    made.close()


def test_the_record_layer_names_its_openssl_and_instructions(native: Native) -> None:
    path = native.aes_path()
    assert path.openssl.startswith(("OpenSSL 3.", "OpenSSL 4."))
    assert path.instructions != "instructions unknown"


def _updates(sealer: Sealer) -> bytes:
    return sealer.update()


def _asking_updates(sealer: Sealer) -> bytes:
    return sealer.update(asking=True)


def _nothing(sealer: Sealer) -> bytes:
    return sealer.record(b"")


WITHOUT_DATA = pytest.mark.parametrize("useless", [_updates, _asking_updates, _nothing])


@WITHOUT_DATA
def test_some_records_without_data_are_borne(
    peer: Peer, useless: Callable[[Sealer], bytes]
) -> None:
    peer.send(*[useless(peer.sealer) for _ in range(SPARE)], peer.sealer.record(b"words"))
    assert peer.heard() == b"words"


@WITHOUT_DATA
def test_one_too_many_ends_the_connection_and_is_told(
    peer: Peer, layer: Layer, useless: Callable[[Sealer], bytes]
) -> None:
    peer.send(*[useless(peer.sealer) for _ in range(SPARE + 1)], peer.sealer.record(b"words"))

    with pytest.raises(OSError, match="Protocol error"):
        peer.heard()
    assert peer.open() == (ALERT, UNEXPECTED_MESSAGE)
    told = layer.refusal(MessageRefused)
    assert "acme-worker sent TLS records without data, so 1 of its connections" in str(told)
    assert told.expected == "16 of them at most, and one more per 4,096 records with data"


def test_data_between_them_counts_as_what_it_is(peer: Peer, layer: Layer) -> None:
    """A byte for every key update would leave as many as the peer likes."""
    sent = [
        part for _ in range(SPARE + 1) for part in (peer.sealer.update(), peer.sealer.record(b"x"))
    ]
    peer.send(*sent)
    wait_until(lambda: peer.waiting() == len(b"".join(sent)), "not all came")
    assert peer.heard() == b"x" * SPARE
    with pytest.raises(OSError, match="Protocol error"):
        peer.heard()
    layer.refusal(MessageRefused)


def test_much_data_earns_another_one(peer: Peer) -> None:
    for _ in range(2 * SPARE):
        peer.send(peer.sealer.update(), *[peer.sealer.record(b"x") for _ in range(4096)])
        heard = 0
        while heard < 4096:
            heard += len(peer.heard())


def test_one_call_reads_some_records_and_the_next_one_more(peer: Peer) -> None:
    peer.send(*[peer.sealer.record(b"x") for _ in range(1500)])
    wait_until(lambda: peer.waiting() == 1500 * 23, "not all came")
    assert [len(peer.heard()), len(peer.heard())] == [1024, 476]


def test_who_asks_for_new_keys_gets_them_before_the_next_data(peer: Peer) -> None:
    """RFC 8446, 4.6.3: once, however often it has asked while this side was silent."""
    peer.send(*[peer.sealer.update(asking=True) for _ in range(3)], peer.sealer.record(b"asks"))
    assert peer.heard() == b"asks"
    for word in (b"one", b"two"):
        assert peer.caller.send(peer.far, word) == 3

    assert peer.open() == (HANDSHAKE, UPDATE)
    peer.use_next_keys()
    assert [peer.open(), peer.open()] == [(DATA, b"one"), (DATA, b"two")]


def test_who_does_not_ask_gets_none(peer: Peer) -> None:
    peer.send(peer.sealer.update(), peer.sealer.record(b"words"))
    assert peer.heard() == b"words"
    assert peer.caller.send(peer.far, b"one") == 3
    assert peer.open() == (DATA, b"one")
