"""Reads a receipt's file line by line, within bounds; refuses an incomplete line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from coterie.chained_log import bounded_lines
from coterie.errors import ReceiptRefused
from coterie.receipts.chain import Chain
from coterie.receipts.entries import MAX_LINE_BYTES, Entry, decode_line, refused
from coterie.receipts.entry_types import RUN_FORMAT, Agreement


def read_entries(path: Path) -> Iterator[Entry]:
    """The entries of a receipt, each checked against those before it.

    It is not checked that a run's last entry is the outcome; ``read_receipt`` does that.

    Raises:
        ReceiptRefused: The file cannot be read, or a byte of it was changed; the place is named.
    """
    chain = Chain()
    for number, line in enumerate(_lines(path), start=1):
        if not line.endswith(b"\n"):
            what = "it is too long" if len(line) > MAX_LINE_BYTES else "it is cut off"
            limit = f"a whole line of at most {MAX_LINE_BYTES} bytes"
            seen = f"{len(line)} bytes without a line's end"
            raise refused(what, f"line {number}", limit, seen)
        entry = decode_line(line[:-1], number)
        chain.take(entry)
        yield entry


def read_receipt(path: Path) -> Iterator[Entry]:
    """The entries of a finished receipt. That of a TensorFlow cluster may end at any entry.

    Raises:
        ReceiptRefused: As for ``read_entries``; or a run's last entry is not the outcome.
    """
    chain_end, is_run = None, True
    for entry in read_entries(path):
        chain_end = entry
        if isinstance(entry.body, Agreement):
            is_run = entry.body.format == RUN_FORMAT
        yield entry
    if not is_run:
        return
    seen = f"a {chain_end.body.kind} entry" if chain_end else "nothing"
    if chain_end is None or chain_end.body.kind != "outcome":
        raise refused(
            "it ends before the outcome",
            f"after line {chain_end.line if chain_end else 0}",
            "the outcome as the last entry",
            f"{seen}: the run is not finished, or entries were cut off",
        )


def _lines(path: Path) -> Iterator[bytes]:
    try:
        yield from bounded_lines(path, MAX_LINE_BYTES + 1)
    except OSError as error:
        raise ReceiptRefused(
            f"the receipt {path} cannot be read",
            place="the file",
            expected="a receipt.jsonl that a parameter server wrote",
            seen=error.strerror or type(error).__name__,
            remedy="check the path; a run keeps its receipt in the folder of its first server, "
            "and `coterie local` leaves none",
        ) from error
