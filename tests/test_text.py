"""Text of strangers is shown as it is read, and steers nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.text import MAX_TEXT, ending_words, first_octets, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ps0: no voucher", "ps0: no voucher"),
        ("Zürich 日本", "Zürich 日本"),
        ("\x1b[2J\x1b[1;1HACCEPTED", "?[2J?[1;1HACCEPTED"),
        ("\x9b2J", "?2J"),  # the same command in one character (ECMA-48, 5.4)
        ("refused\nps0 attested eve", "refused?ps0 attested eve"),
        ("a\r\tb\x00\x7f", "a??b??"),
        ("a\u2028b\u2029c\x85d", "a?b?c?d"),
        ("\u202ederetsettA\u2066", "?deretsettA?"),  # right to left
        ("\ud800", "?"),
        ("", ""),
    ],
)
def test_what_does_not_just_show_itself_is_a_question_mark(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text, None) == shown


@given(st.text(max_size=100), st.integers(3, 50))
def test_printable_text_is_printable_and_bounded(text: str, limit: int) -> None:
    assert printable(text, limit).isprintable()
    assert len(printable(text, limit)) <= limit


@given(st.text(max_size=MAX_TEXT * 2))
def test_without_a_bound_nothing_is_cut_off(text: str) -> None:
    assert printable(text, None).isprintable()
    assert len(printable(text, None)) == len(text)
    assert len(printable(text)) == min(len(text), MAX_TEXT)


@pytest.mark.parametrize(
    ("code", "last", "said"),
    [
        (3, "error: no", "exit code 3; last words: error: no"),
        (0, "", "exit code 0; it wrote nothing"),
        (-15, "", "killed by signal 15, SIGTERM; it wrote nothing"),
        (
            -9,
            "",
            (
                "killed by signal 9, SIGKILL: mostly by the system, for want of memory (its log says "
                "so: `dmesg`); it wrote nothing"
            ),
        ),
        (-200, "x" * 400, f"killed by signal 200; last words: {'x' * 300}"),
    ],
)
def test_how_a_process_ended_is_said_in_words(code: int, last: str, said: str) -> None:
    assert ending_words(code, last) == said


@pytest.mark.parametrize(
    ("octets", "shown"),
    [(b"", "nothing"), (b"h2", "h2"), (b"\x00\x1b[2J\n", r"\x00\x1b[2J\n")],
)
def test_bytes_are_shown_without_quotation_marks(octets: bytes, shown: str) -> None:
    assert first_octets(octets) == shown
