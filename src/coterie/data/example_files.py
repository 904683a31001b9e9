"""Files of examples: written piece by piece, and checked completely before use.

A file of examples is a 128-byte header and then one record per example, all little-endian:

===========  ==========  =====================================================================
bytes        type        what
===========  ==========  =====================================================================
0 - 7        bytes       magic ``COTSHARD``
8 - 11       uint32      format version, 1
12 - 15      uint32      numeric columns, n
16 - 19      uint32      categorical columns, m
20 - 23      uint32      bytes per record, 4 (1 + n + m)
24 - 31      uint64      records
32 - 63      bytes       digest of the contract's data section
64 - 127     bytes       zero
===========  ==========  =====================================================================

Then come the records of `coterie.data.examples`. Everything in a file is checked: its size against
the header, its header against the contract, its SHA-256 against the manifest, and every value's
range. The host can change the file afterwards, so every piece of records is checked again, by its
own SHA-256, when it is read for use. Files are not mapped: if a mapped file is cut short, the
process ends (SIGBUS).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from coterie.arrays import IdArray, Int64Array
from coterie.contract import DataSection, data_digest
from coterie.data.examples import PIECE_ROWS, Examples, find_bad_value, record_bytes
from coterie.errors import DataSetDamaged, DataSetMismatch
from coterie.files import sync
from coterie.text import first_octets

HEADER_BYTES = 128
FORMAT_VERSION = 1
_MAGIC = b"COTSHARD"
_HEADER = struct.Struct("<8sIIIIQ32s64s")
# Pieces in memory: of two consecutive reads, and of the window that a shuffled order mixes.
_KEPT_PIECES = 9


class ExampleFileWriter:
    """Writes a file of examples piece by piece; the caller renames its folder once all is written.

    Args:
        file: An empty file, open for writing.
        data: The data section that the records are prepared under.
        rows: Records that will be written.

    Attributes:
        positives: Records with label 1 so far.
    """

    def __init__(self, file: BinaryIO, data: DataSection, rows: int) -> None:
        self._file = file
        self._missing = rows
        self._hasher = hashlib.sha256()
        self.positives = 0
        self._write(
            _HEADER.pack(
                _MAGIC,
                FORMAT_VERSION,
                len(data.numeric),
                len(data.categorical),
                record_bytes(data),
                rows,
                data_digest(data),
                bytes(64),
            )
        )

    def append(self, records: IdArray) -> None:
        """Writes records (see :func:`pack_records`), shape (b, 1 + n + m)."""
        self._write(records.astype("<i4", copy=False).tobytes())
        self._missing -= len(records)
        self.positives += int(np.count_nonzero(records[:, 0]))

    def finish(self) -> str:
        """Makes the file durable; returns its SHA-256 in hex."""
        assert not self._missing, f"{self._missing} records were announced but not written"
        sync(self._file)
        return self._hasher.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hasher.update(data)


def open_examples(path: Path, data: DataSection, *, expected_digest: bytes) -> Examples:
    """Opens a file of examples and reads all of it once to check it; the file stays open.

    Args:
        path: The file.
        data: The contract's data section.
        expected_digest: SHA-256 of the file, from the manifest.

    Raises:
        DataSetDamaged: Missing, truncated, altered, or not a file of examples of this format.
        DataSetMismatch: Prepared under another data section.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(path, error) from error
    records = CheckedFile(path, file)
    records.check(data, expected_digest)
    return Examples(records, data)


