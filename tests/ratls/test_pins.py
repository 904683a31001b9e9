"""The pin board: who is trusted, until when, and which of two incarnations counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from coterie.attestation.verdict import Verdict
from coterie.errors import CallRefused, EvidenceRefused
from coterie.ratls.peer import Peer
from coterie.ratls.pins import PinBoard

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
VERDICT = Verdict("simulated", "UpToDate", (), (), "", "", 1, (), AT + timedelta(days=1))


def peer(name: str = "acme-worker", *, incarnation: int = 1, certificate: bytes = b"a") -> Peer:
    return Peer(
        node=name,
        role="worker",
        party="acme",
        incarnation=incarnation,
        certificate_der=certificate,
        certificate_sha256=certificate * 32,
        spki_sha256=certificate * 32,
        dns_name=f"{name}.test",
        verdict=VERDICT,
        attested_at=AT,
        expires_at=AT + timedelta(hours=1),
        grpc_port=0,
    )


def test_a_pinned_peer_is_found_until_its_time_is_up() -> None:
    board = PinBoard()
    board.add(peer())

    assert board.lookup(b"a" * 32, AT).node == "acme-worker"
    assert board.lookup(b"a" * 32, AT + timedelta(minutes=59)).node == "acme-worker"
    with pytest.raises(CallRefused, match="expired"):
        board.lookup(b"a" * 32, AT + timedelta(hours=1))
    assert board.trusted(AT + timedelta(hours=1)) == ()


def test_a_stranger_is_refused() -> None:
    with pytest.raises(CallRefused, match="not attested"):
        PinBoard().lookup(b"", AT)


def test_a_newer_incarnation_replaces_an_older_one() -> None:
    board = PinBoard()
    board.add(peer(incarnation=1))
    board.add(peer(incarnation=2, certificate=b"b"))

    assert board.lookup(b"b" * 32, AT).incarnation == 2
    with pytest.raises(CallRefused):
        board.lookup(b"a" * 32, AT)


def test_an_older_incarnation_cannot_come_back() -> None:
    board = PinBoard()
    board.add(peer(incarnation=2, certificate=b"b"))

    with pytest.raises(EvidenceRefused) as caught:
        board.add(peer(incarnation=1))

    assert caught.value.failed_check == "incarnation"
    assert board.trusted(AT) == (peer(incarnation=2, certificate=b"b"),)


def test_an_older_incarnation_cannot_come_back_after_the_newer_pin_has_expired() -> None:
    board = PinBoard()
    board.add(peer(incarnation=2, certificate=b"b"))
    later = AT + timedelta(hours=5)

    with pytest.raises(EvidenceRefused):
        board.add(replace(peer(incarnation=1), attested_at=later, expires_at=AT + timedelta(6)))


def test_a_renewed_key_stands_beside_the_old_one_until_that_expires() -> None:
    board = PinBoard()
    board.add(peer())
    renewed = replace(
        peer(certificate=b"b"),
        attested_at=AT + timedelta(minutes=45),
        expires_at=AT + timedelta(minutes=105),
    )
    board.add(renewed)

    assert board.lookup(b"a" * 32, AT + timedelta(minutes=50)).certificate_der == b"a"
    assert board.trusted(AT + timedelta(minutes=70)) == (renewed,)


def test_other_nodes_are_not_touched() -> None:
    board = PinBoard()
    board.add(peer("bolt-worker", certificate=b"c"))
    board.add(peer(incarnation=7))

    assert {pin.node for pin in board.trusted(AT)} == {"acme-worker", "bolt-worker"}


def test_expired_pins_are_forgotten() -> None:
    board = PinBoard()
    for number in range(20):
        start = AT + timedelta(hours=number)
        board.add(
            replace(
                peer(certificate=bytes([number])),
                attested_at=start,
                expires_at=start + timedelta(hours=1),
            )
        )

    assert len(board.trusted(AT)) == 1


def test_the_version_tells_of_changes() -> None:
    board = PinBoard()
    before = board.version
    board.add(peer())

    assert board.version != before


def test_a_token_tells_whose_session_it_is_of() -> None:
    board = PinBoard()
    board.add(replace(peer(), call_token=b"1" * 32))
    board.add(replace(peer("bolt-worker", certificate=b"c"), call_token=b"2" * 32))
    board.add(peer("chief", certificate=b"d"))  # without a token

    assert board.holder(b"1" * 32) == "acme-worker"
    assert board.holder(b"2" * 32) == "bolt-worker"
    for token in (b"", b"3" * 32, b"1" * 31):
        with pytest.raises(CallRefused, match="no attested session"):
            board.holder(token)
    board.add(replace(peer(incarnation=2, certificate=b"b"), call_token=b"4" * 32))
    with pytest.raises(CallRefused):
        board.holder(b"1" * 32)


def test_a_session_is_found_by_what_is_made_of_its_token() -> None:
    board = PinBoard()
    board.add(replace(peer(), call_token=b"1" * 32))
    board.add(replace(peer(), call_token=b"2" * 32))

    def made_of(token: bytes) -> bytes:
        return b"of " + token

    found, token = board.session(b"a" * 32, b"of " + b"2" * 32, AT, made_of=made_of)
    assert (found.node, token) == ("acme-worker", b"2" * 32)
    for shown in (b"2" * 32, b"of " + b"3" * 32, b"of ", b""):
        with pytest.raises(CallRefused, match="no attested session"):
            board.session(b"a" * 32, shown, AT, made_of=made_of)
    with pytest.raises(CallRefused, match="expired"):
        board.session(b"a" * 32, b"of " + b"2" * 32, AT + timedelta(hours=1), made_of=made_of)
    with pytest.raises(CallRefused, match="not attested"):
        board.session(b"b" * 32, b"of " + b"2" * 32, AT, made_of=made_of)


def test_a_peer_without_a_token_has_no_session() -> None:
    board = PinBoard()
    board.add(peer())
    with pytest.raises(CallRefused):
        board.session(b"a" * 32, b"", AT)
    with pytest.raises(CallRefused):
        board.session(b"a" * 32, b"of ", AT, made_of=lambda token: b"of " + token)


def test_a_session_that_has_run_out_is_none_though_its_certificate_is_pinned() -> None:
    board = PinBoard()
    later = AT + timedelta(minutes=50)
    board.add(replace(peer(), call_token=b"1" * 32))
    renewed = replace(peer(), attested_at=later, expires_at=later + timedelta(hours=1))
    board.add(replace(renewed, call_token=b"2" * 32))

    at = AT + timedelta(hours=1)
    assert board.session(b"a" * 32, b"2" * 32, at)[1] == b"2" * 32
    with pytest.raises(CallRefused, match="no attested session"):
        board.session(b"a" * 32, b"1" * 32, at)
