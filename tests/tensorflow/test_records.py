"""The record layer in C, alone: TLS 1.3 as RFC 8446 and RFC 8448 have it, every other record refused, bounded work.

The other end is an implementation of records in Python, by ``cryptography``'s AES-GCM.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.native_library import NativeLibrary
from coterie.tensorflow.building import NATIVE_PART
from tests.tensorflow.preloaded.sealing import ASKING_UPDATE, DATA, HANDSHAKE, UPDATE, Sealer

pytestmark = pytest.mark.system

ALERT = 21
CLOSE_NOTIFY, UNEXPECTED_MESSAGE, BAD_RECORD_MAC = b"\1\0", b"\2\x0a", b"\2\x14"
HERE, THERE = b"\1" * 32, b"\2" * 32
RECORDS_PER_KEY, RECORDS_PER_CALL, ALLOWANCE, EARNS_ONE = 5, 100, 16, 40

# RFC 8448, 3: the client's application traffic secret, and its record of the bytes 0 to 49.
RFC_SECRET = bytes.fromhex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5")
RFC_RECORD = bytes.fromhex(
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20"
    "441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4"
)


def _part(name: str) -> Path:
    (file,) = (f for f in (*NATIVE_PART.sources, *NATIVE_PART.headers) if f.name == name)
    return file


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    described = NativeLibrary(
        title="the record layer of this test",
        path=tmp_path_factory.mktemp("records") / "librecords.so",
        sources=(
            Path(__file__).parent / "native" / "record_layer.c",
            _part("records.c"),
            _part("secret_memory.c"),
        ),
        headers=(_part("records.h"), _part("secret_memory.h"), _part("failing.h")),
        without="",
        build_command="pytest",
        flags=(
            f"-DRECORDS_PER_KEY={RECORDS_PER_KEY}",
            f"-DRECORDS_PER_CALL={RECORDS_PER_CALL}",
            f"-DDATA_RECORDS_PER_ALLOWANCE={EARNS_ONE}",
        ),
        link=("-lcrypto",),
        probe=NATIVE_PART.probe,
    )
    try:
        described.build()
    except EnvironmentUnfit as error:
        pytest.skip(str(error))
    loaded = described.load()
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    loaded.layer_open.restype = pointer
    loaded.layer_open.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    loaded.layer_close.argtypes = [pointer]
    loaded.layer_close_notify.argtypes = [pointer, ctypes.c_int]
    for call in (loaded.layer_send, loaded.layer_receive):
        call.restype, call.argtypes = ctypes.c_ssize_t, [pointer, ctypes.c_int, pointer, size]
    return loaded


class Layer:
    """One end, in C; ``far`` is the other end's socket."""

    def __init__(self, library: ctypes.CDLL, sending: bytes, receiving: bytes) -> None:
        self._library = library
        self.near, self.far = socket.socketpair()
        self.far.settimeout(20)
        self._records = library.layer_open(sending, receiving)
        assert self._records

    def send(self, content: bytes) -> int:
        return self._checked(
            self._library.layer_send(
                self._records, self.near.fileno(), ctypes.c_char_p(content), len(content)
            )
        )

    def receive(self, room: int = 1 << 17) -> bytes:
        buffer = ctypes.create_string_buffer(room)
        got = self._library.layer_receive(self._records, self.near.fileno(), buffer, room)
        return buffer.raw[: self._checked(got)]

    def close_notify(self) -> None:
        self._library.layer_close_notify(self._records, self.near.fileno())

    def close(self) -> None:
        self._library.layer_close(self._records)
        self.near.close()
        self.far.close()

    def _checked(self, result: int) -> int:
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    def waiting(self) -> bytes:
        """All that it has sent and nobody has read yet."""
        sent = b""
        self.far.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += self.far.recv(1 << 20)
        self.far.settimeout(20)
        return sent

    def sealed(self) -> bytes:
        """Exactly one record from it."""
        head = self.far.recv(5, socket.MSG_WAITALL)
        return head + self.far.recv(int.from_bytes(head[3:]), socket.MSG_WAITALL)


