"""Who gets to TensorFlow's port, and who does not."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from OpenSSL import SSL

from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.errors import CallRefused, EvidenceRefused, HandshakeFailed, VoucherRefused
from coterie.ratls.evidence import LEGACY_OIDS
from coterie.ratls.handshake import dial
from coterie.ratls.trust import make_trust
from coterie.tensorflow.attested_peers import AttestedPeers
from coterie.tensorflow.connections import receive
from coterie.tensorflow.native import Native
from tests.ratls.conftest import World
from tests.ratls.forging import Forgery, forge, legacy
from tests.ratls.test_forgeries import FORGERIES
from tests.tensorflow.preloaded.conftest import (
    ACME,
    ALPN,
    BACK,
    HEAD,
    Layer,
    Line,
    proof,
    wait_until,
)

MakeLine = Callable[..., Line]


def test_an_attested_peers_connection_goes_to_tensorflow(
    world: World, layer: Layer, line: MakeLine, native: Native
) -> None:
    attested = layer.attest(world.trust("acme-worker"))
    assert attested.peer.grpc_port == layer.data.port

    connection = line(attested).shake_hands()

    wait_until(lambda: native.unused(ACME) == 1, "it was not handed over")
    assert connection.shown() == attested.peer.certificate_sha256
    assert connection.answer == HEAD + proof(connection.tls, b"listener", attested.peer.call_token)
    assert connection.is_open()


def test_a_connection_for_the_other_direction_is_parked(
    world: World, layer: Layer, line: MakeLine, native: Native
) -> None:
    attested = layer.attest(world.trust("acme-worker"))
    line(attested, alpn=BACK).shake_hands()
    wait_until(lambda: native.parked(ACME) == 1, "it was not parked")
    assert native.unused(ACME) == 0


def test_a_node_that_was_not_attested_is_refused(
    world: World, layer: Layer, line: MakeLine, native: Native
) -> None:
    genuine = world.trust("acme-worker").credentials.current().identity

    connection = line(genuine).shake_hands()  # in TLS 1.3 a client hears of a refusal afterwards

    connection.wait_end()
    assert isinstance(layer.refusal(CallRefused), CallRefused)
    assert native.unused(ACME) == 0


def test_another_key_of_an_attested_node_is_refused(
    world: World, layer: Layer, line: MakeLine, native: Native
) -> None:
    layer.attest(world.trust("acme-worker", incarnation=5))
    other = world.trust("acme-worker", incarnation=5).credentials.current().identity
    line(other).shake_hands().wait_end()
    layer.refusal(CallRefused)
    assert native.unused(ACME) == 0


def of_another_node(thief: Line, own: bytes, others: bytes) -> bytes:
    del own
    return proof(thief.tls, b"dialler", others)


def of_the_other_side(thief: Line, own: bytes, others: bytes) -> bytes:
    del others
    return proof(thief.tls, b"listener", own)


def of_no_session(thief: Line, own: bytes, others: bytes) -> bytes:
    del own, others
    return proof(thief.tls, b"dialler", b"")


@pytest.mark.parametrize("made", [of_another_node, of_the_other_side, of_no_session])
def test_a_stolen_key_alone_opens_no_connection(
    world: World, layer: Layer, line: MakeLine, native: Native, made: Callable[..., bytes]
) -> None:
    attested = layer.attest(world.trust("acme-worker"))
    other = layer.attest(world.trust("bolt-worker"))
    for alpn in (ALPN, BACK):
        thief = line(attested.credentials.identity, alpn=alpn).shake_hands()
        thief.say(made(thief, attested.peer.call_token, other.peer.call_token))
        thief.wait_end()
    assert "acme-worker is of no attested session" in layer.refusal(CallRefused).what
    assert native.unused(ACME) == native.parked(ACME) == 0


def test_an_overheard_proof_opens_no_second_connection(
    world: World, layer: Layer, line: MakeLine, native: Native
) -> None:
    attested = layer.attest(world.trust("acme-worker"))
    honest = line(attested).shake_hands()
    thief = line(attested.credentials.identity).shake_hands()
    thief.say(proof(honest.tls, b"dialler", attested.peer.call_token))
    thief.wait_end()
    layer.refusal(CallRefused)
    assert native.unused(ACME) == 1


@pytest.mark.parametrize("said", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x17\x03\x03\x40\x00"])
def test_what_is_no_proof_is_refused_by_its_head(
    world: World, layer: Layer, line: MakeLine, native: Native, said: bytes
) -> None:
    attested = layer.attest(world.trust("acme-worker"))
    thief = line(attested.credentials.identity).shake_hands()
    thief.socket.sendall(said)
    thief.wait_end()
    layer.refusal(HandshakeFailed)
    assert native.unused(ACME) == 0


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_forged_evidence_opens_neither_port(
    world: World, layer: Layer, line: MakeLine, native: Native, forgery: Forgery
) -> None:
    credentials = forge(world, forgery)
    with pytest.raises(HandshakeFailed):
        layer.attest(world.showing(world.trust("acme-worker"), credentials))
    refusal = layer.refusal(EvidenceRefused)
    assert isinstance(refusal, EvidenceRefused)
    assert refusal.failed_check == forgery.failed_check

    line(credentials.identity).shake_hands().wait_end()

    layer.refusal(CallRefused)
    assert native.unused(ACME) == 0


def test_legacy_evidence_opens_neither_port(
    world: World, layer: Layer, line: MakeLine, native: Native
) -> None:
    credentials = legacy(world, *LEGACY_OIDS[:1])
    with pytest.raises(HandshakeFailed):
        layer.attest(world.showing(world.trust("acme-worker"), credentials))
    layer.refusal(EvidenceRefused)
    line(credentials.identity).shake_hands().wait_end()
    layer.refusal(CallRefused)
    assert native.unused(ACME) == 0


def test_another_partys_word_is_refused(world: World) -> None:
    with pytest.raises(VoucherRefused):
        make_trust(
            world.contract,
            "acme-worker",
            SimulatedTee(bytes(range(32))),
            world.vouchers("bolt"),
            world.clock,
        )


def test_plaintext_is_refused(layer: Layer, native: Native) -> None:
    with socket.create_connection((layer.data.host, layer.data.port)) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := plain.recv(4096):
                answer += data
    assert b"HTTP" not in answer
    layer.refusal(HandshakeFailed)
    assert native.unused(ACME) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"version": SSL.TLS1_2_VERSION},
        {"alpn": b"h2"},
        {"alpn": b"coterie-ra-tls/1"},
        {"alpn": None},
    ],
    ids=["TLS 1.2", "HTTP/2", "the attestation port's protocol", "no protocol"],
)
def test_other_tls_is_refused(
    world: World, layer: Layer, line: MakeLine, native: Native, options: dict[str, object]
) -> None:
    attested = layer.attest(world.trust("acme-worker"))
    connection = line(attested, **options)
    with contextlib.suppress(SSL.Error):
        connection.shake_hands()
    connection.wait_end()
    layer.refusal(HandshakeFailed)
    assert native.unused(ACME) == 0


def test_who_shows_no_certificate_is_refused(layer: Layer, line: MakeLine, native: Native) -> None:
    line(None).shake_hands().wait_end()
    refusal = layer.refusal(EvidenceRefused)
    assert isinstance(refusal, EvidenceRefused)
    assert refusal.failed_check == "certificate_missing"
    assert native.unused(ACME) == 0


def test_who_stalls_in_the_handshake_disturbs_nobody(
    world: World, layer: Layer, line: MakeLine, native: Native
) -> None:
    silent = [socket.create_connection((layer.data.host, layer.data.port)) for _ in range(5)]
    silent += [
        socket.create_connection((layer.attestation.host, layer.attestation.port)) for _ in range(5)
    ]
    try:
        attested = layer.attest(world.trust("acme-worker"))
        line(attested).shake_hands()
        wait_until(lambda: native.unused(ACME) == 1, "it was not handed over")
    finally:
        for sock in silent:
            sock.close()


class TestAPeerThatComesBack:
    def test_with_a_new_incarnation_ends_the_old_ones_connections(
        self, world: World, layer: Layer, line: MakeLine, native: Native
    ) -> None:
        first = layer.attest(world.trust("acme-worker", incarnation=1))
        old = line(first).shake_hands()
        wait_until(lambda: native.unused(ACME) == 1, "it was not handed over")

        second = layer.attest(world.trust("acme-worker", incarnation=2))

        old.wait_end()
        line(first).shake_hands().wait_end()
        layer.refusal(CallRefused)
        new = line(second).shake_hands()
        wait_until(lambda: native.unused(ACME) >= 1, "the new one was not handed over")
        assert new.is_open()

    def test_an_older_incarnation_stays_refused(self, world: World, layer: Layer) -> None:
        layer.attest(world.trust("acme-worker", incarnation=2))
        with pytest.raises(HandshakeFailed, match="incarnation"):
            layer.attest(world.trust("acme-worker", incarnation=1))


class TestRenewal:
    def test_a_new_key_of_the_same_process_keeps_its_connections(
        self, world: World, layer: Layer, line: MakeLine, native: Native
    ) -> None:
        worker = world.trust("acme-worker", incarnation=1)
        first = layer.attest(worker)
        old = line(first).shake_hands()
        wait_until(lambda: native.unused(ACME) == 1, "it was not handed over")

        world.clock.advance(timedelta(minutes=50))
        layer.attest(worker)
        world.clock.advance(timedelta(minutes=50))  # the first pin has run out
        second = layer.attest(worker)

        wait_until(lambda: len(layer.admitted) == 3, "it was not attested again")
        # Two looks of the keeper have passed once a new connection has been handed over and used up.
        line(second).shake_hands()
        wait_until(lambda: native.unused(ACME) == 2, "the new one was not handed over")
        assert old.is_open()

    def test_a_peer_that_does_not_attest_again_loses_them(
        self, world: World, layer: Layer, line: MakeLine, native: Native
    ) -> None:
        attested = layer.attest(world.trust("acme-worker"))
        old = line(attested).shake_hands()
        wait_until(lambda: native.unused(ACME) == 1, "it was not handed over")

        world.clock.advance(timedelta(minutes=61))

        old.wait_end()
        line(attested).shake_hands().wait_end()
        assert isinstance(layer.refusal(CallRefused), CallRefused)


def test_no_link_is_left_when_a_layer_ends(
    world: World, native: Native, layer: Layer, line: MakeLine
) -> None:
    attested = layer.attest(world.trust("acme-worker"))
    one = line(attested).shake_hands()
    wait_until(lambda: native.unused(ACME) == 1, "it was not handed over")
    layer.sockets.stop()
    one.wait_end()


def test_dialling_needs_the_same_contract(world: World, layer: Layer) -> None:
    from coterie.errors import ContractMismatch

    other = world.changed("training", "batch", value=7)
    with pytest.raises(ContractMismatch, match=r"training\.batch"):
        dial(layer.attestation, "ps0", world.trust("acme-worker", contract=other))


def records(flight: bytes) -> list[bytes]:
    """The TLS records of a flight."""
    found = []
    while flight:
        length = 5 + int.from_bytes(flight[3:5])
        found.append(flight[:length])
        flight = flight[length:]
    return found


def test_a_pin_that_runs_out_within_the_handshake_opens_nothing(
    world: World, layer: Layer, native: Native
) -> None:
    """The certificate comes before the peer's last record, with which it can take its time."""
    attested = layer.attest(world.trust("acme-worker"))
    identity = attested.credentials.identity
    now, asked = [world.clock()], threading.Event()

    def clock() -> datetime:
        at = now[0]
        asked.set()
        return at

    board = AttestedPeers(clock)
    board.admit(layer.wait_admitted())
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_alpn_protos([ALPN])
    context.use_certificate(x509.load_der_x509_certificate(identity.certificate_der))
    context.use_privatekey(identity.private_key)
    peer = SSL.Connection(context)
    peer.set_connect_state()
    here, there = socket.socketpair()
    raised: list[Exception] = []

    def listen() -> None:
        try:
            receive(
                there,
                20.0,
                trust=world.trust("ps0"),
                native=native,
                board=board,
                index_of={"acme-worker": ACME},
                inspection=None,
            )
        except CallRefused as error:
            raised.append(error)

    listening = threading.Thread(target=listen)
    listening.start()
    with here:
        for _ in range(100):
            with contextlib.suppress(SSL.WantReadError):
                peer.do_handshake()
                break
            with contextlib.suppress(SSL.WantReadError):
                here.sendall(peer.bio_read(1 << 16))
            peer.bio_write(here.recv(1 << 16))
        *before, finished = records(peer.bio_read(1 << 16))
        assert not asked.is_set()
        here.sendall(b"".join(before))
        assert asked.wait(20)
        now[0] += timedelta(minutes=61)
        here.sendall(finished + HEAD + proof(peer, b"dialler", attested.peer.call_token))
        listening.join()
    assert [type(error) for error in raised] == [CallRefused]
    assert native.unused(ACME) == 0
