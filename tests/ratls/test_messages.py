"""The messages of the session exchange: what is out of bounds is refused, by a reason that is fit to show."""

from __future__ import annotations

import pytest

from coterie.errors import MessageRefused, VoucherRefused
from coterie.ratls import cbor
from coterie.ratls.frames import MAX_FRAME_BYTES
from coterie.ratls.messages import CODEC, Refusal
from coterie.ratls.schema import Message
from coterie.text import MAX_TEXT

KEYS = ("error", "what", "expected", "seen", "remedy", "failed_check")
HELLO: dict[str, cbor.CborValue] = {
    "kind": "hello",
    "version": 2,
    "nonce": bytes(32),
    "wants_collateral": False,
}


def decode(data: bytes) -> Message:
    return CODEC.decode(data, max_bytes=MAX_FRAME_BYTES)


def refused(body: object) -> MessageRefused:
    with pytest.raises(MessageRefused) as caught:
        decode(cbor.encode(body))
    return caught.value


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ({**HELLO, "version": 1}, "version must be 2, not 1"),
        ({**HELLO, "version": 3}, "version must be 2, not 3"),
        ({**HELLO, "version": True}, "version must be 2, not True"),
        ({**HELLO, "version": None}, "version must be 2, not None"),
        ({**HELLO, "nonce": bytes(31)}, "nonce: Data should have at least 32 bytes"),
        ({**HELLO, "nonce": "n" * 32}, "nonce: Input should be a valid bytes"),
        ({**HELLO, "wants_collateral": 0}, "wants_collateral: Input should be a valid boolean"),
        ({"kind": "hello", "version": 2, "nonce": bytes(32)}, "missing keys: wants_collateral"),
        ({**HELLO, "x": 1}, "unknown keys: x"),
        ({key: HELLO[key] for key in HELLO if key != "version"}, "version must be 2, not None"),
        (
            {"kind": "evidence", "quote": b"", "voucher": b"", "collateral": b""},
            "quote: Data should have at least 1 byte",
        ),
        ({"kind": "acceptance", "grpc_port": 65_536, "valid_until": 1}, "grpc_port: "),
        ({"kind": "acceptance", "grpc_port": -1, "valid_until": 1}, "grpc_port: "),
        ({"kind": "acceptance", "grpc_port": True, "valid_until": 1}, "grpc_port: "),
        ({"kind": "acceptance", "grpc_port": 1, "valid_until": 2**60}, "valid_until: "),
        ({"kind": "refusal", **dict.fromkeys(KEYS, "x" * (MAX_TEXT + 1))}, "error: "),
        ({"kind": "shutdown"}, "kind must be one of hello, evidence, contract, "),
        ({"kind": 1}, "kind must be one of"),
        ({"kind": ["hello"]}, "kind must be one of"),
        ({}, "kind must be one of"),
        ([HELLO], "a map was expected, not list"),
    ],
)
def test_values_out_of_bounds_are_refused(body: object, seen: str) -> None:
    assert refused(body).seen.startswith(seen)


def test_a_strangers_text_is_shown_bounded_and_fit_for_a_terminal() -> None:
    long = "\x1b[2J\n" + "x" * 5_000
    for body in (
        {**HELLO, long: 1},
        {**HELLO, "version": long},
        {**HELLO, "nonce": long},
        {**HELLO, "kind": long},
    ):
        error = refused(body)
        assert len(error.seen) < 250
        assert error.seen.isprintable()


def test_a_refusals_text_is_bounded_and_fit_for_a_terminal() -> None:
    message = decode(Refusal.of({"what": "\x1b[2J" + "x" * 10_000}).to_cbor())

    assert isinstance(message, Refusal)
    assert len(message.reason["what"]) == MAX_TEXT
    assert message.reason["what"].startswith("?[2Jxxx")
    assert message.reason["expected"] == ""


def test_what_a_hostile_peer_puts_into_a_refusal_is_made_printable_before_it_is_shown() -> None:
    texts = {**dict.fromkeys(KEYS, "x"), "what": "\x1b[2J", "remedy": "a\nb"}
    message = decode(cbor.encode({"kind": "refusal", **texts}))

    assert isinstance(message, Refusal)
    assert message.reason["what"] == "?[2J"
    assert str(message.as_error("ps0")).isprintable()
    assert message.as_error("ps0").remedy == "a?b"


def test_a_refusal_repeats_the_error() -> None:
    error = VoucherRefused("no voucher", expected="one", seen="none", remedy="get one")
    told = Refusal.of(error).as_error("ps0")
    assert told.what == "ps0 refused this node: VoucherRefused: no voucher"
    assert (told.expected, told.seen, told.remedy) == ("one", "none", "get one")
