"""A receipt's lines: one spelling each, and no bytes that do anything but be refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.errors import ReceiptRefused
from coterie.receipts import entries
from coterie.receipts.entry_types import KINDS, Checkpoint, NodeJoined, PeerRefused

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
JOINED = NodeJoined(node="w0", incarnation=1, examples=5, data_set="ab" * 32)


def line(**changes: object) -> bytes:
    said = entries.statement(index=4, at=AT, body=JOINED, previous="cd" * 32)
    return entries.canonical({**said, "signature": "ef" * 64, **changes})


def test_an_entry_comes_back_whole() -> None:
    entry = entries.decode_line(line(), 5)
    assert (entry.line, entry.index, entry.at, entry.body) == (5, 4, AT, JOINED)
    assert (entry.previous, entry.signature) == ("cd" * 32, b"\xef" * 64)
    assert entry.place == "line 5 (joined)"


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    with pytest.raises(ReceiptRefused) as refusal:
        entries.decode_line(data, 3)
    assert refusal.value.place == "line 3"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(["at", "body", "index", "kind", "previous", "signature"]), JSON)
def test_any_value_in_any_place_is_refused_or_read(key: str, value: object) -> None:
    try:
        data = line(**{key: value})
    except ValueError:
        return  # no JSON
    try:
        entry = entries.decode_line(data, 3)
    except ReceiptRefused:
        return
    assert key == "index"
    assert entry.index == value


@given(st.text(max_size=500), st.floats(allow_nan=False, allow_infinity=False))
def test_texts_and_numbers_have_one_spelling(text: str, loss: float) -> None:
    for body in (
        PeerRefused.model_construct(error=text, reason=text),
        Checkpoint.model_construct(step=1, digest="ab" * 32, examples=1, loss=loss),
    ):
        said = entries.statement(index=4, at=AT, body=body, previous="cd" * 32)
        data = entries.canonical({**said, "signature": "ef" * 64})
        assert data.isascii()
        assert entries.canonical(json.loads(data)) == data


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("at", "2026-03-01T12:00:00"),
        ("at", "2026-03-01T12:00:00Z"),
        ("at", "2026-03-01T13:00:00+01:00"),
        ("at", "20260301T120000+0000"),
        ("at", "yesterday"),
        ("index", -1),
        ("index", True),
        ("index", 2**63),
        ("index", 4.0),
        ("kind", "nothing"),
        ("kind", ["joined"]),
        ("previous", "CD" * 32),
        ("previous", "cd" * 31),
        ("previous", "cd" * 32 + "\n"),
        ("signature", "ef" * 63),
        ("body", {"node": "w0"}),
        ("body", {**JOINED.model_dump(), "more": 1}),
        ("body", {**JOINED.model_dump(), "examples": "5"}),
        ("more", 1),
    ],
)
def test_a_value_that_is_not_right_is_refused(key: str, value: object) -> None:
    with pytest.raises(ReceiptRefused) as refusal:
        entries.decode_line(line(**{key: value}), 5)
    assert refusal.value.place.startswith("line 5")


@pytest.mark.parametrize("text", ["QQ=", "QQ", "QR==", "QQ==\n", "Q Q=", "é"])
def test_base64_has_one_spelling(text: str) -> None:
    body = {"reason": "start", "certificate": text, "voucher": "", "collateral": None, "lost": 0}
    with pytest.raises(ReceiptRefused, match="not what it must be"):
        entries.decode_line(line(kind="server", body=body), 1)


def test_kinds_are_known_by_their_names() -> None:
    assert sorted(KINDS) == [
        "attested", "begun", "checkpoint", "collateral", "contract", "ended", "failed", "joined",
        "left_out", "outcome", "program", "refused", "restarted", "resumed", "returned", "server",
        "start",
    ]  # fmt: skip


ESCAPE = "\x1b[2J\x1b[1;1HACCEPTED"
ABSENCE = {"worker": ESCAPE, "start": 1, "stop": None}
OUTCOME: dict[str, object] = {
    "steps": 2, "examples": 512, "nodes": 3, "train_loss": 0.5, "validation_auc": None,
    "test_auc": None, "test_logloss": None, "test_accuracy": None, "test_calibration": None,
    "absences": [], "model_digest": "ab" * 32, "not_kept": {},
    "model_step": 2, "validations": [],
    "run": "5e" * 32, "checkpoint": "c4" * 32,
}  # fmt: skip
JOINING: dict[str, object] = JOINED.model_dump(mode="json")


@pytest.mark.parametrize("written", [ESCAPE, "\x9b2J", "a\nb", "a\u2028b", "\u202eb"])
@pytest.mark.parametrize("kind", ["refused", "failed"])
@pytest.mark.parametrize("key", ["error", "reason"])
def test_a_text_that_cannot_be_printed_is_refused(kind: str, key: str, written: str) -> None:
    body = {"error": "X", "reason": "Y", key: written}
    with pytest.raises(ReceiptRefused, match="a value is not what it must be") as refusal:
        entries.decode_line(line(kind=kind, body=body), 3)
    assert refusal.value.place == f"line 3 ({kind})"
    assert refusal.value.expected == "Value error, not printable text"
    assert refusal.value.seen == f"in {key}"


@pytest.mark.parametrize(
    ("kind", "body", "seen"),
    [
        ("joined", {**JOINING, "node": ESCAPE}, "in node"),
        ("joined", {**JOINING, "node": "Acme Worker"}, "in node"),
        ("joined", {**JOINING, "node": "w0\n"}, "in node"),
        ("left_out", {"node": ESCAPE, "step": 1}, "in node"),
        ("returned", {"node": ESCAPE, "step": 1}, "in node"),
        ("outcome", {**OUTCOME, "absences": [ABSENCE]}, "in absences.0"),
        ("outcome", {**OUTCOME, "not_kept": {ESCAPE: 1}}, f"in not_kept.{ESCAPE}.[key]"),
    ],
)
def test_a_name_that_no_contract_can_hold_is_refused(
    kind: str, body: dict[str, object], seen: str
) -> None:
    with pytest.raises(ReceiptRefused, match="a value is not what it must be") as refusal:
        entries.decode_line(line(kind=kind, body=body), 3)
    assert refusal.value.place == f"line 3 ({kind})"
    assert "String should match pattern" in refusal.value.expected
    assert refusal.value.seen == seen
