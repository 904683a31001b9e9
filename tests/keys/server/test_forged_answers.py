"""Whoever sits on the way can answer in a key server's place: that ends nothing before the node's patience does."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from tempfile import NamedTemporaryFile

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from coterie.address import Address
from coterie.errors import CoterieError, HandshakeFailed
from coterie.keys.server.messages import PROTOCOL
from coterie.ratls.guests import ThrowAwayIdentity
from coterie.ratls.records import MOST_WITHOUT_DATA
from faults.loopback import free_address
from tests.keys.server.conftest import Owner
from tests.ratls.conftest import World
from tests.ratls.test_forged_answers import Answer, Failures, answering, says
from tests.ratls.test_records import sealer

VERSION = bytes.fromhex("a003020102")


def shows_an_unknown_version(sock: socket.socket, world: World) -> None:
    """OpenSSL does not look at the version field of what it shows."""
    identity = ThrowAwayIdentity.create(world.clock())
    der = identity.certificate_der.replace(VERSION, VERSION[:-1] + b"\7", 1)
    key = identity.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with NamedTemporaryFile() as file:
        file.write(key + ssl.DER_cert_to_PEM_cert(der).encode())
        file.flush()
        context.load_cert_chain(file.name)
    context.set_alpn_protocols([PROTOCOL.alpn.decode()])
    context.wrap_socket(sock, server_side=True)


def updates_its_keys(sock: socket.socket, _: World) -> None:
    sealing = sealer(sock, listener=True, alpn=PROTOCOL.alpn)
    sock.sendall(b"".join(sealing.update() for _ in range(MOST_WITHOUT_DATA)))
    while sock.recv(4096):
        pass


FORGED: dict[str, tuple[Answer, str]] = {
    "an HTTP error": (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "something that is not TLS"),
    "a certificate of another version": (
        shows_an_unknown_version,
        "a certificate that cannot be read",
    ),
    "key updates": (updates_its_keys, "one more"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_one_forged_answer_ends_nothing(owner: Owner, kind: str) -> None:
    answer, seen = FORGED[kind]
    owner.address = Address.parse(free_address())
    failures = Failures()
    with answering(str(owner.address), owner.world, answer) as over:
        waited: list[float] = []

        def then(seconds: float) -> bool:
            assert over.wait(30)
            waited.append(seconds)
            return len(waited) > 1

        client = replace(owner.client(), patience_seconds=60, waiter=then, failed=failures)
        with pytest.raises(CoterieError) as ended:
            client.vouch(owner.identity())
    assert [(type(error), error.seen) for error in failures.told] == [(HandshakeFailed, seen)]
    assert not failures.told[0].peer_proved
    assert len(waited) == 2, "it was asked again"
    assert ended.value.what.endswith(f"does not answer at {owner.address}")
    with owner.serving(port=owner.address.port):
        assert owner.client().vouch(owner.identity())