@pytest.fixture
def layer(library: ctypes.CDLL) -> Iterator[Layer]:
    made = Layer(library, HERE, THERE)
    yield made
    made.close()


@pytest.fixture
def peer() -> Sealer:
    """Seals what the layer receives."""
    return Sealer(THERE)


@pytest.fixture
def opener() -> Sealer:
    """Opens what the layer sends."""
    return Sealer(HERE)


def opened(sealed: bytes, opener: Sealer) -> bytes:
    """The content of records that the layer has sealed, through its changes of keys."""
    content, under_this_key = b"", 0
    while sealed:
        size = 5 + int.from_bytes(sealed[3:5])
        kind, inner = opener.open(sealed[:size])
        sealed = sealed[size:]
        if kind == DATA:
            content += inner
            under_this_key += 1
        else:
            assert (kind, inner, under_this_key) == (HANDSHAKE, UPDATE, RECORDS_PER_KEY)
            opener.update()
            under_this_key = 0
    return content


def refused(call: Callable[[], object], code: int = errno.ECONNRESET) -> None:
    with pytest.raises(OSError) as error:  # noqa: PT011 (the number is checked)
        call()
    assert error.value.errno == code


def test_the_record_of_rfc_8448_is_sealed_and_opened(library: ctypes.CDLL) -> None:
    content = bytes(range(50))
    layer = Layer(library, RFC_SECRET, RFC_SECRET)
    assert layer.send(content) == 50
    assert layer.sealed() == RFC_RECORD
    layer.far.sendall(RFC_RECORD)
    assert layer.receive() == content
    layer.close()


@pytest.mark.parametrize("size", [1, 2, 64, 65, 16_383, 16_384, 16_385, 150_000])
def test_another_implementation_opens_what_it_seals(
    layer: Layer, opener: Sealer, size: int
) -> None:
    content = bytes(i * 7 % 251 for i in range(size))
    assert layer.send(content) == size
    assert opened(layer.waiting(), opener) == content


@pytest.mark.parametrize("room", [1, 3, 100, 16_384, 1 << 17])
def test_it_opens_what_another_implementation_seals(layer: Layer, peer: Sealer, room: int) -> None:
    contents = [bytes([i]) * size for i, size in enumerate([1, 64, 65, 200, 16_384, 5])]
    layer.far.sendall(b"".join(peer.record(content) for content in contents))
    expected, got = b"".join(contents), b""
    while len(got) < len(expected):
        got += layer.receive(room)
    assert got == expected
    refused(lambda: layer.receive(room), errno.EAGAIN)


def test_nothing_is_read_of_a_record_before_all_of_it_is_there(layer: Layer, peer: Sealer) -> None:
    for i in range(1, len(sealed := peer.record(b"words"))):
        layer.far.sendall(sealed[i - 1 : i])
        refused(layer.receive, errno.EAGAIN)
    layer.far.sendall(sealed[-1:])
    assert layer.receive() == b"words"


def test_what_the_kernel_has_no_room_for_is_sealed_once(layer: Layer, opener: Sealer) -> None:
    content = bytes(i % 253 for i in range(3_000_000))
    sealed, sent, waited = b"", 0, 0
    layer.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
    while sent < len(content):
        try:
            sent += layer.send(content[sent:])
        except BlockingIOError:
            waited += 1
        sealed += layer.waiting()
    assert waited
    assert opened(sealed, opener) == content


# What follows a good record and breaks the connection, however well it is sealed.
def _changed(at: int) -> Callable[[Sealer], bytes]:
    def change(peer: Sealer) -> bytes:
        sealed = bytearray(peer.record(b"more"))
        sealed[at] ^= 1
        return bytes(sealed)

    return change


def _again(peer: Sealer) -> bytes:
    peer.record(b"lost")
    return peer.record(b"out of turn")


