"""Blocks of whole lines put together again are the file, whatever the pieces and block size."""

from hypothesis import given
from hypothesis import strategies as st

from coterie.data.prepare.lines import MAX_LINE_BYTES, line_blocks


@given(st.lists(st.sampled_from([b"a", b"\n", b"bc\nd", b"\n\n"])), st.integers(1, 20))
def test_blocks_are_whole_lines_in_order(pieces: list[bytes], block_bytes: int) -> None:
    whole = b"".join(pieces)
    blocks = list(line_blocks(pieces, block_bytes))
    text = b"".join(block.text for block in blocks)
    assert text == (whole if whole.endswith(b"\n") or not whole else whole + b"\n")
    line = 1
    for block in blocks:
        assert block.first_line == line
        assert block.text.endswith(b"\n")
        line += block.text.count(b"\n")


def test_an_overlong_line_is_dropped_and_counted() -> None:
    pieces = [b"first\n", *[b"x" * 100_000] * 30, b"\nthird\n"]
    blocks = list(line_blocks(pieces, 1 << 16))
    assert [(b.first_line, b.text, b.overlong) for b in blocks] == [
        (1, b"first\n", False),
        (2, b"", True),
        (3, b"third\n", False),
    ]
    assert sum(map(len, pieces)) > 2 * MAX_LINE_BYTES


def test_an_overlong_last_line_without_newline() -> None:
    blocks = list(line_blocks([b"first\n", b"x" * (MAX_LINE_BYTES + 1)], 1 << 16))
    assert [(b.first_line, b.overlong) for b in blocks] == [(1, False), (2, True)]