class CheckedFile:
    """The records of a file of examples; every piece is checked before its use. Thread-safe.

    Args:
        path: Its path, for errors.
        file: Descriptor, open for reading, which this object owns.
    """

    def __init__(self, path: Path, file: int) -> None:
        self._path = path
        self._file = file
        self._close = weakref.finalize(self, os.close, file)
        self._lock = threading.Lock()  # guards the cache of pieces
        # Checked pieces, least recently used first.
        self._kept: OrderedDict[int, IdArray] = OrderedDict()
        self._digests: list[bytes] = []  # SHA-256 of every piece, from the first complete read
        self._width = 0
        self.rows = 0

    def check(self, data: DataSection, expected_digest: bytes) -> None:
        """Reads and checks the whole file; see ``open_examples``."""
        header = self._octets(0, HEADER_BYTES)
        size = os.fstat(self._file).st_size
        self._width, self.rows = record_bytes(data), _check_header(header, size, self._path, data)
        _check_content(header, self._pieces(), self._path, data, expected_digest)

    def read(self, start: int, stop: int) -> IdArray:
        """Reads consecutive records; every piece of the file is checked before its use."""
        stop = min(stop, self.rows)
        parts = []
        while start < stop:
            piece, first = divmod(start, PIECE_ROWS)
            parts.append(self._checked(piece)[first : first + stop - start])
            start += len(parts[-1])
        if not parts:
            return self._words(b"")
        words = parts[0] if len(parts) == 1 else np.concatenate(parts)
        words.setflags(write=False)
        return words

    def take(self, rows: Int64Array) -> IdArray:
        """Reads single records, piece by piece, each checked before its use."""
        words = np.empty((len(rows), self._width // 4), "<i4")
        pieces = rows // PIECE_ROWS
        for piece in np.unique(pieces).tolist():
            inside = pieces == piece
            words[inside] = self._checked(piece)[rows[inside] - piece * PIECE_ROWS]
        return words

    def _checked(self, piece: int) -> IdArray:
        with self._lock:
            words = self._kept.pop(piece, None)
            if words is None:
                octets = self._piece(piece)
                if not hmac.compare_digest(hashlib.sha256(octets).digest(), self._digests[piece]):
                    raise damaged(
                        self._path,
                        "content",
                        "what was there when the file was opened",
                        f"other values in records {piece * PIECE_ROWS} and following: the file "
                        "was altered while it was in use",
                    )
                words = self._words(octets)
            self._kept[piece] = words
            if len(self._kept) > _KEPT_PIECES:
                self._kept.popitem(last=False)
            return words

    def _pieces(self) -> Iterator[IdArray]:
        """Yields all records in order, and stores the digest of every piece."""
        for first in range(0, self.rows, PIECE_ROWS):
            octets = self._piece(first // PIECE_ROWS)
            self._digests.append(hashlib.sha256(octets).digest())
            yield self._words(octets)

    def _piece(self, piece: int) -> bytes:
        first = piece * PIECE_ROWS
        count = min(PIECE_ROWS, self.rows - first)
        return self._octets(HEADER_BYTES + first * self._width, count * self._width)

    def _words(self, octets: bytes) -> IdArray:
        return np.frombuffer(octets, "<i4").reshape(-1, self._width // 4)

    def _octets(self, place: int, size: int) -> bytes:
        parts: list[bytes] = []
        missing = size
        try:
            while missing and (part := os.pread(self._file, missing, place + size - missing)):
                parts.append(part)
                missing -= len(part)
        except OSError as error:
            raise _unreadable(self._path, error) from error
        if missing:
            seen = f"{os.fstat(self._file).st_size} bytes"
            raise damaged(self._path, "size", f"at least {place + size} bytes", seen)
        return b"".join(parts)


def check_examples(
    octets: memoryview, path: Path, data: DataSection, *, expected_digest: bytes
) -> Examples:
    """Checks a whole file of examples in memory.

    Args:
        octets: The file; read-only.
        path: What errors call it.
        data: The contract's data section.
        expected_digest: SHA-256 of the file, from the manifest.

    Raises:
        DataSetDamaged: Truncated, altered, or not a file of examples of this format.
        DataSetMismatch: Prepared under another data section.
    """
    if len(octets) < HEADER_BYTES:
        raise damaged(path, "size", f"at least {HEADER_BYTES} bytes", f"{len(octets)} bytes")
    header = octets[:HEADER_BYTES]
    _check_header(header, len(octets), path, data)
    words = np.frombuffer(octets, "<i4", offset=HEADER_BYTES)
    words = words.reshape(-1, record_bytes(data) // 4)
    pieces = (words[first : first + PIECE_ROWS] for first in range(0, len(words), PIECE_ROWS))
    _check_content(header, pieces, path, data, expected_digest)
    return Examples(words, data)


def _check_content(
    header: bytes | memoryview,
    pieces: Iterable[IdArray],
    path: Path,
    data: DataSection,
    expected: bytes,
) -> None:
    """Checks a file's digest and then its values, given all records in order."""
    hasher, problem, first = hashlib.sha256(header), None, 0
    for words in pieces:
        hasher.update(words.data)
        problem = problem or find_bad_value(words, data, first)
        first += len(words)
    if not hmac.compare_digest(hasher.digest(), expected):
        seen = f"{hasher.hexdigest()} (the file was altered)"
        raise damaged(path, "SHA-256", expected.hex(), seen)
    if problem:
        raise damaged(path, "content", "values within bounds", problem)


def damaged(path: Path, check: str, expected: str, seen: str) -> DataSetDamaged:
    """The error for a damaged file of a data set."""
    return DataSetDamaged(
        f"{path} is damaged: its {check} is wrong",
        expected=expected,
        seen=seen,
    )


def _check_header(header: bytes | memoryview, octets: int, path: Path, data: DataSection) -> int:
    """Checks header and size of a file; returns the number of its records."""
    magic, version, numeric, categorical, width, rows, digest, zero = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise damaged(path, "magic", first_octets(_MAGIC), first_octets(magic))
    if version != FORMAT_VERSION:
        raise damaged(path, "format version", str(FORMAT_VERSION), str(version))
    if not hmac.compare_digest(digest, data_digest(data)):
        raise DataSetMismatch.other_section(str(path), data_digest(data), digest)
    widths = (len(data.numeric), len(data.categorical), record_bytes(data))
    if (numeric, categorical, width) != widths or zero.strip(b"\0"):
        raise damaged(path, "header", f"widths {widths}", f"{(numeric, categorical, width)}")
    size = HEADER_BYTES + rows * width
    if octets != size:
        raise damaged(path, "size", f"{size} bytes for {rows} records", f"{octets} bytes")
    return int(rows)


def _unreadable(path: Path, error: OSError) -> DataSetDamaged:
    return damaged(path, "file", "a readable file", error.strerror or type(error).__name__)
