"""Cuts a stream of bytes into blocks of whole lines, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class LineBlock:
    """Whole lines.

    Attributes:
        first_line: 1-based number of the first line in the file.
        text: The lines, each ended by a newline; empty for an overlong line.
        overlong: Whether this block stands for one line of more than ``MAX_LINE_BYTES`` bytes,
            whose content was dropped.
    """

    first_line: int
    text: bytes
    overlong: bool = False


def line_blocks(pieces: Iterable[bytes], block_bytes: int) -> Iterator[LineBlock]:
    """Yields blocks of about ``block_bytes`` bytes; the last line may lack its newline.

    At most ``block_bytes + MAX_LINE_BYTES`` bytes and one piece are held at a time.
    """
    held: list[bytes] = []
    size, line, dropping = 0, 1, False
    for piece in pieces:
        rest = piece
        if dropping:
            end = rest.find(b"\n")
            if end < 0:
                continue
            dropping, rest = False, rest[end + 1 :]
        held.append(rest)
        size += len(rest)
        if size < block_bytes:
            continue
        text = b"".join(held)
        end = text.rfind(b"\n") + 1
        if end:
            yield LineBlock(line, text[:end])
            line += text.count(b"\n", 0, end)
        rest = text[end:]
        if len(rest) > MAX_LINE_BYTES:
            yield LineBlock(line, b"", overlong=True)
            line, dropping, rest = line + 1, True, b""
        held, size = [rest], len(rest)
    text = b"".join(held)
    if text:
        yield LineBlock(line, text if text.endswith(b"\n") else text + b"\n")
