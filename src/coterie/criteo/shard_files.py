"""Shard files: written piece by piece, and checked as a whole before they are used.

A shard file is a 128-byte header and then one record per example, all little-endian:

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

Then come the records of `coterie.criteo.shards`. A shard says nothing that is not checked: its size
against the header, its header against the contract, its SHA-256 against the manifest, and every
value's range.
"""

from __future__ import annotations

import hashlib
import hmac
import mmap
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from coterie.contract import DataSection, data_digest
from coterie.criteo.shards import Shard, find_bad_value, record_bytes
from coterie.errors import DataSetMismatch, ShardDamaged

HEADER_BYTES = 128
FORMAT_VERSION = 1
_MAGIC = b"COTSHARD"
_HEADER = struct.Struct("<8sIIIIQ32s64s")
_ROWS_AT_A_TIME = 1 << 14
_PREPARE_AGAIN = "prepare the data set again: coterie prepare RAW OUT --contract C"


class ShardWriter:
    """Writes a shard file piece by piece; the caller renames its folder once all is written.

    Args:
        file: Opened for writing, empty.
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

    def append(self, records: NDArray[np.int32]) -> None:
        """Writes records (see :func:`pack_records`), shape (b, 1 + n + m)."""
        self._write(records.astype("<i4", copy=False).tobytes())
        self._missing -= len(records)
        self.positives += int(np.count_nonzero(records[:, 0]))

    def finish(self) -> str:
        """Makes the file durable; returns its SHA-256 in hex."""
        assert not self._missing, f"{self._missing} records were announced but not written"
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._hasher.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hasher.update(data)


def open_shard(path: Path, data: DataSection, *, expected_digest: bytes) -> Shard:
    """Opens a shard file, reads all of it once to check it, and maps it into memory.

    Args:
        path: The file.
        data: The contract's data section.
        expected_digest: SHA-256 of the file, from the manifest.

    Raises:
        ShardDamaged: Missing, truncated, altered, or not a shard of this format.
        DataSetMismatch: Prepared under another data section.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < HEADER_BYTES:
                raise _too_short(path, size)
            # Checked is the mapping, not the file: in an enclave the mapping is a copy, and what
            # the host does to the file after it no longer matters.
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except OSError as error:
        raise damaged(
            path, "file", "a readable shard", error.strerror or type(error).__name__
        ) from error
    return check_shard(memoryview(mapped), path, data, expected_digest=expected_digest)


def check_shard(
    octets: memoryview, path: Path, data: DataSection, *, expected_digest: bytes
) -> Shard:
    """Checks a whole shard file in memory.

    Args:
        octets: The file; read-only.
        path: What errors call it.
        data: The contract's data section.
        expected_digest: SHA-256 of the file, from the manifest.

    Raises:
        ShardDamaged: Truncated, altered, or not a shard of this format.
        DataSetMismatch: Prepared under another data section.
    """
    if len(octets) < HEADER_BYTES:
        raise _too_short(path, len(octets))
    _check_header(octets, path, data)
    words = np.frombuffer(octets, "<i4", offset=HEADER_BYTES)
    words = words.reshape(-1, record_bytes(data) // 4)
    hasher, problem = hashlib.sha256(octets[:HEADER_BYTES]), None
    for first in range(0, len(words), _ROWS_AT_A_TIME):
        some = words[first : first + _ROWS_AT_A_TIME]
        hasher.update(some.data)
        problem = problem or find_bad_value(some, data, first)
    if not hmac.compare_digest(hasher.digest(), expected_digest):
        seen = f"{hasher.hexdigest()} (the file was altered)"
        raise damaged(path, "SHA-256", expected_digest.hex(), seen)
    if problem:
        raise damaged(path, "content", "values within bounds", problem)
    return Shard(words, data)


def damaged(path: Path, check: str, expected: str, seen: str) -> ShardDamaged:
    """The error for a file of a data set that failed one check."""
    return ShardDamaged(
        f"{path} is damaged: its {check} is wrong",
        expected=expected,
        seen=seen,
        remedy=_PREPARE_AGAIN,
    )


def wrong_data_section(path: Path, expected: bytes, seen: bytes) -> DataSetMismatch:
    """The error for a file that was prepared under another data section."""
    return DataSetMismatch(
        f"{path} was prepared under another contract's data section",
        expected=f"data digest {expected.hex()}",
        seen=f"data digest {seen.hex()}",
        remedy=_PREPARE_AGAIN + ", or use the contract that it was prepared with",
    )


def _check_header(octets: memoryview, path: Path, data: DataSection) -> None:
    """Checks a file's header against the contract, and its size against the header."""
    magic, version, numeric, categorical, width, rows, digest, zero = _HEADER.unpack(
        octets[:HEADER_BYTES]
    )
    if magic != _MAGIC:
        raise damaged(path, "magic", repr(_MAGIC), repr(magic))
    if version != FORMAT_VERSION:
        raise damaged(path, "format version", str(FORMAT_VERSION), str(version))
    if not hmac.compare_digest(digest, data_digest(data)):
        raise wrong_data_section(path, data_digest(data), digest)
    widths = (len(data.numeric), len(data.categorical), record_bytes(data))
    if (numeric, categorical, width) != widths or zero.strip(b"\0"):
        raise damaged(path, "header", f"widths {widths}", f"{(numeric, categorical, width)}")
    size = HEADER_BYTES + rows * width
    if len(octets) != size:
        raise damaged(path, "size", f"{size} bytes for {rows} records", f"{len(octets)} bytes")


def _too_short(path: Path, size: int) -> ShardDamaged:
    return damaged(path, "size", f"at least {HEADER_BYTES} bytes", f"{size} bytes")
