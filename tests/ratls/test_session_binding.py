"""What ties evidence and signatures to one TLS session, in the form that both ends compute."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.keys.server import messages as keys
from coterie.ratls.session_binding import Binding, session_report_data
from coterie.status import messages as status

EXPORTER, LISTENER, DIALLER, NONCE = b"e" * 32, b"l" * 32, b"d" * 32, b"n" * 32
HERE = Binding("dialler", EXPORTER, own_key=DIALLER, peer_key=LISTENER)
THERE = Binding("listener", EXPORTER, own_key=LISTENER, peer_key=DIALLER)
LABELS = {
    keys.PROTOCOL.label: b"coterie key server 1\0",
    status.PROTOCOL.label: b"coterie status 1\0",
}


def test_what_one_end_quotes_the_other_end_expects() -> None:
    assert HERE.own_report_data(NONCE) == THERE.peer_report_data(NONCE)
    assert THERE.own_report_data(NONCE) == HERE.peer_report_data(NONCE)
    assert HERE.own_report_data(NONCE) == session_report_data(
        "dialler", exporter=EXPORTER, own_key=DIALLER, peer_key=LISTENER, peer_nonce=NONCE
    )


@pytest.mark.parametrize("part", ["side", "exporter", "own_key", "peer_key", "nonce"])
def test_a_quote_holds_for_no_other_session(part: str) -> None:
    if part == "nonce":
        other = HERE.own_report_data(bytes(32))
    elif part == "side":
        other = replace(HERE, side="listener").own_report_data(NONCE)
    else:
        other = replace(HERE, **{part: bytes(32)}).own_report_data(NONCE)  # type: ignore[arg-type]
    assert other != HERE.own_report_data(NONCE)


@pytest.mark.parametrize(("label", "text"), LABELS.items())
def test_both_ends_compute_one_statement_and_its_label_is_its_protocols(
    label: bytes, text: bytes
) -> None:
    expected = text + EXPORTER + LISTENER + DIALLER
    assert HERE.statement(label) == THERE.statement(label) == expected


@pytest.mark.parametrize("part", ["exporter", "own_key", "peer_key"])
def test_a_signature_holds_for_no_other_session(part: str) -> None:
    key = Ed25519PrivateKey.generate()
    label = keys.PROTOCOL.label
    signature = key.sign(THERE.statement(label))
    key.public_key().verify(signature, HERE.statement(label))
    other = replace(HERE, **{part: bytes(32)})  # type: ignore[arg-type]
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, other.statement(label))


def test_the_two_protocols_share_no_statement() -> None:
    assert HERE.statement(keys.PROTOCOL.label) != HERE.statement(status.PROTOCOL.label)


def test_what_has_another_length_is_a_defect_of_the_caller() -> None:
    """Fixed lengths make the concatenation unambiguous."""
    for part in ("exporter", "own_key", "peer_key"):
        with pytest.raises(AssertionError):
            replace(HERE, **{part: bytes(31)}).statement(b"x\0")  # type: ignore[arg-type]
        with pytest.raises(AssertionError):
            replace(HERE, **{part: bytes(31)}).own_report_data(NONCE)  # type: ignore[arg-type]