REFUSED: dict[str, Callable[[Sealer], bytes]] = {
    "in plaintext": lambda _: b"\x15\x03\x03\0\2\1\0",
    "a plaintext handshake message": lambda _: b"\x16\x03\x03\0\5hello",
    "TLS 1.0's version": lambda _: b"\x17\x03\x01\0\x20" + bytes(32),
    "another major version": lambda _: b"\x17\x02\x03\0\x20" + bytes(32),
    "well sealed, as an alert": lambda peer: peer.record(b"more", opening=b"\x15\3\3"),
    "well sealed, as TLS 1.0": lambda peer: peer.record(b"more", opening=b"\x17\3\1"),
    "well sealed, as TLS 2": lambda peer: peer.record(b"more", opening=b"\x17\4\3"),
    "empty": lambda _: b"\x17\x03\x03\0\0",
    "too short for its tag": lambda _: b"\x17\x03\x03\0\x10" + bytes(16),
    "too long, known from its header": lambda _: b"\x17\x03\x03\x40\x12",
    "longest length": lambda _: b"\x17\x03\x03\xff\xff",
    "content of 16,385 bytes": lambda peer: peer.record(bytes(16_385)),
    "changed length": lambda peer: peer.record(b"m" * 255)[:4] + b"\x0f" + bytes(300),
    "changed content": _changed(5),
    "changed type of content": _changed(9),
    "changed tag": _changed(-1),
    "another key": lambda _: Sealer(HERE).record(b"more"),
    "one is missing": _again,
    "sent twice": lambda _: Sealer(THERE).record(b"words"),
    "only zeroes inside": lambda peer: peer.record(bytes(20), 0),
    "padding": lambda peer: peer.record(b"more" + bytes([DATA]) + bytes(10), 0),
    "change_cipher_spec inside": lambda peer: peer.record(b"\1", 20),
    "unknown type": lambda peer: peer.record(b"more", 24),
    "an alert, fatal": lambda peer: peer.record(b"\2\x28", ALERT),
    "user_canceled": lambda peer: peer.record(b"\1\x5a", ALERT),
    "an alert of one byte": lambda peer: peer.record(b"\1", ALERT),
    "an alert of none": lambda peer: peer.record(b"", ALERT),
    "an alert of three bytes": lambda peer: peer.record(b"\1\0\0", ALERT),
    "a long alert": lambda peer: peer.record(b"\1\0" + bytes(98), ALERT),
    "a ticket": lambda peer: peer.record(b"\4\0\0\x20" + bytes(32), HANDSHAKE),
    "a handshake message of none": lambda peer: peer.record(b"", HANDSHAKE),
    "a key update that asks for 2": lambda peer: peer.record(UPDATE[:-1] + b"\2", HANDSHAKE),
    "a key update, cut": lambda peer: peer.record(UPDATE[:-1], HANDSHAKE),
    "two key updates": lambda peer: peer.record(UPDATE + UPDATE, HANDSHAKE),
    "a key update as data of an alert": lambda peer: peer.record(UPDATE, ALERT),
    "the old key after an update": lambda peer: peer.record(UPDATE, HANDSHAKE) + peer.record(b"x"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_record_that_is_none_breaks_the_connection(
    layer: Layer, peer: Sealer, opener: Sealer, case: str
) -> None:
    layer.far.sendall(peer.record(b"words"))
    assert layer.receive() == b"words"
    layer.far.sendall(REFUSED[case](peer))

    refused(layer.receive)
    assert opener.open(layer.sealed()) == (ALERT, BAD_RECORD_MAC)
    layer.far.sendall(peer.record(b"after it"))
    refused(layer.receive)
    refused(lambda: layer.send(b"words"))
    layer.close_notify()
    assert layer.waiting() == b""


def test_what_came_before_a_record_that_is_none_still_counts(layer: Layer, peer: Sealer) -> None:
    layer.far.sendall(peer.record(b"words") + b"\x16\x03\x03\0\5hello")
    assert layer.receive() == b"words"
    refused(layer.receive)


def test_an_end_without_close_notify_is_none(layer: Layer, peer: Sealer) -> None:
    layer.far.sendall(peer.record(b"words"))
    layer.far.shutdown(socket.SHUT_WR)
    assert layer.receive() == b"words"
    refused(layer.receive)


def test_an_orderly_end_stays_one_and_the_other_way_is_open(
    layer: Layer, peer: Sealer, opener: Sealer
) -> None:
    layer.far.sendall(peer.record(b"words") + peer.record(CLOSE_NOTIFY, ALERT) + peer.record(b"x"))
    assert [layer.receive() for _ in range(4)] == [b"words", b"", b"", b""]
    assert layer.send(b"answer") == 6
    layer.close_notify()
    layer.close_notify()
    assert opener.open(layer.sealed()) == (DATA, b"answer")
    assert opener.open(layer.sealed()) == (ALERT, CLOSE_NOTIFY)
    layer.near.shutdown(socket.SHUT_WR)
    assert layer.far.recv(1) == b""


@pytest.mark.parametrize(("asking", "answers"), [(False, 0), (True, 1)])
def test_keys_change_and_who_asks_gets_one_answer(
    layer: Layer, peer: Sealer, opener: Sealer, asking: bool, answers: int
) -> None:
    layer.far.sendall(
        b"".join(peer.update(asking=asking) for _ in range(3)) + peer.record(b"words")
    )
    assert layer.receive() == b"words"
    assert layer.send(b"answer") == 6
    for _ in range(answers):
        assert opener.open(layer.sealed()) == (HANDSHAKE, UPDATE)
        opener.update()
    assert opener.open(layer.sealed()) == (DATA, b"answer")


def test_one_call_opens_so_many_records(layer: Layer, peer: Sealer) -> None:
    sealed = [peer.record(b"x") for _ in range(2 * RECORDS_PER_CALL + 7)]
    layer.far.sendall(b"".join(sealed))
    assert [len(layer.receive()) for _ in range(3)] == [RECORDS_PER_CALL, RECORDS_PER_CALL, 7]
    refused(layer.receive, errno.EAGAIN)


def _useless(peer: Sealer, record: bytes) -> bytes:
    if not record:
        return peer.record(b"")
    return peer.update(asking=record == ASKING_UPDATE)


@pytest.mark.parametrize("record", [b"", UPDATE, ASKING_UPDATE])
def test_records_without_data_have_an_allowance_that_data_earns(
    layer: Layer, peer: Sealer, opener: Sealer, record: bytes
) -> None:
    layer.far.sendall(b"".join(_useless(peer, record) for _ in range(ALLOWANCE)))
    refused(layer.receive, errno.EAGAIN)
    for _ in range(3):
        layer.far.sendall(b"".join(peer.record(b"x") for _ in range(EARNS_ONE)))
        layer.far.sendall(_useless(peer, record))
        assert layer.receive() == b"x" * EARNS_ONE
        refused(layer.receive, errno.EAGAIN)
    layer.far.sendall(_useless(peer, record))
    refused(layer.receive, errno.EPROTO)
    refused(lambda: layer.send(b"words"), errno.EPROTO)
    assert opener.open(layer.sealed()) == (ALERT, UNEXPECTED_MESSAGE)


def test_the_allowance_does_not_grow_beyond_its_beginning(layer: Layer, peer: Sealer) -> None:
    for _ in range(3):
        layer.far.sendall(b"".join(peer.record(b"x") for _ in range(EARNS_ONE)))
        assert layer.receive() == b"x" * EARNS_ONE
    layer.far.sendall(b"".join(_useless(peer, b"") for _ in range(ALLOWANCE)))
    refused(layer.receive, errno.EAGAIN)
    layer.far.sendall(_useless(peer, b""))
    refused(layer.receive, errno.EPROTO)
